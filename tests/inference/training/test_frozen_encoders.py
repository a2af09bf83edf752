"""Noise of frozen encoders: that of the fit's seed, whatever the process has drawn, and whenever rows are encoded."""

import sys

import numpy as np
import pytest

from mmppl import models
from mmppl.data import load
from mmppl.inference import Callback, fit

DATA = load("linear_gaussian", num_train=64, num_test=16)
SETTINGS = {"epochs": 4, "batch_size": 32, "seed": 3, "progress": False}


class Stop(Callback):
    """Ends a fit in its second stage."""

    def on_epoch(self, event):
        if event.epoch == 3:
            raise KeyboardInterrupt


def reduced(ppl):
    """A program whose prior is of the directions that draws of its encoders fill."""
    sizes = {"latent_dim": 2, "hidden": 8, "energy_hidden": 8, "chains": 8, "buffer": 0, "steps": 2}
    return models.ebm(DATA.modalities, ppl=ppl, reduce=0.1, **sizes)


def disturb(ppl):
    """Draws from the process's own random stream."""
    np.random.default_rng().normal()
    if ppl.host.TRAINS_IN_PLACE:
        sys.modules["torch"].rand(7)


def test_they_draw_by_the_seed_alone_and_when_resumed(ppl, tmp_path):
    whole = fit(reduced(ppl), DATA.train, **SETTINGS)
    disturb(ppl)
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit(reduced(ppl), DATA.train, out=run, callbacks=[Stop()], **SETTINGS)
    disturb(ppl)
    resumed = fit(reduced(ppl), DATA.train, out=run, resume=True, callbacks=[Callback()], **SETTINGS)
    assert [line["stage"] for line in whole.history][2:] == ["energy"] * 2
    for name, value in whole.weights.items():
        np.testing.assert_array_equal(resumed.weights[name], value, err_msg=name)
