"""Same weights, same noise: losses and gradients of the two hosts agree in float32, with rows of every pattern."""

from importlib import import_module

import numpy as np
import numpyro.distributions as jax_dist
import pyro.distributions as torch_dist
import pytest

import mmppl.numpyro
import mmppl.pyro
from mmppl import Batch
from mmppl._backend.jax import BACKEND as JAX
from mmppl._backend.torch import BACKEND as TORCH
from mmppl.nets import MLP, Energy, LocScale
from mmppl.priors import LangevinChains
from mmppl.testing import driver
from mmppl.testing.replay import replay as replay_noise
from mmppl.testing.replay import replayed

DIMS = {"a": 3, "b": 2}
RNG = np.random.default_rng(0)
BATCH = Batch(
    {name: RNG.normal(size=(6, size)).astype(np.float64) for name, size in DIMS.items()},
    {"a": np.array([1, 1, 0, 1, 1, 0], bool), "b": np.array([1, 0, 1, 1, 1, 1], bool)},
)
SHORT = LangevinChains(number=32, steps=5)
ADJUSTED = LangevinChains(number=32, steps=5, adjusted=True)


@pytest.fixture(autouse=True)
def replay(monkeypatch):
    for backend in (JAX, TORCH):
        replay_noise(monkeypatch, backend)

    def base(kind, backend, finish):
        """A sampler of a host's distribution with the replayed noise."""

        def sample(self, key=None, sample_shape=()):
            sample_shape = key if backend is TORCH and key is not None else sample_shape
            shape = (*sample_shape, *self.batch_shape)
            return finish(self, backend.asarray(replayed(kind, shape), like=self.loc))

        return sample

    for backend, dist, mm in ((JAX, jax_dist, mmppl.numpyro), (TORCH, torch_dist, mmppl.pyro)):
        monkeypatch.setattr(dist.Normal, "sample", base("normal", backend, lambda d, e: d.loc + d.scale * e))
        quantile = mmppl.priors.smoothed_laplace.quantile
        smooth = base("uniform", backend, lambda d, u, q=quantile: d.loc + q(u, d.scale, d.delta))
        monkeypatch.setattr(mm.SmoothedLaplace, "sample", smooth)


def normal(d):
    return d.dist.Normal(d.array(np.zeros(2, np.float64)), d.array(np.ones(2, np.float64))).to_event(1)


def smoothed(d):
    zeros = d.array(np.zeros(2, np.float64))
    return d.mm.SmoothedLaplace(zeros, zeros + 1.0).to_event(1)


PRIORS = {
    "Normal": lambda d, energy: normal(d),
    "Laplace": lambda d, energy: d.dist.Laplace(d.array(np.zeros(2, np.float64)), 1.0).to_event(1),
    "tilted Normal": lambda d, energy: d.mm.EnergyTilted(normal(d), energy(), SHORT),
    "tilted SmoothedLaplace": lambda d, energy: d.mm.EnergyTilted(smoothed(d), energy(), ADJUSTED),
}
OBJECTIVES = {
    "ELBO": lambda mm: mm.ELBO(beta=0.5),
    "DReG": lambda mm: mm.ELBO(3, gradient="dreg"),
    "MVAE": lambda mm: mm.MVAE(random=1),
    "MMVAE": lambda mm: mm.MMVAE(2, gradient="stl"),
    "MoPoE": lambda mm: mm.MoPoE(2),
    "MoPoE, mixture": lambda mm: mm.MoPoE(density="mixture", weights={"b": 2.0}),
}
# Rows that are sampled: each meets one prior and one aggregation.
SAMPLED = {
    "JMVAE": lambda mm: mm.JMVAE(2, alpha=0.3),
    "MMJSD": lambda mm: mm.MMJSD(beta=0.5, free_bits=0.1),
    "MMVAE+": lambda mm: mm.MMVAEPlus(2, gradient="dreg"),
    "MVTCAE": lambda mm: mm.MVTCAE(2, gradient="stl"),
}
AGGREGATIONS = {
    "product": ("Product", "normal"),
    "experts": ("MixtureOfExperts", "normal"),
    "products": ("MixtureOfProducts", "normal"),
    "Laplace products": ("MixtureOfProducts", "laplace"),
}
# Every aggregation x objective; the priors take turns, so that each meets every aggregation and every objective.
NAMES = list(PRIORS)
CELLS = [
    (NAMES[(i + j) % len(NAMES)], aggregation, objective)
    for i, aggregation in enumerate(AGGREGATIONS)
    for j, objective in enumerate(OBJECTIVES)
]
PAIRS = [(NAMES[i - 1], (*AGGREGATIONS, "mean")[i + 1], objective) for i, objective in enumerate(SAMPLED)]
AGGREGATIONS["mean"] = ("GeometricMean", "laplace")


