"""Hierarchical models with the project's priors: our kernels and NUTS, against weighted draws of the prior."""

import warnings

import numpy as np
import pytest

from mmppl import Batch, Modality
from mmppl.errors import PosteriorWarning
from mmppl.inference import Program, infer

X, COPIES = np.array([1.5, -0.5]), 240


def normal(x, loc, scale):
    return (-0.5 * ((x - loc) / scale) ** 2 - np.log(scale)).sum(-1)


def funnel(ppl):
    """The scale of z is a latent of each datum."""
    host, dist = ppl.host, ppl.host.dist
    v = host.sample("v", dist.Normal(host.zeros(1), 0.7).to_event(1))
    z = host.sample("z", dist.Normal(host.zeros(2), np.e ** (0.5 * v)).to_event(1))
    return z, 0.5


def funnel_draws(rng, num):
    v = 0.7 * rng.normal(size=(num, 1))
    z = np.exp(0.5 * v) * rng.normal(size=(num, 2))
    return np.concatenate([v, z], 1), normal(X, z, 0.5)


def bend(z):
    return -2.0 * (z[..., 1] - z[..., 0] ** 2) ** 2


def banana(ppl):
    """A bent energy on z."""
    host, dist = ppl.host, ppl.host.dist
    z = host.sample("z", ppl.EnergyTilted(dist.Normal(host.zeros(2), 1.0).to_event(1), bend))
    return z, 1.0


def banana_draws(rng, num):
    z = rng.normal(size=(num, 2))
    return z, bend(z) + normal(X, z, 1.0)


def rounded(ppl):
    """A rounded Laplace density, seen through a noise whose scale is positive and unknown."""
    host, dist = ppl.host, ppl.host.dist
    s = host.sample("s", dist.Gamma(host.zeros(1) + 4.0, 4.0).to_event(1))
    z = host.sample("z", ppl.SmoothedLaplace(host.zeros(2), 1.0, 0.3).to_event(1))
    return z, s


def rounded_draws(rng, num):
    # From a Laplace density, weighted to the rounded one.
    s, z = rng.gamma(4.0, 0.25, size=(num, 1)), rng.laplace(size=(num, 2))
    a = np.abs(z)
    inside = np.where(a < 0.3, a**2 / 0.6 + 0.15, a)
    return np.concatenate([s, z], 1), (a - inside).sum(-1) + normal(X, z, s * np.ones(2))


MODELS = {"funnel": (funnel, funnel_draws), "banana": (banana, banana_draws), "rounded": (rounded, rounded_draws)}


def exact(draws):
    """Means and mean squares of the posterior, by weighted draws of the prior."""
    z, log_weight = draws(np.random.default_rng(0), 400_000)
    weight = np.exp(log_weight - log_weight.max())
    return np.concatenate([weight @ z, weight @ z**2]) / weight.sum()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", ["hmc", "mala", "nuts"])
def test_kernels_and_nuts_agree_on_hierarchical_models(ppl, double, name, method):
    latents, draws = MODELS[name]
    sites = ["v", "z"] if name == "funnel" else ["s", "z"] if name == "rounded" else ["z"]

    def model(batch):
        with ppl.plate(batch):
            z, scale = latents(ppl)
            ppl.observe("x", ppl.host.dist.Normal(z, scale).to_event(1), batch)

    def guide(batch):
        with ppl.plate(batch):
            latents(ppl)

    program = Program(model, guide, ppl.ELBO(), ppl, {"x": Modality((2,))})
    copies = 20 if method == "nuts" else COPIES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)
        out = infer(
            program,
            Batch({"x": np.tile(X, (copies, 1))}),
            method=method,
            num_chains=1,
            num_samples=150,
            num_warmup=200,
            init="prior",
            **({"num_steps": 4} if method == "hmc" else {}),
        )
    z = np.concatenate([out[site][0] for site in sites], -1)
    each = np.concatenate([z.mean(0), (z**2).mean(0)], -1)
    error = each.std(0, ddof=1) / np.sqrt(copies)
    assert error.max() < 0.5
    assert (np.abs(each.mean(0) - exact(draws)) < 4.5 * error + 0.005).all()
