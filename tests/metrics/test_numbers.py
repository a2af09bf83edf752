import numpy as np
import pytest
from scipy import stats
from scipy.linalg import sqrtm
from sklearn.metrics import f1_score

from mmppl.batch import Batch
from mmppl.errors import DataError, ModalityError, OptionError
from mmppl.metrics import (
    Estimate,
    by_subset,
    clip_score,
    f1,
    frechet,
    latent_probe,
    likelihood_gap,
    mutual_information_divergence,
    selection_score,
)

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
        (np.full((3, 2), np.nan), np.ones((3, 2)), "Expected features_a to be finite"),
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
    with pytest.raises(DataError, match="Expected log_likelihood to be finite"):
        likelihood_gap(np.array([np.nan]), np.zeros(1))


def test_latent_probe_refuses():
    z, y = RNG.standard_normal((6, 2)), np.array([0, 1, 0, 1, 0, 1])
    with pytest.raises(DataError, match=r"Expected latents \(N, D\) and labels \(N,\); got \(6, 2\) and \(5,\)"):
        latent_probe(z, y[:5], z, y)
    with pytest.raises(DataError, match=r"got \(6, 1\) and \(6,\)"):
        latent_probe(z, y, z[:, :1], y)
    with pytest.raises(DataError, match="Expected z to be finite"):
        latent_probe(z * np.nan, y, z, y)
    with pytest.raises(DataError, match=r"at least two different labels to tell apart; got \[0\]"):
        latent_probe(z, 0 * y, z, y)


def test_f1_is_scikit_learns_with_draws_averaged():
    data = RNG.random((6, 3, 4)) > 0.4
    draws = RNG.random((5, 6, 3, 4))
    data[0], draws[:, 0] = False, 0.1
    want = [f1_score(data.reshape(6, -1), d.reshape(6, -1) > 0.7, average="samples", zero_division=1.0) for d in draws]
    found = f1(draws, data.astype(float), threshold=0.7)
    np.testing.assert_allclose((found.value, found.num), (np.mean(want), 6))
    with pytest.raises(DataError, match=r"got \(6, 4\) and \(6, 3, 4\)"):
        f1(draws[0, :, 0], data)


def test_clip_score_keeps_the_sign_of_cosines():
    a = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    b = np.array([[-1.0, 0.0], [5.0, 0.0], [0.0, 3.0]])
    np.testing.assert_allclose(clip_score(a, b).value, 2.5 * (-1.0 + 0.0 + 0.5**0.5) / 3)
    with pytest.raises(DataError, match="which has no direction"):
        clip_score(a, 0.0 * b)
    with pytest.raises(DataError, match=r"of one shape \(N, D\)"):
        clip_score(a, b[:, :1])


def test_mutual_information_divergence_is_a_difference_of_log_densities():
    mix = RNG.standard_normal((5, 5))
    real, made = (scale * RNG.standard_normal((num, 5)) @ mix for num, scale in ((300, 1.0), (40, 1.3)))
    split = [(x[:, :2], x[:, 2:]) for x in (real, made)]
    found = mutual_information_divergence(*split, eps=0.01)
    want = sum(
        sign
        * stats.multivariate_normal(
            real[:, part].mean(0), np.cov(real[:, part].T, bias=True) + 0.01 * np.eye(real[:, part].shape[1])
        ).logpdf(made[:, part])
        for part, sign in ((slice(0, 5), 1), (slice(0, 2), -1), (slice(2, 5), -1))
    )
    np.testing.assert_allclose((found.value, found.error), (want.mean(), want.std(ddof=1) / 40**0.5), rtol=1e-9)
    # Of the real pairs themselves: the mutual information of the normals, exactly.
    covariance = np.cov(real.T, bias=True)
    determinants = [np.linalg.slogdet(covariance[part, part])[1] for part in (slice(0, 2), slice(2, 5), slice(0, 5))]
    own = mutual_information_divergence(split[0], split[0], eps=0.0).value
    np.testing.assert_allclose(own, 0.5 * (determinants[0] + determinants[1] - determinants[2]), rtol=1e-9)
    # Pairs that are torn apart belong together less.
    torn = mutual_information_divergence(split[0], (split[0][0], split[0][1][::-1]))
    assert torn.value + 5 * torn.error < own
    with pytest.raises(DataError, match=r"Expected pairs of features"):
        mutual_information_divergence(split[0], (split[1][0], split[0][1]))
    with pytest.raises(DataError, match=r"pairs are too few"):
        mutual_information_divergence((real[:4, :2], real[:4, 2:]), split[1], eps=0.0)


def test_by_subset_gives_what_is_there_and_compares_what_is_there():
    values = {name: np.arange(4.0)[:, None] + 10 * i for i, name in enumerate("abc")}
    present = {"a": np.array([True, True, False, True]), "c": np.array([True, False, True, True])}
    batch, asked = Batch(values, present), []

    def copy(given, want):
        asked.append((tuple(n for n in given.modalities if given.present[n].all()), tuple(want), len(given)))
        return {name: np.stack([given["b"], given["b"] + 2.0]) for name in want}

    found = by_subset(
        copy, batch, [("b",), ("a", "b")], lambda name, made, real: (name, made.shape, made.mean(0) - real)
    )
    assert asked == [(("b",), ("a", "c"), 4), (("a", "b"), ("c",), 3)]
    assert [found[("b",)][name][:2] for name in "ac"] == [("a", (2, 3, 1)), ("c", (2, 3, 1))]
    assert found[("a", "b")]["c"][1] == (2, 2, 1)
    np.testing.assert_allclose(found[("b",)]["a"][2], 11.0)
    np.testing.assert_allclose(found[("a", "b")]["c"][2], -9.0)
    with pytest.raises(ModalityError, match="got 'd'"):
        by_subset(copy, batch, [("d",)], lambda *_: 0)
    with pytest.raises(DataError, match="at least one subset"):
        by_subset(copy, batch, [], lambda *_: 0)


def test_selection_score():
    assert selection_score(joint=0.2, given=0.3, frechet=25.0, frechet_given=200.0) == pytest.approx(0.5 + 4.0 + 0.5)
    with pytest.raises(OptionError, match="Expected frechet > 0; got 0"):
        selection_score(joint=0.2, given=0.3, frechet=0, frechet_given=1)
