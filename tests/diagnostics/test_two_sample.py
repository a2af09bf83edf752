"""The classifier two-sample test: what cannot be told, what can, and what is seen at all."""

import numpy as np
import pytest

from mmppl import Modality
from mmppl.diagnostics import two_sample_accuracy
from mmppl.errors import DataError, ModalityError

PICTURE = Modality((1, 6, 6), kind="image")


def pictures(seed, noise, number=600):
    """Ramps of a random slope and height, with noise of every pixel."""
    rng = np.random.default_rng(seed)
    slope, height = rng.uniform(-0.5, 0.5, (2, number, 1, 1, 1))
    ramp = 0.5 + slope * np.linspace(-0.5, 0.5, 6) + 0.3 * height
    return ramp + noise * rng.standard_normal((number, 1, 6, 6))


def test_samples_of_one_distribution_cannot_be_told():
    found = [two_sample_accuracy(pictures(2 * s, 0.02), pictures(2 * s + 1, 0.02), PICTURE, seed=s) for s in range(4)]
    mean = np.mean([one.value for one in found])
    assert found[0].num == 1200
    np.testing.assert_allclose(found[0].error, 0.5 / np.sqrt(1200), rtol=1e-2)
    # Errors of halves that have rows in common hang together: twice the binomial bound.
    assert abs(mean - 0.5) < 3 * 2 * found[0].error / np.sqrt(4)


def test_disjoint_samples_are_told_in_every_case():
    near = two_sample_accuracy(pictures(0, 0.02), pictures(1, 0.02) + 2.0, PICTURE)
    assert near.value == 1.0
    assert near.error > 0
    word = Modality((2,), kind="tokens", vocabulary=4)
    rng = np.random.default_rng(0)
    assert two_sample_accuracy(rng.integers(0, 2, (90, 2)), rng.integers(2, 4, (90, 2)), word).value == 1.0


def test_normals_are_told_as_well_as_the_best_rule_does():
    """Two normals of unit variance, d apart: the best rule is right in Phi(d / 2) of cases."""
    from scipy.stats import norm

    a, b = np.random.default_rng(3).standard_normal((2, 4000, 1))
    found = two_sample_accuracy(a, b + 1.5, Modality((1,)))
    assert abs(found.value - norm.cdf(0.75)) < 4 * found.error


def test_noise_of_every_pixel_is_seen():
    """Means and variances of single pixels are alike; what differs is how they go together."""
    noisy, smooth = pictures(0, 0.2), pictures(1, 0.02)
    smooth = (smooth - smooth.mean(0)) * noisy.std(0) / smooth.std(0) + noisy.mean(0)
    assert two_sample_accuracy(noisy, smooth, PICTURE).value > 0.75


def test_what_is_refused():
    x = pictures(0, 0.1, 20)
    with pytest.raises(ModalityError, match=r"Expected draws of shape \(N, 1, 6, 6\); got \(20, 6, 6\)"):
        two_sample_accuracy(x[:, 0], x, PICTURE)
    with pytest.raises(DataError, match="Expected at least 8 rows of data; got 7. Draw more"):
        two_sample_accuracy(x, x[:7], PICTURE)
    with pytest.raises(DataError, match="Expected finite data; got NaN or Inf"):
        two_sample_accuracy(x, np.where(x > x.mean(), np.nan, x), PICTURE)
