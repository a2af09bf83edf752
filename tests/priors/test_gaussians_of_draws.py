"""Mixtures of Gaussians fitted to draws, against the densities that the draws are of."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from mmppl.errors import OptionError
from mmppl.priors.mixture import fit_gaussians


def log_density(found, z):
    each = stats.norm.logpdf(z[:, None], found["loc"], found["scale"]).sum(-1)
    return logsumexp(each + found["logits"] - logsumexp(found["logits"]), axis=1)


def test_it_is_as_likely_as_the_density_of_the_draws():
    rng, loc, unit = np.random.default_rng(0), np.array([[-3e3, 1.0], [2e3, -1.0], [0.0, 5.0]]), np.array([1e3, 0.5])
    truth = {"loc": loc, "scale": np.broadcast_to(unit, loc.shape), "logits": np.log([0.5, 0.3, 0.2])}
    place = rng.choice(3, 8000, p=[0.5, 0.3, 0.2])
    z = loc[place] + unit * rng.standard_normal((8000, 2))
    found = fit_gaussians(z[:4000], 3)
    exact = log_density(truth, z[4000:]).mean()
    assert abs(log_density(found, z[4000:]).mean() - exact) < 0.01
    # A maximum of the likelihood has the moments of the draws.
    weight = np.exp(found["logits"] - logsumexp(found["logits"]))[:, None]
    mean = (weight * found["loc"]).sum(0)
    np.testing.assert_allclose(mean, z[:4000].mean(0), rtol=1e-3, atol=1e-2)
    second = (weight * (found["loc"] ** 2 + found["scale"] ** 2)).sum(0)
    np.testing.assert_allclose(second - mean**2, z[:4000].var(0), rtol=1e-2)


def test_a_few_draws_have_few_gaussians_that_share_their_weight():
    z = np.random.default_rng(1).standard_normal((20, 2))
    few, many = fit_gaussians(z, 2), fit_gaussians(z, 5)
    assert many["loc"].shape == (5, 2)
    assert many["logits"].shape == (5,)
    np.testing.assert_allclose(log_density(many, z), log_density(few, z), rtol=1e-10)


def test_of_one_draw_it_is_narrow_there():
    found = fit_gaussians(np.array([[3.0, -1.0]]), 2)
    np.testing.assert_allclose(found["loc"], [[3.0, -1.0]] * 2)
    np.testing.assert_allclose(found["scale"], 0.01)


@pytest.mark.parametrize(("z", "components"), [(np.zeros((0, 2)), 2), (np.zeros((3, 2)), 0)])
def test_nothing_to_fit_is_refused(z, components):
    with pytest.raises(OptionError, match="Expected components >= 1 and a draw or more; got"):
        fit_gaussians(z, components)
