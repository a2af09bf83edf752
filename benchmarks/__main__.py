"""Runs the benchmarks and writes docs/benchmarks.md: ``make bench``."""

import datetime
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from benchmarks import nets, steps_numpyro, steps_pyro
from benchmarks.timing import Measure, interleave, ratio

BOUND = 1.10
PACKAGES = ("torch", "pyro-ppl", "jax", "numpyro", "equinox", "optax")


def steps() -> Iterator[tuple[str, Measure]]:
    """A training step with our objective over the same step written by hand, in processor time."""
    for host, module in (("NumPyro", steps_numpyro), ("Pyro", steps_pyro)):
        for kind in ("ELBO", "MMVAE"):
            times = interleave(module.competitors(kind), rounds=40)
            yield f"{host}, {kind}: SVI step, ours over by hand", ratio(times, "ours", "by hand", BOUND)


def main() -> None:
    """Prints every measure and writes the table."""
    lines = []
    for what, measure in steps():
        print(what, measure, flush=True)
        lines.append(f"| {what} | {measure} | at most {measure.bound} |")
    for what, value in nets.run().items():
        print(what, value, flush=True)
        lines.append(f"| nets: {what} | {value:.3g} | |")
    stamp = f"{datetime.date.today()}, {os.cpu_count()} cores, " + ", ".join(f"{p} {version(p)}" for p in PACKAGES)
    head = ["# Benchmarks", "", f"Written by `make bench` on {stamp}.", "Ratios within one run; in brackets the lowest"]
    head += ["and highest part.", "", "| what | value | bound |", "| --- | --- | --- |"]
    Path("docs/benchmarks.md").write_text("\n".join([*head, *lines]) + "\n")


if __name__ == "__main__":
    main()
