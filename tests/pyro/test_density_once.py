"""A density that costs a network's answer is computed once in a step of training."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch

import mmppl.pyro as mm
from mmppl import Batch


def test_a_step_asks_the_network_of_a_score_once():
    answers = []

    def net(x):
        answers.append(len(x))
        return torch.zeros_like(x[..., :2])

    everywhere = torch.ones(8, dtype=torch.bool)
    prior = mm.JointScore(net, {"a": 1, "b": 1}, density="denoising").marginal({"a": everywhere, "b": everywhere})

    def model(batch):
        with mm.plate(batch):
            z = pyro.sample("z", prior)
            mm.observe("x", dist.Normal(z, 1.0).to_event(1), batch)

    def guide(batch):
        with mm.plate(batch):
            loc = pyro.param("loc", torch.zeros(2))
            pyro.sample("z", dist.Normal(loc, 1.0).expand((8, 2)).to_event(1))

    pyro.clear_param_store()
    batch = Batch({"x": np.zeros((8, 2), np.float32)})
    mm.ELBO().loss_and_grads(model, guide, batch)
    assert answers == [8]
