"""Time per step against the number of modalities: ``python -m benchmarks.modalities``.

Writes docs/results/modalities.md. Options: ``--hosts numpyro,pyro --numbers 2,5,10,20``, ``--objectives "mvae;mopoe"``.
Every measurement is a process of its own.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import HOSTS, stamp, table
from benchmarks.worker import Worker

NUMBERS = (2, 5, 10, 20)
SETTING: dict[str, Any] = {"dim": 16, "batch_size": 128}
NETS: dict[str, Any] = {"latent_dim": 8, "hidden": 64}
OBJECTIVES: dict[str, tuple[str, dict[str, Any]]] = {
    "jmvae": ("jmvae", {}),
    "mvae": ("mvae", {}),
    "mmvae, strata one": ("mmvae", {"strata": "one"}),
    "mmvae, strata all": ("mmvae", {"strata": "all"}),
    "mopoe": ("mopoe", {}),
    "mmjsd": ("mmjsd", {}),
    "mvtcae": ("mvtcae", {}),
    "mmvae_plus, strata one": ("mmvae_plus", {"strata": "one"}),
    "mmvae_plus, strata all": ("mmvae_plus", {"strata": "all"}),
    "nexus": ("nexus", {}),
    "masked": ("masked", {}),
    "masked, self-attention": ("masked", {"aggregation": "self_attention"}),
}
# What a step decodes: draws from so many subsets, each into so many modalities.
WORK = {
    "mvae": "M from each of M + 2 subsets, though most score fewer: M²",
    "mmvae, strata all": "M from each: M²",
    "mmvae_plus, strata all": "M from each: M²",
    "mmjsd": "M from each: M²",
    "mopoe": "M from every subset, at most 32",
}
PATH = Path("docs/results/modalities.md")
STEPS, PARTS = 20, 5


def main() -> None:
    """Measures, prints every number and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", default=",".join(HOSTS))
    parser.add_argument("--numbers", default=",".join(map(str, NUMBERS)))
    parser.add_argument("--objectives", default=";".join(OBJECTIVES), help="separated by semicolons")
    parser.add_argument("--steps", type=int, default=STEPS)
    asked = parser.parse_args()
    numbers = [int(n) for n in asked.numbers.split(",")]
    times: dict[tuple[str, str], dict[int, float]] = {}
    for name in asked.objectives.split(";"):
        system, options = OBJECTIVES[name]
        for host in asked.hosts.split(","):
            for number in numbers:
                settings = {"host": host, "system": system, "options": {**NETS, **options}, "number": number}
                with Worker(sys.executable, "benchmarks.scaling_worker", {**settings, **SETTING}) as worker:
                    parts = worker.do("steps", number=asked.steps, parts=PARTS)
                times.setdefault((name, host), {})[number] = 1e3 * float(np.median(parts))
                print(name, host, number, f"{times[name, host][number]:.2f} ms", flush=True)
            PATH.parent.mkdir(exist_ok=True, parents=True)
            PATH.write_text(page(times, numbers, asked.steps))


def page(times: dict[tuple[str, str], dict[int, float]], numbers: list[int], steps: int) -> str:
    """The page: milliseconds by M, and the exponent of the growth between the two largest."""
    few, many = numbers[-2:] if len(numbers) > 1 else (numbers[0], numbers[0])
    header = ["objective", "host", *(f"M = {n}" for n in numbers), f"exponent, {few} to {many}", "decoded in a step"]
    rows = []
    for (name, host), own in times.items():
        growth = np.log(own[many] / own[few]) / np.log(many / few) if {few, many} <= set(own) and many > few else np.nan
        cells = [f"{own[n]:.2f}" if n in own else "" for n in numbers]
        rows.append([name, host, *cells, f"{growth:.2f}", WORK.get(name, "M, or as many")])
    nets = ", ".join(f"{k} {v}" for k, v in NETS.items())
    lines = [
        "# Time per step against the number of modalities",
        "",
        f"Written by `python -m benchmarks.modalities` on {stamp()}.",
        f"Milliseconds of processor time of a training step, the median of {PARTS} times {steps} steps; M vectors",
        f"of {SETTING['dim']} values, batches of {SETTING['batch_size']}, {nets}.",
        "Where t grows as a power of M, the exponent is that power: 1 is linear, and what does not depend on M pulls",
        "it below.",
        "",
        *table(header, rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
