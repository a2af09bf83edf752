"""Rates and distortions of a linear-Gaussian model, against closed forms."""

from dataclasses import replace
from itertools import combinations
from math import comb

import numpy as np
import pytest

from mmppl.diagnostics import rate_distortion
from mmppl.diagnostics.loading import single
from mmppl.diagnostics.rates import law
from mmppl.errors import DataError, OptionError
from mmppl.inference import Fitted, fit

TILT = np.array([0.8, -0.5])


def divergence(loc, cov, other_loc, other_cov):
    """KL of normals, ``(N,)``."""
    inverse, off = np.linalg.inv(other_cov), loc - other_loc
    square = np.einsum("ni,nij,nj->n", off, inverse, off)
    log_det = np.linalg.slogdet(other_cov)[1] - np.linalg.slogdet(cov)[1]
    return 0.5 * (np.einsum("nij,nji->n", inverse, cov) + square - loc.shape[1] + log_det)


def expected(truth, batch, tilt):
    """What the exact posterior gives for these data."""

    def posterior(seen):
        loc, cov = truth.posterior(seen)
        return loc + cov @ tilt, cov

    def log_lik(name, loc, cov):
        weight, noise = truth.weight[name], truth.noise[name]
        residual = batch[name] - truth.bias[name] - loc @ weight.T
        spread = (residual**2).sum(-1) + np.trace(weight @ cov @ weight.T, axis1=-2, axis2=-1)
        return -0.5 * (spread / noise**2 + truth.dims[name] * np.log(2 * np.pi * noise**2))

    names, number = batch.modalities, len(batch)
    full, prior = posterior(batch), (np.tile(tilt, (number, 1)), np.tile(np.eye(2), (number, 1, 1)))
    out = [sum(log_lik(n, *full) for n in names), divergence(*full, *prior), 0.0, 0.0]
    for size in range(4):
        for subset in combinations(names, size):
            seen, weight = posterior(batch.only(*subset)), 1 / (4 * comb(3, size))
            out[2] = out[2] + weight * sum((log_lik(n, *seen) for n in names if n not in subset), np.zeros(number))
            out[3] = out[3] + weight * divergence(*full, *seen)
    return [value.mean() for value in out]


@pytest.mark.parametrize("tilt", [None, TILT], ids=["normal", "energy"])
def test_rates_of_exact_posteriors_are_the_closed_forms(linear, truth, tilt):
    batch = truth.sample(50, seed=5)
    options = {} if tilt is None else {"tilt": tuple(tilt)}
    found = rate_distortion(linear(**options), batch, num=2000)
    wanted = expected(truth, batch, np.zeros(2) if tilt is None else tilt)
    for name, value, want in zip(found._fields, found, wanted, strict=True):
        # 100,000 draws; log Z of an energy is itself an estimate.
        assert value.value == pytest.approx(want, rel=0.01, abs=0.03), name
        assert value.num == 50
        assert 0 < value.error < abs(want)


def test_only_whole_rows_count(linear, truth):
    batch = truth.sample(30, seed=5)
    holes = batch.with_present({"b": np.arange(30) < 20})
    fitted = linear()
    assert rate_distortion(fitted, holes).rate == rate_distortion(fitted, batch[:20]).rate
    with pytest.raises(DataError, match="at least two rows with all modalities; got 0"):
        rate_distortion(fitted, batch.only("a"))
    with pytest.raises(OptionError, match="Expected num >= 1; got 0"):
        rate_distortion(fitted, batch, num=0)


@pytest.mark.parametrize("ppl", ["pyro"], indirect=True)
@pytest.mark.parametrize("name", ["jmvae", "mmvae_plus", "nexus"])
def test_guides_answer_for_nothing_too(ppl, small, truth, name):
    program = small(name, truth.modalities)
    fitted = fit(program, single(truth.sample(32, seed=1)), epochs=1, batch_size=16, progress=False)
    found = rate_distortion(fitted, single(truth.sample(10, seed=2)), num=4)
    assert all(np.isfinite(value.value) for value in found)
    assert found.rate.value > 0
    coded = Fitted(replace(fitted.program, density=False), fitted.weights)
    with pytest.raises(OptionError, match=f"'{name}' has deterministic encoders, so its guide has no density"):
        rate_distortion(coded, truth.sample(10, seed=2))


def test_of_many_modalities_subsets_are_drawn():
    names = tuple("abcdef")
    drawn = law(names, seed=0)
    assert len(drawn) == 32
    assert sum(weight for _, weight in drawn) == pytest.approx(1.0)
    assert law(names, seed=0) == drawn != law(names, seed=1)
    sizes = [len(subset) for seed in range(200) for subset, _ in law(names, seed)]
    # Sizes 0 to 6 are equally likely.
    assert np.abs(np.bincount(sizes, minlength=7) / len(sizes) - 1 / 7).max() < 0.02
