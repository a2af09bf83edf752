"""Small formulas, on every backend."""

import numpy as np
import pytest
from scipy import special

from mmppl._backend import get_backend
from mmppl.numerics import log_mean_exp, random_signs, systematic

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("axis", [0, 1])
def test_log_mean_exp(to, axis):
    x = 300.0 * RNG.normal(size=(5, 4))
    found = log_mean_exp(to(x), axis)
    wanted = special.logsumexp(x, axis=axis) - np.log(x.shape[axis])
    np.testing.assert_allclose(get_backend(found).to_numpy(found), wanted, rtol=1e-12)


def test_random_signs_are_even_and_independent(to):
    like = to(np.zeros((4, 3)))
    backend = get_backend(like)
    found = backend.to_numpy(random_signs(backend, backend.rng(0), 2000, like)).reshape(2000, 12)
    assert set(found.ravel()) == {-1.0, 1.0}
    np.testing.assert_allclose(found.T @ found / 2000, np.eye(12), atol=0.11)
    np.testing.assert_allclose(found.mean(0), 0.0, atol=0.11)


@pytest.mark.parametrize("number", [1, 2, 5, 8, 13])
def test_systematic_resampling_inverts_the_distribution_function(to, number):
    log_weight = 5.0 + 2.0 * RNG.normal(size=(number, 3))
    points = RNG.uniform(size=(20, 3))
    points[0] = 1.0 - 1e-16
    index = systematic(to(log_weight), to(points))
    upper = np.cumsum(special.softmax(log_weight, axis=0), axis=0)
    wanted = [np.searchsorted(edge, p) for edge, p in zip(upper.T, points.T, strict=True)]
    wanted = np.minimum(np.stack(wanted, axis=1), number - 1)
    np.testing.assert_array_equal(get_backend(index).to_numpy(index), wanted)


def test_systematic_resampling_takes_no_draw_that_has_no_weight(to):
    index = systematic(to(np.log([1e-300, 0.5, 1e-300, 0.5])), to(np.linspace(0.01, 0.99, 30)))
    assert set(get_backend(index).to_numpy(index).tolist()) == {1, 3}
