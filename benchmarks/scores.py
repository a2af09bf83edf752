"""Systems with a score of all latents, on both hosts and several seeds: ``python -m benchmarks.scores NAME [HOST]``.

Fits a system to polydigits, measures what it generates jointly and given one, two or three modalities, relative to the
ceiling: what the classifiers read off the autoencoders' reconstructions of the same test tuples. Every fit is kept in
runs/, so that hosts may run side by side, and a run that was stopped goes on; the table in docs/results/ is of all.
"""

import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import HOSTS, SEEDS, Row, resumed, stamp
from mmppl import models
from mmppl.batch import Batch
from mmppl.data import load
from mmppl.inference import Fitted, fit, generate
from mmppl.metrics import Classifiers, coherence, coherence_by_number, train_classifiers

SETTINGS: dict[str, Any] = {"epochs": 240, "batch_size": 128, "learning_rate": 1e-3}
OPTIONS: dict[str, Any] = {"share": 0.15}
TESTS = 1000
KEPT = Path("runs/scores")


def main() -> None:
    """Fits what has not been fitted yet, prints every fit, and writes the table."""
    name, hosts = sys.argv[1], sys.argv[2:] or HOSTS
    digits = load("polydigits")
    classifiers = train_classifiers(digits)

    def run(system: str, host: str, seed: int) -> Row:
        start = time.perf_counter()
        program = models.make(system, digits.published, ppl=import_module(f"mmppl.{host}"), **OPTIONS)
        fitted = fit(program, digits.train, seed=seed, progress=False, **SETTINGS)
        return {"seconds": time.perf_counter() - start, **measure(fitted, digits, classifiers, seed)}

    for rows in resumed(KEPT, [(name, host, seed) for seed in SEEDS for host in hosts], run):
        own = {(host, seed): row for (system, host, seed), row in rows.items() if system == name}
        if own:
            Path(f"docs/results/polydigits_{name}.md").write_text(_page(name, own))


def measure(fitted: Fitted, digits: Any, classifiers: Classifiers, seed: int) -> dict[str, float]:
    """Coherences of what a fitted system generates, as means of the likelihood, and the ceilings of both."""
    test, names = digits.test[:TESTS], list(digits.modalities)
    label = np.asarray(test.label)
    host, none = fitted.program.ppl.host, np.zeros(TESTS, bool)
    hidden = host.latents(fitted.model, fitted.guide, test, 1, seed, none)
    again = {n: x[0] for n, x in host.decode(fitted.model, hidden, test, seed, True).items()}
    out = {
        "joint": coherence(generate(fitted, num=2000, mean=True, seed=seed), classifiers).joint.value,
        "joint ceiling": coherence(again, classifiers).joint.value,
        "ceiling": float(np.mean([(classifiers.predict(n, again[n]) == label).mean() for n in names])),
    }

    def draw(given: Batch, want: Sequence[str]) -> dict[str, np.ndarray]:
        return generate(fitted, given, want=list(want), mean=True, seed=seed)

    found = coherence_by_number(draw, test, classifiers)
    out |= {f"given {number}": accuracy.value for number, accuracy in found.items()}
    return out


def _page(name: str, rows: dict[tuple[str, int], dict[str, float]]) -> str:
    measures = list(next(iter(rows.values())))
    lines = [
        f"# polydigits, `{name}`",
        "",
        f"Written by `python -m benchmarks.scores {name}` on {stamp()}.",
        f"Settings: {', '.join(f'{k} {v}' for k, v in {**SETTINGS, **OPTIONS}.items())}; all else by default.",
        "Judged on means of the likelihood: joint coherence of all four modalities of 2,000 draws from the prior, and",
        f"accuracy given one, two or three modalities, all subsets of {TESTS:,} test tuples. The ceilings are what the",
        "classifiers read off the autoencoders' reconstructions of these tuples: jointly alike, and right.",
        "",
        "| host | seed | " + " | ".join(measures) + " |",
        "| --- " * (len(measures) + 2) + "|",
    ]

    def line(host: str, seed: Any, row: dict[str, float]) -> str:
        numbers = [f"{v:.0f}" if k == "seconds" else f"{v:.3f}" for k, v in row.items()]
        return f"| {host} | {seed} | " + " | ".join(numbers) + " |"

    for (host, seed), row in rows.items():
        lines.append(line(host, seed, row))
    lines += ["", "Of the ceiling, mean over seeds:", "", "| host | joint | given 1 | given 2 | given 3 |"]
    lines.append("| --- " * 5 + "|")
    for host in sorted({host for host, _ in rows}):
        own = [row for (h, _), row in rows.items() if h == host]
        shares = [np.mean([r["joint"] / r["joint ceiling"] for r in own])]
        shares += [np.mean([r[f"given {k}"] / r["ceiling"] for r in own]) for k in (1, 2, 3)]
        lines.append(f"| {host} | " + " | ".join(f"{s:.3f}" for s in shares) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
