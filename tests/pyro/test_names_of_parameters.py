"""A parameter whose name begins another's keeps its own state of the optimiser over a pause."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch

import mmppl.pyro as mm
from mmppl.batch import Batch, Modality
from mmppl.inference import Program, Stage
from mmppl.pyro.trainer import Trainer


def test_a_longer_name_is_another_parameter():
    def model(batch):
        w, longer = pyro.param("w", torch.zeros(1)), pyro.param("w.exp", torch.ones(1))
        with mm.plate(batch):
            mm.observe("x", dist.Normal(w + longer, 1.0).expand([len(batch), 1]).to_event(1), batch)

    program = Program(model, lambda batch: None, mm.ELBO(), mm, {"x": Modality((1,))})
    data = Batch({"x": np.arange(4.0)[:, None]})
    first, second = (Trainer(program, data, seed=0, learning_rate=0.1, clip=None, ema=0.0) for _ in range(2))
    for trainer in (first, second):
        trainer.begin(Stage())
    first.step(data)
    kept = first.snapshot()
    second.restore(kept)
    for p in second.moving.values():
        assert set(second.optimiser.every[0].state[p]) == {"step", "exp_avg", "exp_avg_sq"}
    again = second.snapshot()
    assert again.keys() == kept.keys()
    assert all(np.array_equal(again[name], kept[name]) for name in kept)
