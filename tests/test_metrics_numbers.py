import numpy as np
import pytest
from scipy import stats
from scipy.linalg import sqrtm

from mmppl.errors import DataError
from mmppl.metrics import Estimate, frechet, latent_probe, likelihood_gap

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
    probe = latent_probe(z[:20_000], y[:20_000], z[20_000:], y[20_000:], num=None)
    assert abs(probe.value - 0.8413447) < 4 * probe.error
    np.testing.assert_allclose(probe.error, np.sqrt(0.8413 * 0.1587 / 20_000), rtol=0.02)


def test_latent_probe_fits_on_as_many_as_the_protocol_takes():
    """The labels of the 500 rows drawn are right and all others wrong: only if these alone are used is it right."""
    y = RNG.integers(0, 2, 4000)
    z = 4.0 * y[:, None] - 2.0 + RNG.standard_normal((4000, 1))
    chosen = np.random.default_rng(3).choice(4000, 500, replace=False)
    told = 1 - y
    told[chosen] = y[chosen]
    assert latent_probe(z, told, z, y, seed=3).value > 0.95
    assert latent_probe(z, told, z, y, num=None).value < 0.05


def test_likelihood_gap_is_the_divergence():
    """Data of N(0, 1) under N(m, 1): m^2 / 2 nats, over the entropy of a standard normal."""
    x, m = RNG.standard_normal(40_000), 0.3
    truth, model = stats.norm.logpdf(x), stats.norm.logpdf(x, m)
    gap = likelihood_gap(model, truth)
    assert abs(gap.nats.value - m**2 / 2) < 4 * gap.nats.error
    np.testing.assert_allclose(gap.nats.error, m / 200, rtol=0.02)
    np.testing.assert_allclose(gap.relative.value, gap.nats.value / 1.4189, rtol=0.02)
    rough = likelihood_gap(model, truth, error=np.full(40_000, 0.4)).nats.error
    np.testing.assert_allclose(rough, np.hypot(gap.nats.error, 0.4 / 200), rtol=1e-6)
    with pytest.raises(DataError, match=r"of one shape \(N,\); got \(2,\) and \(3,\)"):
        likelihood_gap(np.zeros(2), np.zeros(3))
    with pytest.raises(DataError, match="Expected finite log likelihoods"):
        likelihood_gap(np.array([np.nan]), np.zeros(1))


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
