import numpy as np
import pytest
from scipy.linalg import sqrtm

from mmppl.errors import DataError
from mmppl.metrics import Estimate, frechet, latent_probe

RNG = np.random.default_rng(0)


def test_frechet_of_diagonal_covariances_in_closed_form():
    # Two-point columns, uncorrelated: means and (unbiased) covariances are exact.
    signs = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    a, b = signs * [1.0, 3.0], signs * [2.0, 5.0] + [1.0, -2.0]
    expected = 1 + 4 + 4 / 3 * ((2 - 1) ** 2 + (5 - 3) ** 2)
    np.testing.assert_allclose(frechet(a, b), expected, rtol=1e-12)


def test_frechet_equals_the_matrix_square_root_formula():
    a = RNG.standard_normal((200, 5)) @ RNG.standard_normal((5, 5))
    b = RNG.standard_normal((150, 5)) @ RNG.standard_normal((5, 5)) + 1
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a + cov_b - 2 * np.real(sqrtm(cov_a @ cov_b)))
    np.testing.assert_allclose(frechet(a, b), expected, rtol=1e-9)
    np.testing.assert_allclose(frechet(b, a), expected, rtol=1e-9)


def test_frechet_with_singular_covariances_and_few_rows():
    a = RNG.standard_normal((10, 3))
    wide = np.concatenate([a, np.zeros((10, 20))], axis=1)
    assert frechet(wide, wide) < 1e-12
    np.testing.assert_allclose(frechet(wide, wide + 1.0), 23, rtol=1e-12)
    np.testing.assert_allclose(frechet(wide, 2 * wide), frechet(a, 2 * a), rtol=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.ones((3, 2)), np.ones((3, 4)), r"got \(3, 2\) and \(3, 4\)"),
        (np.ones(3), np.ones(3), r"got \(3,\) and \(3,\)"),
        (np.ones((1, 2)), np.ones((3, 2)), "N at least 2"),
        (np.full((3, 2), np.nan), np.ones((3, 2)), "Expected finite features"),
    ],
)
def test_frechet_refuses(a, b, message):
    with pytest.raises(DataError, match=message):
        frechet(a, b)


def test_estimate_averages_draws_before_the_error():
    values = np.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    rows = np.array([1.0, 0.0, 0.5])
    estimate = Estimate.of(values)
    assert (estimate.value, estimate.num) == (0.5, 3)
    np.testing.assert_allclose(estimate.error, rows.std(ddof=1) / np.sqrt(3))
    draws = Estimate.of(values.reshape(6, 1))
    assert draws.num == 6
    np.testing.assert_allclose(draws.error, values.std(ddof=1) / np.sqrt(6))
    assert np.isnan(Estimate.of(np.ones(1)).error)
    assert str(estimate) == "0.500 +- 0.289"


def test_latent_probe_reaches_bayes_accuracy():
    # Two normals at -1 and +1: the best linear rule is right with probability Phi(1).
    y = RNG.integers(0, 2, 40_000)
    z = np.stack([2.0 * y - 1 + RNG.standard_normal(y.size), 1e3 * RNG.standard_normal(y.size)], axis=1)
    probe = latent_probe(z[:20_000], y[:20_000], z[20_000:], y[20_000:])
    assert abs(probe.value - 0.8413447) < 4 * probe.error
    np.testing.assert_allclose(probe.error, np.sqrt(0.8413 * 0.1587 / 20_000), rtol=0.02)


def test_latent_probe_refuses():
    z, y = RNG.standard_normal((6, 2)), np.array([0, 1, 0, 1, 0, 1])
    with pytest.raises(DataError, match=r"Expected latents \(N, D\) and labels \(N,\); got \(6, 2\) and \(5,\)"):
        latent_probe(z, y[:5], z, y)
    with pytest.raises(DataError, match=r"got \(6, 1\) and \(6,\)"):
        latent_probe(z, y, z[:, :1], y)
    with pytest.raises(DataError, match="Expected finite latents"):
        latent_probe(z * np.nan, y, z, y)
    with pytest.raises(DataError, match=r"at least two different labels to tell apart; got \[0\]"):
        latent_probe(z, 0 * y, z, y)
