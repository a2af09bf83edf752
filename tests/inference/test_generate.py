"""Any modality from any subset, against the exact conditionals of a linear-Gaussian model."""

import numpy as np
import pytest

from mmppl.batch import Batch
from mmppl.errors import InferenceError, ModalityError, OptionError
from mmppl.inference import generate
from mmppl.inference.drawn_blocks import _check_finite

ROWS = ("a", "bc", "ac", "")
DRAWS = 4000


@pytest.fixture
def given(truth):
    batch = truth.sample(len(ROWS), seed=5)
    return batch.with_present({m: np.array([m in row for row in ROWS]) for m in batch.modalities})


def exact(truth, given, row):
    """Mean and covariance of everything missing in a row, stacked."""
    missing = [m for m in truth.dims if m not in ROWS[row]]
    mean, cov = truth.conditional_joint(given[row : row + 1], missing)
    return missing, mean[0], cov[0]


def assert_moments(draws, mean, cov, errors=4.0):
    """Independent draws have this mean and covariance, within Monte-Carlo standard errors."""
    num, variance = len(draws), np.diag(cov)
    assert np.all(np.abs(draws.mean(0) - mean) < errors * np.sqrt(variance / num))
    spread = np.sqrt((np.outer(variance, variance) + cov**2) / num)
    assert np.all(np.abs(np.cov(draws.T) - cov) < errors * spread)


@pytest.mark.parametrize("spoiled", [None, {"shift": 1.0, "widen": 2.0}], ids=["exact guide", "mala mends the guide"])
def test_exact_conditionals_of_rows_with_different_patterns(linear, truth, given, spoiled):
    fitted = linear(**(spoiled or {}))
    out = generate(fitted, given, 1000 if spoiled else DRAWS, sampler="mala" if spoiled else None, seed=1)
    for row, pattern in enumerate(ROWS):
        missing, mean, cov = exact(truth, given, row)
        assert_moments(np.concatenate([out[m][:, row] for m in missing], -1), mean, cov)
        for m in pattern:
            np.testing.assert_array_equal(out[m][:, row], np.broadcast_to(given[m][row], out[m][:, row].shape))


def test_a_spoiled_guide_is_told_from_the_exact_one(linear, truth, given):
    """The test above can fail: without the sampler the spoiled guide's draws have another mean."""
    out = generate(linear(shift=1.0, widen=2.0), given, DRAWS, seed=1)
    missing, mean, cov = exact(truth, given, 0)
    with pytest.raises(AssertionError):
        assert_moments(np.concatenate([out[m][:, 0] for m in missing], -1), mean, cov)


def test_means_have_no_observation_noise(linear, truth, given):
    means = generate(linear(), given, DRAWS, mean=True)["b"][:, 0]
    mean, cov = truth.conditional_joint(given[:1], ["b"])
    noise = truth.noise["b"] ** 2 * np.eye(truth.dims["b"])
    assert_moments(means, mean[0], cov[0] - noise)
    # Every mean is W z + b for some z: what is left outside the columns of W is rounding.
    weight = truth.weight["a"]
    out = generate(linear(), given.only("c"), 50, mean=True)["a"][:, 1] - truth.bias["a"]
    outside = out - out @ np.linalg.pinv(weight).T @ weight.T
    np.testing.assert_allclose(outside, 0.0, atol=1e-12)


def test_without_given_the_prior_speaks(linear, truth):
    out = generate(linear(), num=DRAWS, seed=2)
    assert {m: x.shape for m, x in out.items()} == {m: (DRAWS, d) for m, d in truth.dims.items()}
    nothing = truth.sample(1, 0).only()
    mean, cov = truth.conditional_joint(nothing, list(truth.dims))
    assert_moments(np.concatenate([out[m] for m in truth.dims], -1), mean[0], cov[0])


def test_energy_tilted_prior_is_drawn_from(linear, truth):
    tilt = (0.8, -0.5)
    out = generate(linear(tilt=tilt), num=2000, seed=2)
    names = list(truth.dims)
    mean, cov = truth.conditional_joint(truth.sample(1, 0).only(), names)
    weight = np.concatenate([truth.weight[m] for m in names])
    assert_moments(np.concatenate([out[m] for m in names], -1), mean[0] + weight @ np.array(tilt), cov[0])


def test_same_seed_same_draws(linear, given):
    fitted = linear()
    first, again, other = (generate(fitted, given, 3, seed=seed)["c"] for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert not np.any(first[:, 0] == other[:, 0])


@pytest.mark.parametrize("chunk", [1, 5, 10_000])
def test_chunks_keep_rows_and_shapes(linear, truth, chunk):
    given = truth.sample(7, seed=9).only("a", "b")
    out = generate(linear(), given, 400, mean=True, want=["c", "a"], chunk=400 * chunk)
    assert list(out) == ["c", "a"]
    assert out["c"].shape == (400, 7, 1)
    mean, cov = truth.conditional(given, ["c"])["c"]
    assert np.all(np.abs(out["c"].mean(0) - mean) < 5 * np.sqrt(cov[:, 0] / 400))


def test_a_modality_not_in_the_batch_is_missing(linear, given):
    fitted = linear()
    short = Batch({"a": given["a"]}, {"a": given.present["a"]})
    out, whole = generate(fitted, short, 2), generate(fitted, given.only("a"), 2)
    np.testing.assert_allclose(out["b"], whole["b"], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"want": ["x"]}, ModalityError, r"Expected want, modalities among \['a', 'b', 'c'\], each once; got \['x'\]"),
        ({"num": 0}, OptionError, "Expected num >= 1; got 0"),
        ({"sampler": "nuts"}, OptionError, r"Unknown sampler 'nuts'; expected one of \['annealed', 'hmc', 'mala'"),
    ],
)
def test_bad_options(linear, given, options, error, message):
    with pytest.raises(error, match=message):
        generate(linear(), given, **options)


def test_bad_data(linear, given):
    with pytest.raises(ModalityError, match=r"Modality 'a': expected shape \(N, 3\)"):
        generate(linear(), Batch({"a": given["b"]}))
    with pytest.raises(ModalityError, match=r"Expected given modalities among \['a', 'b', 'c'\]; got \['x'\]"):
        generate(linear(), Batch({"x": given["b"]}))


def test_draws_that_are_not_finite_are_told_by_what_was_given():
    draws, empty = np.zeros((2, 4, 3)), np.array([True, False, False, True])
    _check_finite("a", draws, 8, empty)
    draws[1, 3, 0] = np.nan
    with pytest.raises(InferenceError, match="'a' are NaN or infinite where nothing is given, from the prior. Look at"):
        _check_finite("a", draws, 8, empty)
    draws[0, 2, 1] = np.inf
    with pytest.raises(InferenceError, match=r"in rows \[10\]. See that what is given has the units"):
        _check_finite("a", draws, 8, empty)
