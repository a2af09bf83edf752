"""Memory of systems with a score against the number of modalities: ``python -m benchmarks.memory``.

Writes docs/results/memory.md. Options: ``--hosts numpyro,pyro --numbers 3,6,12 --systems mld,sbm --epochs 20``. Every
measurement is a process of its own: the peak of its resident memory once the data are there, once trained, and once
it has generated everything from one modality and from the prior.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.pages import HOSTS, stamp, table
from benchmarks.worker import Worker

SYSTEMS = ("mld", "mld_inpaint", "mld_uni", "sbm")
NUMBERS = (3, 6, 12)
SETTING: dict[str, Any] = {"dim": 64, "batch_size": 128}
OPTIONS: dict[str, Any] = {"latent_dim": 16, "hidden": 128}
DRAWS = 512
PATH = Path("docs/results/memory.md")


def main() -> None:
    """Measures, prints every number and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", default=",".join(HOSTS))
    parser.add_argument("--numbers", default=",".join(map(str, NUMBERS)))
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--epochs", type=int, default=20)
    asked = parser.parse_args()
    rows = []
    for system in asked.systems.split(","):
        for host in asked.hosts.split(","):
            first: tuple[int, list[float]] | None = None
            for number in map(int, asked.numbers.split(",")):
                peaks = measure(host, system, number, asked.epochs)
                first = first or (number, peaks)
                more = [f"{(peaks[i] - first[1][i]) / max(number - first[0], 1):.1f}" for i in (1, 2)]
                grown = more if number > first[0] else ["–", "–"]
                rows.append([system, host, number, *(f"{p:.0f}" for p in peaks), *grown])
                print(*rows[-1], flush=True)
            PATH.parent.mkdir(exist_ok=True, parents=True)
            PATH.write_text(page(rows, asked.epochs))


def measure(host: str, system: str, number: int, epochs: int) -> list[float]:
    """Peaks in MiB: before training, after it, after sampling."""
    settings = {"host": host, "system": system, "options": OPTIONS, "number": number}
    with Worker(sys.executable, "benchmarks.scaling_worker", {**settings, **SETTING}) as worker:
        peaks = [worker.do("memory")]
        for what, options in (("train", {"epochs": epochs}), ("sample", {"number": DRAWS})):
            worker.do(what, **options)
            peaks.append(worker.do("memory"))
    return peaks


def page(rows: list[list[Any]], epochs: int) -> str:
    """The page."""
    settings = ", ".join(f"{k} {v}" for k, v in {**SETTING, **OPTIONS}.items())
    header = ["system", "host", "M", "start", "trained", "sampled", "training, MiB per modality", "sampling"]
    lines = [
        "# Memory against the number of modalities",
        "",
        f"Written by `python -m benchmarks.memory` on {stamp()}.",
        "Peak resident memory in MiB of a process of its own, libraries included: with the data, after",
        f"{epochs} epochs, and after generating everything from one modality and from the prior, {DRAWS} rows each.",
        f"{settings}.",
        "The last columns are what each modality beyond the first row's M adds; with a network for every subset they",
        "would double from one modality to the next.",
        "",
        *table(header, rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
