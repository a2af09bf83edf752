"""Gradient estimators side by side: ``python -m benchmarks.gradients`` writes docs/results/gradients.md.

On a linear-Gaussian program whose exact posterior is spoilt a little or a lot, the standard deviation of the gradient
of the guide's two parameters over draws, relative to the reparametrised estimator with as many particles, and the
signal (mean over deviation). With one discrete latent, where only the score function is there, more particles are
compared.
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import HOSTS, stamp, table
from mmppl.batch import Batch
from mmppl.data import LinearGaussian
from mmppl.testing import driver
from mmppl.testing.objective import LinearProgram

PATH = Path("docs/results/gradients.md")
DRAWS, ROWS = 400, 32
SPOILT = {"a little": 0.05, "a lot": 0.5}
ESTIMATORS = {1: ("standard", "stl", "score"), 8: ("standard", "stl", "dreg", "score")}


def main() -> None:
    """Prints and writes the tables."""
    lines = []
    for host in HOSTS:
        d = driver(host)
        with d.double():
            lines += [*continuous(d), *discrete(d)]
        print(*lines, sep="\n", flush=True)
    head = ["# Gradient estimators", "", f"Written by `python -m benchmarks.gradients` on {stamp()}.", ""]
    what = f"Standard deviations over {DRAWS} gradients of {ROWS} rows; signal is mean over deviation."
    PATH.write_text("\n".join([*head, what, "", *_page(lines)]) + "\n")


def continuous(d: Any) -> list[list[str]]:
    """Rows for every estimator, particles and distance from the exact posterior."""
    truth = LinearGaussian(1, {"a": 3, "b": 2}, seed=3, noise=0.7)
    program, batch, rows = LinearProgram(d, truth), truth.sample(ROWS, 4), []
    for particles, estimators in ESTIMATORS.items():
        for gradient in estimators:
            step = d.stepper(d.mm.ELBO(particles, gradient=gradient), program.model, program.guide)
            for name, size in SPOILT.items():
                params = {"spoil": np.full(1, size), "widen": np.array(size)}
                rows.append([d.name, name, particles, gradient, *_spread(step, batch, params)])
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
        rows.append([d.name, "discrete", particles, "score", *_spread(step, batch, {})])
    return rows


def _spread(step: Any, batch: Batch, params: dict) -> tuple[float, float]:
    """Deviation and signal of the gradient, each a root mean square over its components."""
    grads = [np.concatenate([g.ravel() for g in step(batch, seed, params).grads.values()]) for seed in range(DRAWS)]
    mean, spread = np.mean(grads, axis=0), np.std(grads, axis=0, ddof=1)
    return float(np.sqrt(np.mean(spread**2))), float(np.sqrt(np.mean(mean**2) / np.mean(spread**2)))


def _page(rows: list[list[Any]]) -> list[str]:
    standard = {tuple(row[:3]): row[4] for row in rows if row[3] == "standard"}
    cells = []
    for *where, gradient, spread, signal in rows:
        base = standard.get(tuple(where))
        cells.append([*where, gradient, f"{spread:.3g}", f"{spread / base:.3g}" if base else "–", f"{signal:.3g}"])
    return table(["host", "posterior spoilt", "K", "estimator", "deviation", "of the standard's", "signal"], cells)


if __name__ == "__main__":
    main()
