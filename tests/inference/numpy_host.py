"""A host in numpy alone, for tests of what surrounds training: one weight vector that drifts towards the data."""

import types
from contextlib import nullcontext

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.inference import Program
from mmppl.nets.transfer import check_arrays

SETTINGS = {"epochs": 6, "batch_size": 4, "progress": False, "learning_rate": 0.1}


def data(num=12):
    rng = np.random.default_rng(3)
    return Batch({"a": rng.normal(size=(num, 2)).astype(np.float32)}, label=np.arange(num))


class Trainer:
    def __init__(self, program, batch, *, seed, learning_rate, clip, ema, optimizer=None):
        self.rate, self.rng = learning_rate, np.random.default_rng(seed)
        self.w, self.moment = self.rng.normal(size=2).astype(np.float32), np.zeros(2, np.float32)

    def moved(self, stage):
        return ["w"]

    def begin(self, stage, steps=1, schedule="constant"):
        self.moment = np.zeros(2, np.float32)

    def end_at(self, steps):
        pass

    def step(self, batch):
        gap = self.w - batch["a"].mean(0) + 0.1 * self.rng.normal(size=2).astype(np.float32)
        self.moment = 0.9 * self.moment + gap
        self.w = (self.w - self.rate * self.moment).astype(np.float32)
        return True, {"loss": float((gap**2).sum())}

    def held_out(self, batch, number):
        return {"loss": float(((self.w - batch["a"].mean(0)) ** 2).sum())}

    def assign(self, values):
        assert not values  # there is nothing that standardises

    def finish(self):
        pass

    def weights(self):
        return {"w": self.w.copy()}

    def snapshot(self):
        words = self.rng.bit_generator.state["state"]
        numbers = [words[key] >> shift & (2**64 - 1) for key in ("state", "inc") for shift in (0, 64)]
        return {"w": self.w, "moment": self.moment, "rng": np.array(numbers, np.uint64)}

    def restore(self, snapshot):
        check_arrays(self.snapshot(), snapshot, "the state")
        self.w, self.moment = snapshot["w"].copy(), snapshot["moment"].copy()
        low, high, inc_low, inc_high = map(int, snapshot["rng"])
        state = self.rng.bit_generator.state
        self.rng.bit_generator.state = {**state, "state": {"state": high << 64 | low, "inc": inc_high << 64 | inc_low}}


class Objective:
    def check(self, modalities):
        pass

    def written(self):
        return "Objective()"


def program(trainer=Trainer, names="a", **options):
    host = types.SimpleNamespace(NAME="numpyro", TRAINS_IN_PLACE=True, Trainer=trainer, fitting=nullcontext)
    host.find_prior, host.bind = lambda model, batch: {}, lambda program, weights, batch: (program.model, program.guide)
    host.check_numbers = lambda batch: None
    ppl = types.SimpleNamespace(host=host)
    shapes = {name: Modality((2,)) for name in names}

    def make(seed):
        return Program(print, print, Objective(), ppl, shapes, name="toy", options=options, rebuild=make)

    return make(0)
