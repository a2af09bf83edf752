"""The demo's measure on both hosts and several seeds: ``python -m benchmarks.coherence`` writes docs/results/.

The ``ebm`` of the demo is fitted to polydigits, and what it generates is judged, as :func:`mmppl.demo.measure` says.
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import SEEDS, stamp
from mmppl import demo
from mmppl.data import load
from mmppl.metrics import coherence, train_classifiers

MEASURES = ("joint", "joint_base", "cross")
PATH = Path("docs/results/polydigits_ebm.md")


def main() -> None:
    """Prints every fit and writes the table."""
    digits = load("polydigits")
    classifiers = train_classifiers(digits)
    ceiling = coherence({name: digits.test[name] for name in digits.modalities}, classifiers).joint
    rows = {}
    for seed in SEEDS:
        for host in demo.HOSTS:
            fitted = demo.fit_digits(host, digits, seed=seed)
            rows[host, seed] = demo.measure(fitted, digits, classifiers, seed=seed)
            print(host, seed, *(rows[host, seed][name] for name in MEASURES), flush=True)
    PATH.write_text(_page(rows, ceiling))


def _page(rows: dict[tuple[str, int], dict[str, Any]], ceiling: Any) -> str:
    options = ", ".join(f"{k} {v}" for k, v in {**demo.OPTIONS, **demo.SETTINGS}.items())
    lines = [
        "# polydigits, `ebm`",
        "",
        f"Written by `python -m benchmarks.coherence` on {stamp()}.",
        f"{demo.EPOCHS} epochs, {options}; all else by default.",
        "Coherence is judged on means of the likelihood: 2,000 draws from the prior by fresh chains as `generate` runs",
        "them, and every subset given on 2,000 test tuples. Errors are standard errors over draws.",
        f"The classifiers read real test tuples jointly alike in {ceiling} of cases.",
        "",
        "| host | seed | joint | joint, f = 0 | cross |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (host, seed), row in rows.items():
        lines.append(f"| {host} | {seed} | " + " | ".join(str(row[name]) for name in MEASURES) + " |")
    for host in demo.HOSTS:
        means = [np.mean([rows[host, seed][name].value for seed in SEEDS]) for name in MEASURES]
        lines.append(f"| {host} | mean | " + " | ".join(f"{m:.3f}" for m in means) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
