import numpy as np
import pytest
from scipy.stats import multivariate_normal

from mmppl.batch import Batch
from mmppl.data import LinearGaussian, load
from mmppl.errors import ModalityError, OptionError

DIMS = {"a": 3, "b": 2, "c": 4}
PATTERNS = [(), ("a",), ("b",), ("a", "c"), ("a", "b", "c")]


@pytest.fixture
def truth():
    return LinearGaussian(2, DIMS, seed=3, noise={"a": 0.3, "b": 0.7, "c": 1.1})


def _joint(truth, names):
    """Mean and covariance of (z, x_names), written down without any of the class's own linear algebra."""
    weight = np.concatenate([np.eye(truth.latent_dim)] + [truth.weight[m] for m in names])
    mean = np.concatenate([np.zeros(truth.latent_dim)] + [truth.bias[m] for m in names])
    noise = np.concatenate([np.zeros(truth.latent_dim)] + [np.full(DIMS[m], truth.noise[m] ** 2) for m in names])
    return mean, weight @ weight.T + np.diag(noise)


def _condition(mean, cov, num, value):
    """The first ``num`` coordinates of a normal given the others."""
    gain = cov[:num, num:] @ np.linalg.pinv(cov[num:, num:])
    return mean[:num] + gain @ (value - mean[num:]), cov[:num, :num] - gain @ cov[num:, :num]


def _patterned(truth):
    """A batch in which every row has another pattern of present modalities."""
    batch = truth.sample(len(PATTERNS), seed=4)
    return batch.with_present({m: np.array([m in names for names in PATTERNS]) for m in DIMS})


def test_evidence_equals_the_normal_of_what_is_present(truth):
    batch = _patterned(truth)
    got = truth.evidence(batch)
    assert got[0] == 0
    for row, names in enumerate(PATTERNS[1:], start=1):
        mean, cov = _joint(truth, names)
        value = np.concatenate([batch[m][row] for m in names])
        np.testing.assert_allclose(got[row], multivariate_normal(mean[2:], cov[2:, 2:]).logpdf(value), rtol=1e-10)


def test_posterior_equals_conditioning_the_joint(truth):
    batch = _patterned(truth)
    mean, cov = truth.posterior(batch)
    np.testing.assert_array_equal(mean[0], np.zeros(2))
    np.testing.assert_array_equal(cov[0], np.eye(2))
    for row, names in enumerate(PATTERNS[1:], start=1):
        value = np.concatenate([batch[m][row] for m in names])
        expected_mean, expected_cov = _condition(*_joint(truth, names), 2, value)
        np.testing.assert_allclose(mean[row], expected_mean, rtol=1e-8)
        np.testing.assert_allclose(cov[row], expected_cov, atol=1e-10)


def test_bayes_rule_at_a_point(truth):
    batch = truth.sample(1, seed=0)
    mean, cov = truth.posterior(batch)
    z = np.array([0.4, -1.2])
    likelihood = sum(
        multivariate_normal(truth.weight[m] @ z + truth.bias[m], truth.noise[m] ** 2 * np.eye(DIMS[m])).logpdf(
            batch[m][0]
        )
        for m in DIMS
    )
    prior = multivariate_normal(np.zeros(2), np.eye(2)).logpdf(z)
    posterior = multivariate_normal(mean[0], cov[0]).logpdf(z)
    np.testing.assert_allclose(truth.evidence(batch)[0], likelihood + prior - posterior, rtol=1e-10)


def test_conditionals_equal_conditioning_the_joint(truth):
    batch = truth.sample(3, seed=5)
    mean, cov = truth.conditional_joint(batch.only("a", "b"), ["c", "b"])  # b is a target, so only a is conditioned on
    each = truth.conditional(batch, ["c", "b"])
    full_mean, full_cov = _joint(truth, ["c", "b", "a"])
    for row in range(3):
        expected_mean, expected_cov = _condition(full_mean[2:], full_cov[2:, 2:], 6, batch["a"][row])
        np.testing.assert_allclose(mean[row], expected_mean, rtol=1e-8)
        np.testing.assert_allclose(cov[row], expected_cov, atol=1e-10)
        np.testing.assert_allclose(each["c"][0][row], expected_mean[:4], rtol=1e-8)
        np.testing.assert_allclose(each["b"][1][row], expected_cov[4:, 4:], atol=1e-10)


def test_samples_have_the_joint_mean_and_covariance(truth):
    batch, z = truth.sample_with_latent(50_000, seed=1)
    rows = np.concatenate([z] + [batch[m] for m in DIMS], axis=1)
    mean, cov = _joint(truth, list(DIMS))
    error = np.sqrt(np.diag(cov) / len(rows))
    assert np.all(np.abs(rows.mean(0) - mean) < 4 * error)
    # The variance of an empirical covariance is (c_ii c_jj + c_ij^2) / n.
    error = np.sqrt((np.outer(np.diag(cov), np.diag(cov)) + cov**2) / len(rows))
    assert np.all(np.abs(np.cov(rows.T) - cov) < 5 * error)
    np.testing.assert_array_equal(truth.sample(50_000, seed=1)["a"], batch["a"])


def test_load_gives_the_truth_and_its_rows():
    data = load("linear_gaussian", latent_dim=3, dims={"x": 2, "y": 1}, noise=0.2, num_train=40, num_test=7, seed=9)
    assert (len(data.train), len(data.test), data.truth.latent_dim) == (40, 7, 3)
    assert (data.modalities["x"].shape, data.modalities["y"].scale) == ((2,), 0.2)
    assert data.train["x"].dtype == np.float64
    assert not np.isin(data.test["x"], data.train["x"]).any()


def test_bad_arguments(truth):
    with pytest.raises(OptionError, match="Expected latent_dim >= 1; got 0"):
        LinearGaussian(0, DIMS)
    with pytest.raises(OptionError, match=r"Expected a positive noise for each of \['a', 'b', 'c'\]; got"):
        LinearGaussian(2, DIMS, noise={"a": 1.0})
    with pytest.raises(ModalityError, match=r"Expected targets among \['a', 'b', 'c'\]; got \['d'\]"):
        truth.conditional(truth.sample(1, 0), ["d"])
    with pytest.raises(ModalityError, match=r"got \['d'\]"):
        truth.evidence(Batch({"d": np.ones((1, 2))}))
