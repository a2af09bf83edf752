"""Simulation-based calibration where single elements are missing, of latents and of what is missing itself."""

import numpy as np
import pytest

from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.covariates import Covariate
from mmppl.diagnostics import calibrate, simulate
from mmppl.errors import OptionError
from mmppl.inference import Fitted, Program

WEIGHT = {"a": np.array([[1.0, 0.5], [-0.7, 1.2], [0.3, -1.0]]), "b": np.array([[0.8, 0.8], [1.5, -0.2]])}
NOISE = 0.6
SHAPES = {m: Modality((len(w),), partial=True) for m, w in WEIGHT.items()}


def linear(ppl, *, looks=True, covariates=None, noise=1.0):
    """A linear-Gaussian program with the exact posterior of whatever elements are there, or one that takes 0 for data.

    A covariate moves all that is seen. The model's noise may be another than the guide thinks.
    """
    host, dist = ppl.host, ppl.host.dist
    backend = get_backend(host.zeros(1))
    weight = {m: backend.asarray(w, host.zeros(1)) for m, w in WEIGHT.items()}

    def shift(batch):
        return batch.covariates["dose"][..., None] if covariates else 0.0

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", dist.Normal(host.zeros(2), 1.0).to_event(1))
            for m in batch.modalities:
                ppl.observe(m, dist.Normal(z @ weight[m].T + shift(batch), noise * NOISE).to_event(1), batch)

    def guide(batch):
        xp = backend.xp
        precision, pull = xp.eye(2), 0.0
        for m in batch.modalities:
            there = batch.there(m) if looks else batch.present[m][..., None] & (batch[m] == batch[m])
            w = (there * 1.0)[..., None] * weight[m] / NOISE
            precision = precision + xp.matmul(xp.permute_dims(w, (*range(w.ndim - 2), w.ndim - 1, w.ndim - 2)), w)
            pull = pull + xp.sum(w * ((batch[m] - shift(batch)) / NOISE)[..., None], axis=-2)
        loc = xp.linalg.solve(precision, pull[..., None])[..., 0]
        with ppl.plate(batch):
            host.sample("z", dist.MultivariateNormal(loc, precision_matrix=precision))

    return Fitted(Program(model, guide, ppl.ELBO(), ppl, SHAPES, covariates=covariates or {}), {})


SIZES = {"method": "guide", "num": 400, "draws": 9}


def test_single_elements_are_simulated_as_missing(ppl):
    data, truth = simulate(linear(ppl), 300, seed=1)
    assert truth["z"].shape == (300, 2)
    assert 0.4 < np.mean([data.there(m).mean() for m in SHAPES]) < 0.75
    partly = data.present["a"] & ~data.whole("a")
    assert 0.1 < partly.mean() < 0.6
    assert all(np.logical_or.reduce([data.whole(m) for m in SHAPES]))
    assert (data["a"][~data.there("a")] == 0).all()


def test_exact_posteriors_are_calibrated_and_so_is_what_is_missing(ppl):
    found = calibrate(linear(ppl), **SIZES)
    assert {m: p.shape for m, p in found.missing.items()} == {"a": (3,), "b": (2,)}
    assert np.isfinite(np.concatenate(list(found.missing.values()))).all()
    assert found.worst > 0.01
    # Elements that are missing are not data of 0.
    assert calibrate(linear(ppl, looks=False), **{**SIZES, "num": 3000}).worst < 1e-4


def test_what_is_missing_tells_of_noise_that_latents_do_not(ppl):
    """A guide of another noise than the model's; what is missing is drawn by the latents that it gives."""
    found = calibrate(linear(ppl, noise=2.0), **SIZES)
    assert min(p.min() for p in found.p_value.values()) < 1e-4


def test_gaps_and_covariates_are_those_of_data(ppl):
    rng = np.random.default_rng(0)
    there = {"a": np.tile([True, False, True], (50, 1)), "b": np.arange(50) % 2 > 0}
    values = {m: rng.normal(size=(50, *s.shape)).astype("f") for m, s in SHAPES.items()}
    like = Batch(values, there, covariates={"dose": np.linspace(1.0, 9.0, 50)})
    fitted = linear(ppl, covariates={"dose": Covariate()})
    data, _ = simulate(fitted, 200, seed=2, like=like)
    assert (data.there("a") == [True, False, True]).all()
    assert 0.35 < data.present["b"].mean() < 0.65
    assert set(np.round(data.covariates["dose"], 4)) <= set(np.round(like.covariates["dose"], 4))
    found = calibrate(fitted, like=like, **SIZES)
    assert found.worst > 0.01
    assert np.isnan(found.missing["a"][[0, 2]]).all()
    assert np.isfinite(found.missing["a"][1])
    with pytest.raises(OptionError, match="Expected like=, data whose covariates \\['dose'\\] simulated data take"):
        simulate(fitted, 5)
