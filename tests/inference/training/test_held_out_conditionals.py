"""Held-out bounds of each modality given the others: closed forms, rows that lack some, programs without a density."""

import numpy as np
import pytest
from scipy import stats

from mmppl import models
from mmppl.batch import Batch, Modality
from mmppl.inference import Program, fit

SHAPES = {"a": Modality((1,)), "b": Modality((1,)), "c": Modality((1,))}
NOISE = {"a": 0.5, "b": 0.8, "c": 1.2}
STILL = {"epochs": 2, "batch_size": 10, "learning_rate": 1e-30, "progress": False}


def rows(num=40):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(num, 1))
    values = {m: (z + s * rng.normal(size=(num, 1))).astype("f") for m, s in NOISE.items()}
    masks = {"a": np.arange(num) % 4 != 0, "b": np.arange(num) % 3 != 0, "c": np.arange(num) % 5 != 0}
    masks["c"] |= ~(masks["a"] | masks["b"])
    return Batch(values, masks)


def exact(ppl, widen=1.0):
    """One latent seen with noise by three modalities; the guide is the posterior, or one that is too wide."""
    host, dist = ppl.host, ppl.host.dist

    def model(batch):
        shift = host.param("shift", host.zeros(1))
        with ppl.plate(batch):
            z = host.sample("z", dist.Normal(host.zeros(1) + shift, 1.0).to_event(1))
            for m in batch.modalities:
                ppl.observe(m, dist.Normal(z, NOISE[m]).to_event(1), batch)

    def guide(batch):
        precision, pull = 1.0, 0.0
        for m in batch.modalities:
            here = batch.present[m][..., None] * 1.0
            precision, pull = precision + here / NOISE[m] ** 2, pull + here * batch[m] / NOISE[m] ** 2
        with ppl.plate(batch):
            host.sample("z", dist.Normal(pull / precision, widen * precision**-0.5).to_event(1))

    return Program(model, guide, ppl.ELBO(), ppl, SHAPES)


def expected(data, m):
    """Mean log p(x_m | the others there), over rows that have both."""
    found = []
    for n in np.flatnonzero(data.present[m]):
        others = [k for k in SHAPES if k != m and data.present[k][n]]
        if others:
            precision = 1.0 + sum(NOISE[k] ** -2 for k in others)
            mean = sum(float(data[k][n, 0]) / NOISE[k] ** 2 for k in others) / precision
            found.append(stats.norm.logpdf(float(data[m][n, 0]), mean, np.sqrt(1 / precision + NOISE[m] ** 2)))
    return np.mean(found)


def test_they_are_exact_where_the_guide_is(ppl):
    data = rows()
    fitted = fit(exact(ppl), data, validation=data[:33], **STILL)  # blocks of several sizes
    for record in fitted.history:
        for m in SHAPES:
            assert record[f"validation.conditional.{m}"] == pytest.approx(expected(data[:33], m), abs=2e-5)


def test_they_are_bounds_where_it_is_not(ppl):
    data = rows(200)
    settings = {**STILL, "epochs": 1, "batch_size": 200}
    fitted = fit(exact(ppl, widen=1.6), data, validation=data, **settings)
    # The guide's own predictive density, which the bound is below.
    for m in SHAPES:
        own = []
        for n in np.flatnonzero(data.present[m]):
            others = [k for k in SHAPES if k != m and data.present[k][n]]
            precision = 1.0 + sum(NOISE[k] ** -2 for k in others)
            mean = sum(float(data[k][n, 0]) / NOISE[k] ** 2 for k in others) / precision
            if others:
                spread = np.sqrt(1.6**2 / precision + NOISE[m] ** 2)
                own.append(stats.norm.logpdf(float(data[m][n, 0]), mean, spread))
        bound = fitted.history[0][f"validation.conditional.{m}"]
        assert bound < np.mean(own)
        assert bound > np.mean(own) - 1.0


def test_systems_record_them_where_guides_have_densities(ppl):
    data = rows()
    settings = {"epochs": 2, "batch_size": 20, "progress": False, "validation": 0.25}
    named = {f"validation.conditional.{m}" for m in SHAPES}
    masked = fit(models.mmvae_plus(SHAPES, ppl=ppl, latent_dim=2, private_dim=1, hidden=8), data, **settings)
    assert named <= set(masked.history[-1])
    assert all(np.isfinite(masked.history.table()[name]).all() for name in named)
    assert "conditional.a" in masked.history.terms()
    assert masked.history.plot("conditional.a") is not None
    mld = fit(models.mld(SHAPES, ppl=ppl, latent_dim=2, hidden=8, width=8, depth=1), data, **settings)
    assert not named & {name for record in mld.history for name in record}
    alone = fit(models.mvae({"a": SHAPES["a"]}, ppl=ppl, latent_dim=1, hidden=8), {"a": data["a"]}, **settings)
    assert "validation.loss" in alone.history[-1]
    assert not named & set(alone.history[-1])
