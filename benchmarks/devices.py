"""Rows a second of a fit on one and two devices: ``python -m benchmarks.devices [HOST ...]``, on two idle cores.

Each fit is a process of its own, of one core a device: on NumPyro JAX's devices of the CPU, on Pyro processes. Writes
docs/results/devices.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.pages import HOSTS, stamp, table

PAGE, KEPT = Path("docs/results/devices.md"), Path("benchmarks/results/devices")
SYSTEMS = ("mmvae", "mopoe", "mvtcae")
ROWS, BATCH, EPOCHS, ASKED = 2560, 512, 5, 1.6


def main() -> None:
    """Measures the hosts that are asked for, and writes the page of all that were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hosts", nargs="*", default=list(HOSTS))
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        print(json.dumps(rate(asked.hosts[0], asked.inside[0], int(asked.inside[1]))))
        return
    KEPT.mkdir(parents=True, exist_ok=True)
    for host in asked.hosts:
        for system in SYSTEMS:
            # In turns, so that what else the machine does is on both sides.
            turns = [[_process(host, system, number) for number in (1, 2)] for _ in range(2)]
            row = [statistics.median(turn[i] for turn in turns) for i in (0, 1)]
            (KEPT / f"{host}_{system}.json").write_text(json.dumps(row))
            print(host, system, row, flush=True)
    PAGE.write_text(page({p.stem: json.loads(p.read_text()) for p in sorted(KEPT.glob("*.json"))}))


def _process(host: str, system: str, number: int) -> float:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    env["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={number}"
    command = [sys.executable, "-m", "benchmarks.devices", host, "--inside", system, str(number)]
    run = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(run.stdout.splitlines()[-1]))


def rate(host: str, system: str, number: int) -> float:
    """Rows a second of the median epoch but the first, in which a step is compiled."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:number])
    from mmppl import models
    from mmppl.data import load
    from mmppl.inference import fit

    digits = load("polydigits")
    program: Any = models.make(system, digits.modalities, ppl=import_module(f"mmppl.{host}"), hidden=512)
    how = {"epochs": EPOCHS, "batch_size": BATCH, "progress": False, "devices": number}
    fitted = fit(program, digits.train[:ROWS], **how)
    return ROWS / statistics.median(line["seconds"] for line in list(fitted.history)[1:])


def page(rows: dict[str, list[float]]) -> str:
    """The page."""
    body = [
        [system, host, f"{one:.0f}", f"{two:.0f}", f"{two / one:.2f}"]
        for name, (one, two) in rows.items()
        for host, system in (name.split("_", 1),)
    ]
    return (
        "# Two devices\n\n"
        f"Written by `python -m benchmarks.devices` on {stamp()}.\n"
        f"Rows a second of `fit` to polydigits, {BATCH} rows a step, hidden 512, all else by default: the median\n"
        "epoch but the first, of two fits or one. One core a device: on NumPyro JAX's devices of one process, on Pyro\n"
        "processes. "
        f"Asked is {ASKED} times as many on two.\n\n"
        + "\n".join(table(["system", "host", "1 device", "2 devices", "times"], body))
        + "\n"
    )


if __name__ == "__main__":
    main()
