"""Fits in one of two processes that ``jax.distributed`` joins: ``python fit_in_processes.py RANK PORT FOLDER``.

The second ends itself in the midst of a second fit; the first says what it was told then.
"""

import os
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np

import mmppl.numpyro as mm
from mmppl.errors import MMPPLError
from mmppl.inference import fit, generate

rank, folder = int(sys.argv[1]), Path(sys.argv[3])
jax.distributed.initialize(f"127.0.0.1:{sys.argv[2]}", 2, rank, heartbeat_timeout_seconds=10)
sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))

from fit_on_devices import HOW, program, rows  # noqa: E402

made, data = program("mopoe", mm), rows()
fitted = fit(made, data, devices=2, out=folder / "two", **HOW)
np.savez(folder / f"{rank}.npz", **fitted.weights, loss=fitted.history.table()["loss"])
for call in (lambda: fit(made, data, **HOW), lambda: generate(fitted, num=4, devices=2)):
    try:
        call()
    except MMPPLError as error:
        print(type(error).__name__, error, flush=True)


def watch():
    metrics = folder / "killed" / "metrics.jsonl"
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 2):
        time.sleep(0.01)
    os._exit(1)


if rank:
    threading.Thread(target=watch, daemon=True).start()
try:
    fit(made, data, devices=2, out=folder / "killed", **{**HOW, "epochs": 10_000})
except MMPPLError as error:
    print(type(error).__name__, error, flush=True)
os._exit(0)  # JAX would wait for the other one
