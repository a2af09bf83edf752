"""Priors given a label, on either host, against scipy."""

import numpy as np
import pytest
from scipy import special, stats

from mmppl.errors import OptionError

RNG = np.random.default_rng(0)
LOC, SCALE, LOGITS = RNG.normal(size=(3, 2)) * 3, RNG.uniform(0.4, 1.5, (3, 2)), np.array([0.5, -0.2, 0.1])
LABEL, PRESENT = np.array([2, 0, 0, 1]), np.array([True, False, True, True])
Z = RNG.normal(size=(4, 2))
EACH = stats.norm.logpdf(Z[:, None], LOC, SCALE).sum(-1)
LOG_PI = LOGITS - special.logsumexp(LOGITS)


def test_a_known_label_picks_its_gaussian_and_a_hidden_one_is_summed_out(d):
    loc, scale, logits, label, present = map(d.array, (LOC, SCALE, LOGITS, LABEL, PRESENT))
    known = EACH[np.arange(4), LABEL]
    mixed = special.logsumexp(LOG_PI + EACH, axis=1)
    prior = d.mm.Conditional(loc, scale, logits, label=label, present=present)
    assert tuple(prior.batch_shape) == (4,)
    np.testing.assert_allclose(d.log_prob(prior, Z), np.where(PRESENT, known, mixed), rtol=1e-10)
    np.testing.assert_allclose(d.log_prob(d.mm.Conditional(loc, scale, label=label[:, None]), Z), known, rtol=1e-10)
    np.testing.assert_allclose(d.log_prob(d.mm.Conditional(loc, scale, logits), Z), mixed, rtol=1e-10)
    many = d.mm.Conditional(loc, scale, logits, label=label, present=d.array(np.stack([PRESENT, ~PRESENT])))
    np.testing.assert_allclose(d.log_prob(many, Z)[1], np.where(PRESENT, mixed, known), rtol=1e-10)


def test_draws_follow_the_label(d):
    loc, scale, logits, label, present = map(d.array, (LOC, SCALE, LOGITS, LABEL, PRESENT))
    draws = d.sample(d.mm.Conditional(loc, scale, logits, label=label, present=present), (5000,), 1)
    for row in range(4):
        shares = np.eye(3)[LABEL[row]] if PRESENT[row] else np.exp(LOG_PI)
        cdf = lambda x, s=shares: (s * stats.norm.cdf(x[:, None], LOC[:, 0], SCALE[:, 0])).sum(-1)  # noqa: E731
        assert stats.kstest(draws[:, row, 0], cdf).pvalue > 1e-3


def test_the_latent_says_which_label(d):
    """Latent and label have the joint of the label and of its Gaussian."""
    prior = d.mm.Conditional(*map(d.array, (LOC, SCALE, LOGITS)))
    logits = d.numpy(prior.label_logits(d.array(Z)))
    np.testing.assert_allclose(logits, LOG_PI + EACH, rtol=1e-10)
    np.testing.assert_allclose(special.logsumexp(logits, axis=1), d.log_prob(prior, Z), rtol=1e-10)


def test_gradients_reach_the_gaussian_of_the_label_alone(d):
    def total(params):
        prior = d.mm.Conditional(params["loc"], d.array(SCALE), params["logits"], label=d.array(LABEL))
        return prior.log_prob(d.array(Z)).sum()

    _, grads = d.value_and_grad(total, {"loc": LOC[:, :], "logits": LOGITS}, 0)
    wanted = np.zeros_like(LOC)
    np.add.at(wanted, LABEL, (Z - LOC[LABEL]) / SCALE[LABEL] ** 2)
    np.testing.assert_allclose(grads["loc"], wanted, rtol=1e-10)
    np.testing.assert_allclose(grads["logits"], 0.0, atol=1e-12)


def test_wrong_labels_are_refused(d):
    loc = d.array(LOC)
    with pytest.raises(OptionError, match=r"Expected labels of shape \(N,\) or \(N, 1\); got \(2, 2\)"):
        d.mm.Conditional(loc, 1.0, label=d.array(LABEL.reshape(2, 2)))
    with pytest.raises(OptionError, match=r"Expected logits of shape \(\*, 3\)"):
        d.mm.Conditional(loc, 1.0, d.array(LOGITS[:2]))
