"""Densities whose scale is one number against torch's own."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from mmppl.pyro.loc_scale import loc_scale

HOSTS = {"normal": dist.Normal, "laplace": dist.Laplace}


@pytest.mark.parametrize("family", HOSTS)
def test_density_and_gradient_are_the_hosts(family):
    torch.manual_seed(0)
    loc = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    value = torch.randn(5, 3, 2, 4, dtype=torch.float64)
    ours, theirs = (fn.to_event(2) for fn in (loc_scale(family, loc, 0.7), HOSTS[family](loc, 0.7)))
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value), rtol=1e-12, atol=0.0)
    grads = [torch.autograd.grad(fn.log_prob(value).sum(), loc)[0] for fn in (ours, theirs)]
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("family", HOSTS)
def test_expanded_and_drawn_like_the_hosts(family):
    loc = torch.randn(2, 1)
    ours, theirs = (make.expand((3, 2, 4)) for make in (loc_scale(family, loc, 0.7), HOSTS[family](loc, 0.7)))
    assert ours.batch_shape == theirs.batch_shape
    draws = []
    for fn in (ours, theirs):
        torch.manual_seed(0)
        draws.append(fn.rsample((2,)))
    torch.testing.assert_close(*draws, rtol=0.0, atol=0.0)
    torch.testing.assert_close(ours.log_prob(draws[0]), theirs.log_prob(draws[0]))
    torch.testing.assert_close(ours.variance, theirs.variance)


def test_a_learned_scale_is_the_hosts_own_distribution():
    assert type(loc_scale("laplace", torch.zeros(2), torch.ones(2))) is dist.Laplace


def test_values_that_are_not_finite_are_refused():
    with pyro.validation_enabled(True), pytest.raises(ValueError, match="support"):
        loc_scale("normal", torch.zeros(2), 1.0).expand((3, 2)).log_prob(torch.tensor(float("nan")))
