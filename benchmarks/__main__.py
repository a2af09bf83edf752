"""Runs the benchmarks and writes docs/benchmarks.md: ``make bench``."""

import datetime
import os
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from benchmarks import langevin, mala, nets, steps_numpyro, steps_pyro
from benchmarks.timing import Measure, interleave, rate, ratio

STEP, CHAIN = 1.10, 1.15
PACKAGES = ("torch", "pyro-ppl", "jax", "numpyro", "equinox", "optax")


def measures() -> Iterator[tuple[str, Measure]]:
    """What is measured, one after the other; ratios are of processor time."""
    for host, module in (("NumPyro", steps_numpyro), ("Pyro", steps_pyro)):
        for kind in ("ELBO", "MMVAE"):
            times = interleave(module.competitors(kind), rounds=60)
            yield f"{host}, {kind}: SVI step, ours over by hand", ratio(times, "ours", "by hand", STEP)
    times = interleave(mala.numpyro_competitors(), rounds=20)
    yield "NumPyro: batched MALA, ours over BlackJAX vmapped", ratio(times, "ours", "BlackJAX", CHAIN)
    times = interleave(mala.pyro_competitors(), rounds=20)
    yield "Pyro: batched MALA, ours over a loop by hand", ratio(times, "ours", "by hand", CHAIN)
    learning = {"NumPyro": langevin.numpyro_step(), "Pyro": langevin.pyro_step()}
    times = interleave(learning, rounds=60, clock=time.perf_counter)
    for host in learning:
        yield (
            f"{host}: training steps with {langevin.STEPS} Langevin steps on {langevin.CHAINS} chains",
            rate(times, host),
        )


def main() -> None:
    """Prints every measure and writes the table."""
    lines = []
    for what, measure in measures():
        print(what, measure, flush=True)
        lines.append(f"| {what} | {measure} | {f'at most {measure.bound}' if measure.bound else '–'} |")
    for shape in nets.SHAPES:
        for what, value in nets.run(shape).items():
            print(shape, what, value, flush=True)
            lines.append(f"| nets, {shape[1]} x {shape[2]}: {what} | {_of_nets(what, value)} | – |")
    stamp = f"{datetime.date.today()}, {os.cpu_count()} cores, " + ", ".join(f"{p} {version(p)}" for p in PACKAGES)
    head = ["# Benchmarks", "", f"Written by `make bench` on {stamp}."]
    head += [
        "Ratios within one run; in brackets the lowest and highest part. Of nets: a forward and backward pass of 64",
        "images, how many times as fast patches are as convolutions (ratio), and multiplications of one image.",
        "",
        "| what | value | bound |",
        "| --- | --- | --- |",
    ]
    Path("docs/benchmarks.md").write_text("\n".join([*head, *lines]) + "\n")


def _of_nets(what: str, value: float) -> str:
    """A measure of networks with its unit."""
    if what.endswith("multiplications"):
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g} {'times' if what.endswith('ratio') else 'ms'}"


if __name__ == "__main__":
    main()
