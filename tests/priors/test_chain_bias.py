"""The bias of short-run chains, against quadrature, and the warning of a fit that learned by such chains."""

from importlib import import_module

import numpy as np
import pytest
from scipy import special, stats

from mmppl import Batch, Modality
from mmppl.errors import OptionError, TrainingWarning
from mmppl.inference import Fitted, Program, fit
from mmppl.inference.training.short_run import warn_of_biased_chains
from mmppl.priors import ChainBias, LangevinChains

LINE = np.linspace(-9.0, 9.0, 4001)
LOC, SCALE = np.array([-1.5, 1.5]), np.array([0.7, 0.7])


def wave(z, sin):
    """An energy whose mode lies in one of the base's two, 4 nats above the other."""
    return 2.0 * sin(z) - 0.02 * z**2


def tilted(d, **chains):
    parts = d.dist.Normal(d.array(LOC[:, None]), d.array(SCALE[:, None])).to_event(1)
    base = d.dist.MixtureSameFamily(d.dist.Categorical(probs=d.array(np.array([0.5, 0.5]))), parts)
    xp = import_module({"numpyro": "jax.numpy", "pyro": "torch"}[d.name])
    return d.mm.EnergyTilted(base, lambda z: wave(z[..., 0], xp.sin), LangevinChains(**chains))


def bias_of(d, prior):
    return d.call(lambda: d.mm.host.chain_bias(prior, 3), 0)


def quadrature():
    """Mean and deviation of the energy under the tilted mixture."""
    energy = wave(LINE, np.sin)
    log_density = special.logsumexp(stats.norm.logpdf(LINE[:, None], LOC, SCALE), axis=-1) + energy
    weight = np.exp(log_density - special.logsumexp(log_density))
    mean = weight @ energy
    return mean, np.sqrt(weight @ (energy - mean) ** 2)


def test_the_bias_is_that_of_quadrature(host):
    """Chains that do not move stand at the base, where the mean energy is known as well."""
    mean, spread = quadrature()
    base = 0.5 * stats.norm.pdf(LINE[:, None], LOC, SCALE).sum(-1)
    still = (base @ wave(LINE, np.sin)) / base.sum()
    bias = bias_of(host, tilted(host, steps=1, step_size=1e-6))
    assert bias.found
    assert abs(bias.value - (still - mean)) < 4.0 * bias.error
    assert bias.error < 0.05
    assert bias.spread == pytest.approx(spread, rel=0.1)


def test_default_chains_do_not_cross_between_modes_and_many_steps_do(host):
    short, long = (
        bias_of(host, tilted(host, **more)) for more in ({}, {"steps": 300, "step_size": 0.8, "adjusted": True})
    )
    assert short.found
    assert short.value < -0.5
    assert not long.found
    assert abs(long.value) < 4.5 * long.error


def test_uneven_weights_and_kept_chains_tell_nothing(host):
    base = host.dist.Normal(host.array(np.zeros(20)), 1.0).to_event(1)
    bias = bias_of(host, host.mm.EnergyTilted(base, lambda z: 3.0 * z.sum(-1), LangevinChains(steps=1)))
    assert bias.ess < 100.0
    assert np.isnan(bias.value)
    assert not bias.found
    assert bias_of(host, host.mm.EnergyTilted(base)) == ChainBias(0.0, 0.0, 0.0, 4000.0)
    with pytest.raises(OptionError, match="Expected chains that start anew at every gradient; got a buffer of 300"):
        host.mm.EnergyTilted(base, None, LangevinChains(buffer=300)).chain_bias(*[0] * (host.name == "numpyro"))


def test_a_fit_by_short_chains_warns_once(host, monkeypatch):
    """What was learned is biased with them."""

    def program(**chains):
        def model(batch):
            with host.mm.plate(batch):
                z = host.ppl.sample("z", tilted(host, **chains))
                host.mm.observe("a", host.dist.Normal(z, 1.0).to_event(1), batch)

        def guide(batch):
            loc = host.ppl.param("loc", host.array(np.zeros(1)))
            with host.mm.plate(batch):
                host.ppl.sample("z", host.dist.Normal(loc + 0.0 * batch["a"], 1.0).to_event(1))

        return Program(model, guide, host.mm.ELBO(), host.mm, {"a": Modality((1,))})

    rows = Batch({"a": np.random.default_rng(0).normal(size=(8, 1))})
    with pytest.warns(TrainingWarning, match="Expected chains of 60 steps to reach the prior of 'z'; got .* Take more"):
        fitted = fit(program(), rows, epochs=1, progress=False)
    right = {"steps": 300, "step_size": 0.8, "adjusted": True}
    warn_of_biased_chains(Fitted(program(**right), {"loc": np.zeros(1)}), rows)
    monkeypatch.setattr(
        host.mm.host,
        "find_prior",
        lambda *args: {
            "z": host.mm.EnergyTilted(
                host.dist.Normal(host.array(np.zeros(1)), 1.0).to_event(1), None, LangevinChains(buffer=300)
            )
        },
    )
    warn_of_biased_chains(fitted, rows)
