"""Importance-weighted likelihoods against the exact evidence of a linear-Gaussian model."""

import numpy as np
import pytest

from mmppl.errors import DataError, OptionError
from mmppl.inference import log_likelihood, log_normalizer
from mmppl.inference.posterior.psis import pareto_k

ROWS = ("abc", "a", "bc", "c", "ab", "b")
TILT = (0.8, -0.5)
LOG_Z = (0.8**2 + 0.5**2) / 2


@pytest.fixture
def data(truth):
    batch = truth.sample(len(ROWS), seed=5)
    return batch.with_present({m: np.array([m in row for row in ROWS]) for m in batch.modalities})


def test_exact_guide_gives_the_evidence_without_error(linear, truth, data):
    out = log_likelihood(linear(), data, num=50)
    np.testing.assert_allclose(out.value, truth.evidence(data), rtol=1e-8)
    assert np.all(out.error < 1e-8)
    assert np.all(out.pareto_k == -np.inf)
    assert out.mean == pytest.approx(truth.evidence(data).mean(), rel=1e-8)


def test_rough_guide_gives_the_evidence_within_its_error(linear, truth, data):
    out = log_likelihood(linear(shift=0.2, widen=1.5), data, num=4000, seed=1)
    wrong = out.value - truth.evidence(data)
    assert np.all(out.error > 1e-4)
    assert np.all(np.abs(wrong) < 4 * out.error)
    assert np.all(out.pareto_k < 0.7)
    # The error is that of independent data: the mean's is the root of their squares over N.
    assert out.mean_error == pytest.approx(np.sqrt((out.error**2).sum()) / len(ROWS))
    assert abs(wrong.mean()) < 4 * out.mean_error


def test_errors_shrink_with_the_root_of_num(linear, data):
    few, many = (log_likelihood(linear(shift=0.2, widen=1.5), data, num=num).error for num in (250, 4000))
    np.testing.assert_allclose(few / many, 4.0, rtol=0.25)


def test_k_tells_a_bad_guide_for_each_datum(linear, truth, data):
    # A guide fifty times too narrow has weights with tail index k = 1 - 1/50, whatever the datum.
    bad = log_likelihood(linear(widen=0.02), data, num=10_000)
    assert bad.pareto_k.shape == (len(ROWS),)
    assert np.all(bad.pareto_k > 0.7)


def test_an_estimate_whose_k_fails_has_no_error(linear, data):
    bad = log_likelihood(linear(widen=0.02), data, num=10_000)
    assert np.isfinite(bad.value).all()
    assert np.isnan(bad.error).all()
    assert (bad.share_above, bad.trusted) == (1.0, False)
    assert np.isnan(bad.mean_error)
    # Fewer than 25 weights have no k.
    few = log_likelihood(linear(shift=0.2, widen=1.5), data, num=20)
    assert np.isnan(few.error).all()
    assert not few.trusted
    # The conditional fails with either of its two estimates.
    assert np.isnan(log_likelihood(linear(widen=0.02), data, num=1000, given=("a",)).error[[0, 4]]).all()
    good = log_likelihood(linear(shift=0.2, widen=1.5), data, num=1000)
    assert (good.share_above, good.trusted) == (0.0, True)
    assert np.isfinite(good.error).all()


def test_k_of_pareto_weights():
    rng = np.random.default_rng(0)
    shape = np.array([0.2, 0.5, 0.9])
    log_weight = -shape * np.log(rng.random((20_000, 3)))  # tails with P(w > t) = t^(-1/k)
    np.testing.assert_allclose(pareto_k(log_weight), shape, atol=0.2)
    flat = np.log(np.ones((200, 1)))
    assert pareto_k(flat) == -np.inf
    assert pareto_k(np.minimum(rng.normal(size=(200, 1)), -1.0)) == -np.inf  # the tail is flat, the rest is not
    assert np.all(pareto_k(log_weight[:24]) == np.inf)


def test_conditional_is_exact(linear, truth, data):
    exact = truth.evidence(data) - truth.evidence(data.only("a"))
    out = log_likelihood(linear(), data, num=50, given=("a",))
    np.testing.assert_allclose(out.value, exact, rtol=1e-7, atol=1e-8)
    rough = log_likelihood(linear(shift=0.2, widen=1.5), data, num=4000, given=("a",))
    assert np.all(np.abs(rough.value - exact)[rough.error > 0] < 4 * rough.error[rough.error > 0])
    # Row 1 has "a" alone: nothing is left to score, up to the Monte-Carlo error of either estimate.
    assert exact[1] == 0.0


@pytest.fixture
def tilted_evidence(truth):
    """Under the tilt f(z) = t . z the prior is N(t, I): the evidence is that of offsets moved by W t."""

    def evidence(batch):
        before = truth.bias
        truth.bias = {m: before[m] + truth.weight[m] @ np.array(TILT) for m in before}
        try:
            return truth.evidence(batch)
        finally:
            truth.bias = before

    return evidence


def test_log_normalizer_of_a_known_tilt(linear):
    z = log_normalizer(linear(tilt=TILT), seed=1)
    assert 0.0 < z.error < 0.02
    assert abs(z.value - LOG_Z) < 4 * z.error
    assert log_normalizer(linear())[:2] == (0.0, 0.0)


def test_tilted_prior_is_normalised(linear, data, tilted_evidence):
    fitted = linear(tilt=TILT)
    out = log_likelihood(fitted, data, num=50)
    z = log_normalizer(fitted)
    np.testing.assert_allclose(out.value, tilted_evidence(data) + LOG_Z - z.value, rtol=1e-7)
    np.testing.assert_allclose(out.error, z.error, rtol=1e-6)
    # The error of log Z is shared by all data, so their number does not shrink it.
    assert out.mean_error == pytest.approx(z.error)
    assert np.all(np.abs(out.value - tilted_evidence(data)) < 4 * out.error)


def test_log_z_cancels_in_a_conditional(linear, data, tilted_evidence):
    exact = tilted_evidence(data) - tilted_evidence(data.only("a"))
    out = log_likelihood(linear(tilt=TILT), data, num=50, given=("a",))
    has = data.present["a"]
    np.testing.assert_allclose(out.value[has], exact[has], rtol=1e-7, atol=1e-8)
    assert np.all(out.error[has] < 1e-7)
    # Where "a" is missing nothing is conditioned on, and log Z does not cancel.
    assert np.all(np.abs(out.value - exact)[~has] < 4 * out.error[~has])


def test_blocks_do_not_change_what_is_estimated(linear, truth, data):
    out = log_likelihood(linear(), data, num=50, chunk=50 * 4)  # four rows at once: the last block is filled up
    np.testing.assert_allclose(out.value, truth.evidence(data), rtol=1e-8)


def test_bad_input(linear, data):
    with pytest.raises(OptionError, match="Expected num >= 2; got 1"):
        log_likelihood(linear(), data, num=1)
    with pytest.raises(DataError, match="No modality is present in rows 0, 1"):
        log_likelihood(linear(), data.only())