def outcome(host, prior, aggregation, objective):
    """One evaluation, in double precision: chains let single precision's rounding grow past what is held here."""
    d = driver(host)
    with d.double():
        return _outcome(d, prior, aggregation, objective)


def _outcome(d, prior, aggregation, objective):
    builder = import_module(f"mmppl.nets.{'equinox' if d.name == 'numpyro' else 'torch'}")

    def build(spec, seed):
        return builder.build(spec, seed, "float64")

    encoders = {n: build(LocScale(MLP((s,), (4,), hidden=(8,))), i) for i, (n, s) in enumerate(DIMS.items())}
    decoders = {n: build(MLP((2,), (s,), hidden=(8,)), 5 + i) for i, (n, s) in enumerate(DIMS.items())}
    energy = build(Energy(2, hidden=(8,)), 9)
    kind, family = AGGREGATIONS[aggregation]

    def model(batch):
        fn = PRIORS[prior](d, lambda: d.mm.net("energy", energy))
        with d.mm.plate(batch, 60):
            z = d.ppl.sample("z", fn)
            for name in batch.modalities:
                mean = d.mm.net(f"{name}.decoder", decoders[name])(z)
                d.mm.observe(name, d.dist.Normal(mean, 0.7).to_event(1), batch)

    def guide(batch):
        experts = {name: d.mm.net(f"{name}.encoder", encoders[name])(batch[name]) for name in batch.modalities}
        with d.mm.plate(batch, 60):
            d.ppl.sample("z", getattr(d.mm, kind)(experts, batch.present, family=family))

    return d.stepper((OBJECTIVES | SAMPLED)[objective](d.mm), model, guide)(BATCH, 0)


@pytest.mark.parametrize("cell", CELLS + PAIRS, ids=[", ".join(cell) for cell in CELLS + PAIRS])
def test_losses_and_gradients_of_the_hosts_agree(cell):
    ours, theirs = outcome("numpyro", *cell), outcome("pyro", *cell)
    np.testing.assert_allclose(ours.loss, theirs.loss, rtol=1e-5)
    assert ours.record.keys() == theirs.record.keys()
    for name, value in ours.record.items():
        np.testing.assert_allclose(value, theirs.record[name], rtol=1e-5, atol=1e-5, err_msg=name)
    assert ours.grads.keys() == theirs.grads.keys()
    for name, grad in ours.grads.items():
        # A constant added to an energy changes nothing; every other weight is learned.
        size = np.abs(ours.loss) if name == "energy.layers.3.bias" else np.abs(grad).max()
        assert size > 0, name
        np.testing.assert_allclose(grad, theirs.grads[name], rtol=1e-5, atol=1e-5 * size, err_msg=name)


def test_every_pair_is_met():
    for place, names in ((1, list(AGGREGATIONS)[:4]), (2, OBJECTIVES)):
        assert {(cell[0], cell[place]) for cell in CELLS} == {(prior, name) for prior in PRIORS for name in names}
