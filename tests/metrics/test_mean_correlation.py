"""The mean correlation coefficient, on latents recovered up to known maps."""

import numpy as np
import pytest
from scipy import linalg, stats
from sklearn.cross_decomposition import CCA

from mmppl.errors import DataError, OptionError
from mmppl.metrics import mean_correlation
from mmppl.metrics.randomised_dependence import randomised_dependence

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(2000, 5))
NOISE = RNG.normal(size=(2000, 5))


def test_order_sign_and_scale_do_not_matter():
    moved = Z[:, [3, 0, 4, 1, 2]] * np.array([-2.0, 0.1, 5.0, -1.0, 3.0]) + 7.0
    for kind in ("strong", "weak"):
        assert abs(mean_correlation(Z, moved, kind).value - 1.0) < 1e-12
    assert mean_correlation(Z, np.sign(moved) * np.abs(moved) ** 3, correlation="spearman").value > 1.0 - 1e-12


def test_an_invertible_mixing_is_weakly_recovered_only():
    mixed = Z @ RNG.normal(size=(5, 5))
    weak, strong = (mean_correlation(Z, mixed, kind).value for kind in ("weak", "strong"))
    assert abs(weak - 1.0) < 1e-12
    assert strong < 0.9


def test_the_leading_pair_alone_hides_what_was_not_recovered():
    """One latent among five: the trap of a weak score of one pair."""
    partly = np.concatenate([Z[:, :1], NOISE[:, 1:]], axis=1)
    assert mean_correlation(Z, partly, "weak", pairs=1).value > 0.999
    assert abs(mean_correlation(Z, partly, "weak").value - 1 / 5) < 0.05
    assert abs(mean_correlation(Z, partly, "strong").value - 1 / 5) < 0.05


def test_pairs_are_matched_on_one_half_and_measured_on_the_other():
    # Noise of several sizes: else all canonical pairs are equally good, and any mixing of them is found.
    turned = np.concatenate([Z[:1000], Z[1000:, ::-1]]) + np.array([0.1, 0.3, 0.5, 0.7, 0.9]) * NOISE
    for kind in ("strong", "weak"):
        out = mean_correlation(Z, turned, kind)
        assert out.held_out == 1000
        assert out.value < 0.4


def test_canonical_pairs_are_those_of_scikit_learn():
    ours = Z[:, :3] + 0.5 * NOISE[:, :3] @ RNG.normal(size=(3, 3))
    fit = CCA(3, scale=False, max_iter=5000, tol=1e-12).fit(Z[:1000, :3], ours[:1000])
    a, b = fit.transform(Z[1000:, :3], ours[1000:])
    wanted = [abs(stats.pearsonr(a[:, i], b[:, i]).statistic) for i in range(3)]
    np.testing.assert_allclose(mean_correlation(Z[:, :3], ours, "weak").each, np.sort(wanted)[::-1], rtol=1e-4)


def test_dimensions_may_differ_and_a_constant_latent_counts_as_lost():
    assert mean_correlation(Z, Z[:, :2]).each.shape == (2,)
    out = mean_correlation(Z, np.concatenate([Z[:, :4], np.ones((2000, 1))], axis=1))
    np.testing.assert_allclose(out.each, [1, 1, 1, 1, 0], atol=1e-12)
    assert mean_correlation(Z, np.concatenate([Z[:, :4], np.ones((2000, 1))], axis=1), "weak").each[-1] < 0.1


def test_wrong_input_is_refused():
    with pytest.raises(
        DataError, match=r"Expected latents z \(N, D\) and recovered \(N, D'\); got \(2000, 5\) and \(3, 5\)"
    ):
        mean_correlation(Z, Z[:3])
    with pytest.raises(DataError, match="Expected at least four data for each latent"):
        mean_correlation(Z[:10], Z[:10])
    with pytest.raises(DataError, match=r"Expected recovered to be finite, and at most 3.4e\+38; got NaN"):
        mean_correlation(Z, np.where(Z > 2, np.nan, Z))
    with pytest.raises(OptionError, match="Expected a kind among .*; got 'both'"):
        mean_correlation(Z, Z, "both")
    with pytest.raises(OptionError, match="Expected a correlation among .*; got 'kendall'"):
        mean_correlation(Z, Z, correlation="kendall")
    with pytest.raises(OptionError, match="Expected pairs between 1 and 5; got 6"):
        mean_correlation(Z, Z, "weak", pairs=6)


def test_the_rdc_is_the_largest_canonical_correlation_of_random_features():
    x, y = Z[:, 0], 0.7 * Z[:, 0] ** 2 + 0.5 * NOISE[:, 0]
    weights = np.random.default_rng(3)
    features = []
    for v in (x, y):
        w, shift = weights.normal(0.0, 1 / 6, (2, 20))
        cdf = np.searchsorted(np.sort(v), v, side="right") / len(v)
        features.append(np.sin(cdf[:, None] * w + shift))
    # Canonical correlations as a generalised eigenvalue problem; features are nearly collinear, hence the ridge.
    a, b = (f - f.mean(0) for f in features)
    ridge = 1e-9 * np.eye(20)
    aa, bb, ab = a.T @ a / len(x) + ridge, b.T @ b / len(x) + ridge, a.T @ b / len(x)
    wanted = np.sqrt(linalg.eigh(ab @ np.linalg.solve(bb, ab.T), aa, eigvals_only=True)[-1])
    assert randomised_dependence(x[:, None], y[:, None], seed=3)[0, 0] == pytest.approx(wanted, abs=0.01)


def test_the_rdc_sees_what_a_correlation_does_not():
    folded = np.abs(Z[:, ::-1])
    assert mean_correlation(Z, folded, correlation="pearson").value < 0.1
    assert mean_correlation(Z, folded, correlation="rdc").value > 0.99
    assert mean_correlation(Z, NOISE, correlation="rdc").value < 0.2
    constant = np.concatenate([folded[:, :4], np.ones((2000, 1))], axis=1)
    assert mean_correlation(Z, constant, correlation="rdc").each[-1] == 0.0
