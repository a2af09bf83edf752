"""Fits systems on one device and on several, and says how far their losses and weights are apart.

``python fit_on_devices.py HOST NUMBERS SYSTEMS FOLDER``, the middle two with commas; a line of JSON for each fit.
"""

import importlib
import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np

from mmppl import models
from mmppl.batch import Batch
from mmppl.data import load, write_rows
from mmppl.inference import Run, fit

SIZES = {
    "ebm": {"energy_hidden": 8, "chains": 16, "buffer": 64, "steps": 3},
    "mld": {"width": 8, "depth": 1, "steps": 6},
}
HOW = {"epochs": 4, "batch_size": 16, "validation": 0.2, "progress": False, "seed": 3, "ema": 0.5, "clip": 5.0}


def rows() -> Batch:
    """Rows of three modalities, each of which misses in some; 72 to train on, 18 held out, which 4 do not divide."""
    data = load("linear_gaussian").train[:90]
    return Batch(data.values, {name: np.arange(90) % 5 != i for i, name in enumerate(data.modalities)})


def program(name: str, mm):
    sizes = {"latent_dim": 2, "hidden": 8, **SIZES.get(name, {})}
    return models.make(name, load("linear_gaussian").modalities, ppl=mm, **sizes)


class Stop(Exception):
    """Something that ends a run."""


class StopAfter:
    """A callback that ends a run after an epoch."""

    def __init__(self, epoch: int):
        self.epoch = epoch

    def on_epoch(self, event) -> None:
        if event.epoch == self.epoch + 1:  # the save of the epoch before is whole
            raise Stop


def main(host: str, numbers: str, systems: str, folder: str) -> None:
    warnings.simplefilter("error")
    mm = importlib.import_module(f"mmppl.{host}")
    data, first, *more = rows(), *map(int, numbers.split(","))
    for system in systems.split(","):
        made, out = program(system, mm), Path(folder) / system
        one = fit(made, data, devices=first, out=out / "one", **HOW)
        state = Run(out / "one").state()[0]

        def say(number, what, found, run, one=one, state=state, out=out):
            pairs = list(zip(found.history, one.history, strict=True))
            names = [name for name, value in one.history[-1].items() if isinstance(value, float) and name != "seconds"]
            assert {"loss", "validation.loss"} <= set(names)
            assert set(Run(run).state()[0]) == set(state)
            record = {
                "system": out.name,
                "devices": number,
                "what": what,
                "record": max(abs(a[n] - b[n]) / max(abs(b[n]), 1.0) for a, b in pairs for n in names if n in b),
                "weights": max(float(np.abs(found.weights[name] - w).max()) for name, w in one.weights.items()),
                "files": sorted(p.name for p in run.iterdir()) == sorted(p.name for p in (out / "one").iterdir()),
                "digest": Run(run).info().data_digest == Run(out / "one").info().data_digest,
            }
            print(json.dumps(record), flush=True)

        for number in more:
            say(number, "fit", fit(made, data, devices=number, out=out / str(number), **HOW), out / str(number))
        both = fit(made, data, devices=more[0], accumulate=4, out=out / "both", **HOW)
        say(more[0], "in parts too", both, out / "both")
        # Begun on several devices, and gone on with on one, and the other way round.
        for before, after in ((more[0], first), (first, more[0])):
            run = out / f"{before} then {after}"
            try:
                fit(made, data, devices=before, out=run, callbacks=[StopAfter(2)], **HOW)
            except Stop:
                say(after, f"resumed from {before}", fit(made, data, devices=after, out=run, resume=True, **HOW), run)
        source = write_rows(out / "rows", [data[:50], data[50:]])
        say(more[0], "source", fit(made, source, devices=more[0], out=out / "source", **HOW), out / "source")


if __name__ == "__main__":
    os.cpu_count = lambda: 4  # two processes on one core are slow, not wrong
    main(*sys.argv[1:])
