"""Pyro's guides that run the model with other distributions: what the model observes is none of theirs."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoHierarchicalNormalMessenger, AutoNormalMessenger

import mmppl.pyro as mm
from mmppl import Batch

VALUES = np.random.default_rng(0).normal(size=(5, 2)).astype("f")
BATCH = mm.as_batch(Batch({"a": VALUES, "b": VALUES[:, :1]}, {"b": np.arange(5) % 2 == 0}))


def model(batch):
    mu = pyro.sample("mu", dist.Normal(torch.tensor(0.0), 1.0))
    with mm.plate(batch):
        z = pyro.sample("z", dist.Normal(mu, 1.0))
        for name in batch.modalities:
            mm.observe(name, dist.Normal(z[..., None] + 0.0 * batch[name], 0.8).to_event(1), batch)


def loss_and_grads(objective, make, seed):
    with pyro.get_param_store().scope():
        pyro.set_rng_seed(0)
        guide = make(model)
        guide(BATCH)
        pyro.set_rng_seed(seed)
        loss = objective.loss_and_grads(model, guide, BATCH)
        params = pyro.get_param_store().named_parameters()
        return float(loss), {name: p.grad.clone() for name, p in params if p.grad is not None}


@pytest.mark.parametrize("make", [AutoNormalMessenger, AutoHierarchicalNormalMessenger])
def test_the_bound_is_the_hosts(make):
    ours, theirs = (loss_and_grads(objective, make, 1) for objective in (mm.ELBO(), Trace_ELBO()))
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
    assert ours[1].keys() == theirs[1].keys() != set()
    for name, grad in theirs[1].items():
        torch.testing.assert_close(ours[1][name], grad, rtol=1e-4, atol=1e-5)
    more = np.array(
        [[loss_and_grads(o, make, s)[0] for s in range(60)] for o in (mm.ELBO(2, average=True), Trace_ELBO())]
    )
    assert abs(np.subtract(*more.mean(1))) < 5.0 * np.hypot(*(more.std(1) / np.sqrt(60)))
    assert np.isfinite(loss_and_grads(mm.ELBO(3), make, 1)[0])
