"""Fits and samplers within a caller's ``no_grad`` or ``inference_mode``: they are as without."""

import numpy as np
import pytest
import torch

import mmppl.pyro as mm
from mmppl import models
from mmppl.data import load
from mmppl.inference import fit, generate
from mmppl.pyro.networks import Buffers

LINEAR = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=64, num_test=3)
SETTINGS = {"epochs": 2, "batch_size": 32, "progress": False}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("system", ["mvae", "ebm"])
def test_a_fit_is_the_same_in_any_mode(mode, system):
    sizes = {"energy_hidden": 8, "chains": 16, "buffer": 64, "steps": 3} if system == "ebm" else {}

    def declared():
        return models.make(system, LINEAR.modalities, ppl=mm, latent_dim=2, hidden=4, **sizes)

    plain = fit(declared(), LINEAR.train, **SETTINGS)
    with mode():
        inside = fit(declared(), LINEAR.train, **SETTINGS)
        draws = generate(inside, LINEAR.test.only("a"), 2, sampler="mala")
        assert not torch.is_grad_enabled()
    assert all(np.array_equal(inside.weights[name], value) for name, value in plain.weights.items())
    outside = generate(plain, LINEAR.test.only("a"), 2, sampler="mala")
    assert all(np.array_equal(draws[name], value) for name, value in outside.items())


def test_buffers_tell_what_has_become_infinite():
    """A mask of infinities that a network was made with is none."""
    net = torch.nn.BatchNorm1d(2)
    net.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    before = Buffers([net])
    assert before.stay_finite()
    net.running_var[1] = torch.inf
    assert not before.stay_finite()
    before.give_back()
    assert before.stay_finite()
    net.mask[0] = torch.nan
    assert not before.stay_finite()
