"""Gradient estimators side by side: ``python -m benchmarks.gradients`` writes docs/results/gradients.md.

On a linear-Gaussian program whose exact posterior is spoilt a little or a lot, the standard deviation of the gradient
of the guide's two parameters over draws and its mean squared error about the long average of the reparametrised
estimator, both relative to that estimator with as many particles: an estimator with a bias shows it there. With one
discrete latent, where only the score function is there, more particles are compared.
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import HOSTS, stamp, table
from mmppl.batch import Batch
from mmppl.data import LinearGaussian
from mmppl.testing import driver
from mmppl.testing.objective import LinearProgram

PATH = Path("docs/results/gradients.md")
DRAWS, ROWS = 400, 32
SPOILT = {"a little": 0.05, "a lot": 0.5}
LONG = 16  # times as many draws tell the exact mean
ESTIMATORS = {1: ("standard", "stl", "score"), 8: ("standard", "dreg", "score")}


def main() -> None:
    """Prints and writes the tables."""
    lines = []
    for host in HOSTS:
        d = driver(host)
        with d.double():
            lines += [*continuous(d), *discrete(d)]
        print(*lines, sep="\n", flush=True)
    head = ["# Gradient estimators", "", f"Written by `python -m benchmarks.gradients` on {stamp()}.", ""]
    what = (
        f"Standard deviations and root mean squared errors over {DRAWS} gradients of {ROWS} rows; errors are about the "
        f"mean of {LONG * DRAWS} reparametrised gradients, or of as many of the score function where that is all. "
        "With importance weights (K = 8) sticking the landing is the doubly reparametrised gradient (dreg); merely "
        "leaving the score term out would be biased there."
    )
    PATH.write_text("\n".join([*head, what, "", *_page(lines)]) + "\n")


def continuous(d: Any) -> list[list[str]]:
    """Rows for every estimator, particles and distance from the exact posterior."""
    truth = LinearGaussian(1, {"a": 3, "b": 2}, seed=3, noise=0.7)
    program, batch, rows = LinearProgram(d, truth), truth.sample(ROWS, 4), []
    for particles, estimators in ESTIMATORS.items():
        steps = {g: d.stepper(d.mm.ELBO(particles, gradient=g), program.model, program.guide) for g in estimators}
        for name, size in SPOILT.items():
            params = {"spoil": np.full(1, size), "widen": np.array(size)}
            exact = gradients(steps["standard"], batch, params, LONG * DRAWS, first=DRAWS).mean(0)
            for gradient in estimators:
                rows.append([d.name, name, particles, gradient, *_errors(steps[gradient], batch, params, exact)])
    return rows


def discrete(d: Any) -> list[list[str]]:
    """Rows for the score function with several particles."""
    dist, ppl, mm = d.dist, d.ppl, d.mm
    places = d.array(np.array([-1.0, 0.5, 2.0]))

    def model(batch: Batch) -> None:
        with mm.plate(batch):
            y = ppl.sample("y", dist.Categorical(d.array(np.array([0.5, 0.2, 0.3]))))
            mm.observe("x", dist.Normal(places[y][..., None], 0.8).to_event(1), batch)

    def guide(batch: Batch) -> None:
        logits = ppl.param("logits", d.array(np.array([0.4, -0.3, 0.1])))
        with mm.plate(batch):
            ppl.sample("y", dist.Categorical(logits=logits + 0.0 * batch["x"]))

    batch, rows = Batch({"x": np.linspace(-1.5, 2.5, ROWS)[:, None]}), []
    for particles in (1, 2, 8):
        step = d.stepper(mm.ELBO(particles, gradient="score", average=True), model, guide)
        exact = gradients(step, batch, {}, LONG * DRAWS, first=DRAWS).mean(0)
        rows.append([d.name, "discrete", particles, "score", *_errors(step, batch, {}, exact)])
    return rows


def gradients(step: Any, batch: Batch, params: dict, number: int, first: int = 0) -> np.ndarray:
    """Gradients of so many draws, one a row."""
    every = (step(batch, seed, params).grads.values() for seed in range(first, first + number))
    return np.stack([np.concatenate([g.ravel() for g in grads]) for grads in every])


def _errors(step: Any, batch: Batch, params: dict, exact: np.ndarray) -> tuple[float, float]:
    """Deviation of the gradient, and its error about the exact one, each a root mean square over its components."""
    found = gradients(step, batch, params, DRAWS)
    spread, error = found.std(0, ddof=1), np.sqrt(np.mean((found - exact) ** 2, axis=0))
    return float(np.sqrt(np.mean(spread**2))), float(np.sqrt(np.mean(error**2)))


def _page(rows: list[list[Any]]) -> list[str]:
    standard = {tuple(row[:3]): row[4:] for row in rows if row[3] == "standard"}
    cells = []
    for *where, gradient, spread, error in rows:
        base = standard.get(tuple(where))
        shares = [f"{spread / base[0]:.3g}", f"{(error / base[1]) ** 2:.3g}"] if base else ["–", "–"]
        cells.append([*where, gradient, f"{spread:.3g}", shares[0], f"{error:.3g}", shares[1]])
    names = ["deviation", "of the standard's", "root mean squared error", "squared, of the standard's"]
    return table(["host", "posterior spoilt", "K", "estimator", *names], cells)


if __name__ == "__main__":
    main()
