"""Rows that are added so that few numbers of rows are compiled change no answer."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpyro.infer import MCMC

import mmppl.numpyro as mm
from mmppl import models
from mmppl.data import load
from mmppl.inference import Fitted, Program, fit, infer
from mmppl.inference.shipped import is_shipped, mark_shipped
from mmppl.nets import MLP, LocScale
from mmppl.numpyro.bound import Bound
from mmppl.numpyro.rows import padding

LINEAR = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=64, num_test=9)
HOST = mm.host


@pytest.fixture(scope="module")
def fitted():
    program = models.mopoe(LINEAR.modalities, ppl=mm, latent_dim=2, hidden=4)
    return fit(program, LINEAR.train, epochs=1, batch_size=32, progress=False)


@pytest.fixture(scope="module")
def alone(fitted):
    """The model and guide to which no rows are added, as those of a user's own."""

    def own(fn):
        return lambda batch: fn(batch)

    return tuple(Bound(own(fn.fn), fn.data) for fn in (fitted.model, fitted.guide))


def _shipped(batch):
    """A callable as one of a system that ships."""


mark_shipped(_shipped)


@given(st.integers(1, 10**6), st.integers(1, 10**4))
def test_few_numbers_of_rows_are_left(number, draws):
    pad = padding(Bound(_shipped, {}), number, draws)
    wide = pad.number + pad.extra
    assert wide >= number
    assert (wide * draws <= 2048 and wide in (16, 64, 256, 1024)) or wide <= max(1.5 * number, 1)
    assert padding(Bound(_model, {}), number, draws).extra == 0


def test_densities_are_those_of_the_rows(fitted, alone):
    (model, guide), rows = alone, LINEAR.test[:5]
    hidden = HOST.latents(model, guide, rows, 3, 0, np.zeros(5, bool))
    assert next(iter(hidden.values())).shape[:2] == (3, 5)
    found = [HOST.scores(fn, hidden, rows) for fn in (fitted.model, model)]
    for name, (padded, plain) in {n: [lik[n] for lik, _ in found] for n in rows.modalities}.items():
        assert padded.shape == (3, 5), name
        np.testing.assert_allclose(padded, plain, rtol=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-5)
    np.testing.assert_allclose(
        HOST.guide_log_prob(fitted.guide, hidden, rows), HOST.guide_log_prob(guide, hidden, rows), rtol=1e-5
    )
    means = [HOST.decode(fn, hidden, rows, 0, True) for fn in (fitted.model, model)]
    for name in means[0]:
        np.testing.assert_allclose(means[0][name], means[1][name], rtol=1e-5)


def test_rows_from_the_prior_stay_in_their_places(fitted):
    """Of rows that the prior answers for, and of no others, latents are standard normal."""
    rows, prior = LINEAR.test[:5], np.array([True, False, True, False, False])
    drawn = HOST.latents(fitted.model, fitted.guide, rows, 4000, 0, prior)["z"]
    assert drawn.shape == (4000, 5, 2)
    near = np.abs(drawn.mean(0)).max(-1) < 0.08
    assert near[prior].all()
    spread = drawn.std(0)
    np.testing.assert_allclose(spread[prior], 1.0, atol=0.05)
    assert (spread[~prior].mean(-1) < 0.97).all()


def _model(batch):
    with mm.plate(batch):
        z = numpyro.sample("z", dist.Normal(np.zeros(2), 1.0).to_event(1))
        scale = numpyro.sample("s", dist.LogNormal(0.0, 0.5))
        mm.observe("b", dist.Normal(z, scale[..., None]).to_event(1), batch)


def _guide(batch):
    with mm.plate(batch):
        numpyro.sample("z", dist.Normal(batch["b"], 1.0).to_event(1))
        numpyro.sample("s", dist.LogNormal(0.0, 0.5))


def test_chains_are_those_of_the_hosts_mcmc():
    """The same kernel by NumPyro's MCMC and by one compiled loop: the same moments of a positive and a real latent."""
    batch = LINEAR.test[:2].select("b")
    fitted = Fitted(Program(_model, _guide, mm.ELBO(), mm, {"b": LINEAR.modalities["b"]}), {})
    sizes = {"num_warmup": 300, "num_samples": 2000, "num_chains": 4}
    ours = infer(fitted, batch, method="hmc", **sizes)
    mcmc = MCMC(mm.HMC(fitted.model), **sizes, chain_method="vectorized", progress_bar=False)
    mcmc.run(jax.random.key(0), mm.as_batch(batch), extra_fields=("log_density",))
    theirs = mcmc.get_samples(group_by_chain=True)
    for name in ("z", "s"):
        x, y = (np.asarray(draws).reshape(-1, *draws.shape[2:]) for draws in (ours.draws[name], theirs[name]))
        np.testing.assert_allclose(x.mean(0), y.mean(0), atol=0.06)
        np.testing.assert_allclose(x.std(0), y.std(0), rtol=0.08)
    density = np.asarray(mcmc.get_extra_fields()["log_density"]).reshape(-1, 2)
    np.testing.assert_allclose(ours.stats["lp"].reshape(-1, 2).mean(0), density.mean(0), atol=0.1)
    assert (ours.draws["s"] > 0).all()


@pytest.mark.filterwarnings("ignore::mmppl.errors.PosteriorWarning")
def test_a_seed_for_each_datum_makes_its_chains_its_own(fitted):
    sizes = {"method": "mala", "num_warmup": 3, "num_samples": 4, "num_chains": 2}
    every = infer(fitted, LINEAR.test[:4], seed=[5, 6, 7, 8], **sizes).draws["z"]
    some = infer(fitted, LINEAR.test[1:3], seed=[6, 7], **sizes).draws["z"]
    np.testing.assert_allclose(every[:, :, 1:3], some, rtol=1e-4, atol=1e-5)
    assert not np.allclose(every[:, :, 0], every[:, :, 1])


def test_rows_of_a_users_own_encoder_stay_those_that_were_given():
    """An encoder that looks at the whole batch sees no copies of a row."""
    spec = LocScale(MLP((3,), (4,), hidden=()))

    class Centred(eqx.Module):
        inside: Any

        def __call__(self, x):
            return self.inside(x - x.mean(0))[0]

    coders = {"a": (Centred(mm.build(spec, 0)), mm.build(MLP((2,), (3,), hidden=()), 1))}
    program = models.mld(LINEAR.modalities, ppl=mm, latent_dim=2, hidden=4, width=4, depth=1, steps=4, coders=coders)
    assert not is_shipped(program.model)
    assert program.twin is None
    assert is_shipped(models.mvae(LINEAR.modalities, ppl=mm, latent_dim=2, hidden=4).guide)
