"""Time per step against the number of modalities: ``python -m benchmarks.modalities``.

Options: ``--hosts numpyro,pyro --numbers 2,5,10,20 --objectives mvae,mopoe``. Every measurement is a process of its
own, and is kept in benchmarks/results/modalities; docs/results/modalities.md is of all that there are.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import HOSTS, Cell, Row, resumed, stamp, table
from benchmarks.worker import Worker

NUMBERS = (2, 5, 10, 20)
SETTING: dict[str, Any] = {"dim": 16, "batch_size": 128}
NETS: dict[str, Any] = {"latent_dim": 8, "hidden": 64}
OBJECTIVES: dict[str, tuple[str, dict[str, Any]]] = {
    "jmvae": ("jmvae", {}),
    "mvae": ("mvae", {}),
    "mmvae_one": ("mmvae", {"strata": "one"}),
    "mmvae_all": ("mmvae", {"strata": "all"}),
    "mopoe": ("mopoe", {}),
    "mmjsd": ("mmjsd", {}),
    "mvtcae": ("mvtcae", {}),
    "mmvae_plus_one": ("mmvae_plus", {"strata": "one"}),
    "mmvae_plus_all": ("mmvae_plus", {"strata": "all"}),
    "nexus": ("nexus", {}),
    "masked": ("masked", {}),
    "masked_attention": ("masked", {"aggregation": "self_attention"}),
}
# What a step decodes: draws from so many subsets, each into so many modalities.
WORK = {
    "masked_attention": "M, or as many; attention itself M²",
    "mvae": "M from each of M + 2 subsets, though most score fewer: M²",
    "mmvae_all": "M from each: M²",
    "mmvae_plus_all": "M from each: M²",
    "mmjsd": "M from each: M²",
    "mopoe": "M from every subset, at most 32",
}
KEPT, PATH = Path("benchmarks/results/modalities"), Path("docs/results/modalities.md")
STEPS, PARTS = 20, 5


def main() -> None:
    """Measures what has not been measured yet, prints every number and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", default=",".join(HOSTS))
    parser.add_argument("--numbers", default=",".join(map(str, NUMBERS)))
    parser.add_argument("--objectives", default=",".join(OBJECTIVES))
    asked = parser.parse_args()

    def run(name: str, host: str, number: int) -> Row:
        system, options = OBJECTIVES[name]
        settings = {"host": host, "system": system, "options": {**NETS, **options}, "number": number}
        with Worker(sys.executable, "benchmarks.scaling_worker", {**settings, **SETTING}) as worker:
            parts = worker.do("steps", number=STEPS, parts=PARTS)
        return {"ms": 1e3 * float(np.median(parts))}

    numbers, hosts = [int(n) for n in asked.numbers.split(",")], asked.hosts.split(",")
    cells = [(name, host, number) for name in asked.objectives.split(",") for host in hosts for number in numbers]
    for rows in resumed(KEPT, cells, run):
        PATH.write_text(page(rows))


def page(rows: dict[Cell, Row]) -> str:
    """The page: milliseconds by M, and the exponent of the growth between the two largest."""
    few, many = NUMBERS[-2:]
    header = ["objective", "host", *(f"M = {n}" for n in NUMBERS), f"exponent, {few} to {many}", "decoded in a step"]
    body = []
    for name in OBJECTIVES:
        for host in HOSTS:
            own = {n: rows[name, host, n]["ms"] for n in NUMBERS if (name, host, n) in rows}
            if own:
                cells = [f"{own[n]:.2f}" if n in own else "" for n in NUMBERS]
                both = {few, many} <= set(own)
                growth = f"{np.log(own[many] / own[few]) / np.log(many / few):.2f}" if both else ""
                body.append([name, host, *cells, growth, WORK.get(name, "M, or as many")])
    nets = ", ".join(f"{k} {v}" for k, v in NETS.items())
    lines = [
        "# Time per step against the number of modalities",
        "",
        f"Written by `python -m benchmarks.modalities` on {stamp()}.",
        f"Milliseconds of processor time of a training step, the median of {PARTS} times {STEPS} steps; M vectors",
        f'of {SETTING["dim"]} values, batches of {SETTING["batch_size"]}, {nets}; "one" and "all" are strata.',
        "Where t grows as a power of M, the exponent is that power: 1 is linear, and what does not depend on M pulls",
        "it below.",
        "",
        *table(header, body),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
