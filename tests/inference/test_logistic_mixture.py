"""Mixtures of discretised logistics of whole events: probability, draws, and what a program learns by them."""

import numpy as np
import pytest
from scipy import stats

from mmppl import Batch, Modality, models
from mmppl._backend import get_backend
from mmppl.errors import ModalityError
from mmppl.inference import fit, generate, log_likelihood
from mmppl.likelihoods import logistic_mixture

RNG = np.random.default_rng(0)
LOC, SCALE = RNG.uniform(-0.2, 1.2, (5, 4, 2, 3)), RNG.uniform(0.02, 0.2, (5, 2, 3))
X = RNG.integers(0, 256, (5, 2, 3)) / 255


def array(ppl, x):
    like = ppl.host.zeros(1)
    return get_backend(like).asarray(x, like=like)


def mask(ppl, x):
    return get_backend(ppl.host.zeros(1)).asarray(x)


def mass(x, loc, scale):
    """Of scipy's logistic density about a level; tails go to the ends."""
    upper = np.where(x >= 1, 1.0, stats.logistic.cdf(x + 0.5 / 255, loc, scale))
    return upper - np.where(x <= 0, 0.0, stats.logistic.cdf(x - 0.5 / 255, loc, scale))


def exact(there=None):
    each = mass(X[:, None], LOC, SCALE[:, None])
    each = each if there is None else np.where(there[:, None], each, 1.0)
    return np.log(each.prod((-2, -1)).mean(1))


def test_the_probability_is_that_of_scipy(ppl):
    flat = (X.reshape(5, 6), LOC.reshape(5, 4, 6), SCALE.reshape(5, 6))
    np.testing.assert_allclose(logistic_mixture.log_prob(*flat), exact(), rtol=1e-9)
    pictures = ppl.LogisticMixture(*(array(ppl, a) for a in (LOC, SCALE)), event_dim=2)
    assert (tuple(pictures.batch_shape), tuple(pictures.event_shape)) == ((5,), (2, 3))
    np.testing.assert_allclose(np.asarray(pictures.log_prob(array(ppl, X))), exact(), rtol=1e-4)
    wide = pictures.expand((7, 5))
    assert tuple(wide.log_prob(array(ppl, X)).shape) == (7, 5)
    one = np.asarray(ppl.DiscretizedLogistic(array(ppl, LOC), array(ppl, SCALE[:, None])).mean)
    np.testing.assert_allclose(np.asarray(wide.mean)[3], one.mean(1), rtol=1e-5)


def test_probabilities_of_all_events_sum_to_one():
    """Of two values of 256 levels each."""
    levels = np.arange(256) / 255
    x = np.stack(np.meshgrid(levels, levels, indexing="ij"), -1).reshape(-1, 2)
    log_prob = logistic_mixture.log_prob(x, LOC[0, :, 0, :2], SCALE[0, 0, :2])
    np.testing.assert_allclose(np.exp(log_prob).sum(), 1.0, rtol=1e-9)


def test_a_draw_is_of_one_component(ppl):
    """Two far components of four values: each draw is wholly near one, each in half of the cases."""
    loc = array(ppl, np.broadcast_to(np.array([[0.2] * 4, [0.8] * 4]), (4000, 2, 4)))
    noise = ppl.LogisticMixture(loc, 0.02)
    with _seeded(ppl):
        x = np.asarray(_draw(ppl, noise))
    np.testing.assert_allclose(x * 255, np.round(x * 255), atol=1e-3)
    high = x > 0.5
    assert (high == high[:, :1]).all()
    assert abs(high[:, 0].mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)
    np.testing.assert_allclose(x[high[:, 0]].mean(), 0.8, atol=4 * 0.02 * np.pi / np.sqrt(3 * 8000))
    np.testing.assert_allclose(x[high[:, 0]].std(), 0.02 * np.pi / np.sqrt(3), rtol=0.05)


def _seeded(ppl):
    from contextlib import nullcontext

    if ppl.host.NAME == "pyro":
        import torch

        torch.manual_seed(0)
    return nullcontext()


def _draw(ppl, noise):
    if ppl.host.NAME == "pyro":
        return noise.sample()
    import jax

    return noise.sample(jax.random.key(0))


def test_elements_that_are_there_have_their_marginal_probability(ppl):
    """And what is hidden does not count, whatever stands there."""
    there = np.random.default_rng(4).random((5, 2, 3)) < 0.6
    pictures = ppl.LogisticMixture(*(array(ppl, a) for a in (LOC, SCALE)), event_dim=2)
    for hidden in (0.0, 0.5):
        got = pictures.of_elements(mask(ppl, there)).log_prob(array(ppl, np.where(there, X, hidden)))
        np.testing.assert_allclose(np.asarray(got), exact(there), rtol=1e-4, atol=1e-5)


def test_what_a_latent_cannot_know_is_one_of_several_pictures(ppl):
    """All pixels of a picture are dark or bright, which no class says: draws are so too, and in equal numbers."""
    rng = np.random.default_rng(1)
    x = np.where(rng.random((2_000, 1, 1, 1)) < 0.5, 0.2, 0.8) + 0.02 * rng.standard_normal((2_000, 1, 2, 2))
    word = rng.integers(0, 3, 2_000)
    modalities = {
        "x": Modality((1, 2, 2), kind="image", likelihood="logistic_mixture", components=4),
        "word": Modality((), kind="category", categories=3),
    }
    program = models.mmvae(modalities, ppl=ppl, latent_dim=1, hidden=16)
    batch = Batch(
        {"x": x.astype(np.float32), "word": word}, {"x": rng.random(2_000) > 0.2, "word": np.ones(2_000, bool)}
    )
    fitted = fit(program, batch, epochs=15, learning_rate=1e-2, progress=False)
    draws = generate(fitted, Batch({"word": word[:400]}), 5, want=["x"])["x"].reshape(-1, 4)
    bright = draws > 0.5
    assert (bright == bright[:, :1]).all(1).mean() > 0.98
    assert 0.35 < bright[:, 0].mean() < 0.65
    assert draws[bright[:, 0]].std() < 0.1
    assert np.isfinite(log_likelihood(fitted, batch[:4], num=8).value).all()


def test_bad_components():
    modality = Modality((1, 2, 2), kind="image", likelihood="logistic_mixture")
    assert modality.components == 8
    assert Modality(**modality.as_dict()) == modality
    with pytest.raises(ModalityError, match="Expected components, a whole number >= 1; got 0"):
        Modality((1, 2, 2), kind="image", likelihood="logistic_mixture", components=0)
    with pytest.raises(ModalityError, match="Expected a mixture with components=2; got 'discretized_logistic'"):
        Modality((1, 2, 2), kind="image", components=2)
    with pytest.raises(ModalityError, match="Expected scale='learned' or a number for 'logistic_mixture'"):
        Modality((1, 2, 2), kind="image", likelihood="logistic_mixture", scale="heteroscedastic")
