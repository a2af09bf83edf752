"""Likelihoods with a low-rank covariance: density, draws, gradient, and what a program learns by them."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from mmppl import Batch, Modality, models
from mmppl._backend import get_backend
from mmppl.errors import ModalityError
from mmppl.inference import Fitted, Program, fit, generate, log_likelihood
from mmppl.likelihoods import low_rank

RNG = np.random.default_rng(0)
LOC, SCALE = RNG.standard_normal((5, 2, 3)), np.exp(0.3 * RNG.standard_normal((5, 2, 3)))
FACTORS, X = RNG.standard_normal((5, 4, 2, 3)), RNG.standard_normal((5, 2, 3))


def array(ppl, x):
    like = ppl.host.zeros(1)
    return get_backend(like).asarray(x, like=like)


def covariance(scale, factors):
    flat = factors.reshape(len(factors), -1)
    return np.diag(scale.ravel() ** 2) + flat.T @ flat


def test_the_density_is_that_of_scipy(ppl):
    each = zip(X, LOC, SCALE, FACTORS, strict=True)
    wanted = [stats.multivariate_normal(m.ravel(), covariance(s, f)).logpdf(x.ravel()) for x, m, s, f in each]
    flat = (X.reshape(5, 6), LOC.reshape(5, 6), SCALE.reshape(5, 6), FACTORS.reshape(5, 4, 6))
    np.testing.assert_allclose(low_rank.log_prob(*flat), wanted, rtol=1e-12)
    parts = [array(ppl, a) for a in (LOC, SCALE, FACTORS)]
    noise = ppl.LowRankNormal(*parts, event_dim=2)
    assert (tuple(noise.batch_shape), tuple(noise.event_shape)) == ((5,), (2, 3))
    got = np.asarray(noise.log_prob(array(ppl, X)))
    np.testing.assert_allclose(got, wanted, rtol=1e-4)
    wide = noise.expand((7, 5))
    assert tuple(wide.log_prob(array(ppl, X)).shape) == (7, 5)
    np.testing.assert_allclose(np.asarray(wide.mean)[3], LOC, rtol=1e-6)


def test_logits_have_a_density_that_integrates_to_one():
    """On a grid of the open square half a level beyond [0, 1], of two values with a common factor."""
    loc, scale, factors = np.array([0.4, -1.0]), np.array([0.5, 0.8]), np.array([[0.9, 0.7]])
    edges = np.linspace(-0.5, 255.5, 1025) / 255
    x = np.stack(np.meshgrid(*[(edges[1:] + edges[:-1]) / 2] * 2, indexing="ij"), -1).reshape(-1, 2)
    log_prob = low_rank.log_prob(low_rank.to_real(x), loc, scale, factors) + low_rank.log_abs_det(x).sum(-1)
    np.testing.assert_allclose(np.exp(log_prob).sum() * (edges[1] - edges[0]) ** 2, 1.0, rtol=1e-5)
    np.testing.assert_allclose(low_rank.from_real(low_rank.to_real(x)), x, atol=1e-12)
    deviation = np.hypot(scale, factors[0])
    for got, m, s in zip(low_rank.mean(loc, scale, factors, None, unit=True), loc, deviation, strict=True):
        wanted = quad(
            lambda y, m=m, s=s: low_rank.from_real(np.float64(y)) * stats.norm.pdf(y, m, s), m - 9 * s, m + 9 * s
        )
        np.testing.assert_allclose(got, wanted[0], atol=1e-6)


def test_draws_have_the_covariance_and_stay_in_the_support(ppl):
    parts = [array(ppl, a) for a in (LOC, SCALE, FACTORS)]
    for unit in (False, True):
        program = _constant(ppl, parts, unit)
        draws = generate(program, num=20_000, seed=3)["x"].astype(float)
        if unit:
            assert draws.min() > -0.5 / 255 - 1e-6
            assert draws.max() < 1 + 0.5 / 255 + 1e-6
            wanted = np.asarray(ppl.LowRankNormal(*parts, event_dim=2, unit=True).mean)[0]
            np.testing.assert_allclose(draws.mean(0), wanted, atol=5 * 0.5 / np.sqrt(20_000))
            draws = low_rank.to_real(draws.clip(0, 1))
        inside = draws.reshape(20_000, 6)
        tolerance = 0.12 if unit else 0.08
        exact = covariance(SCALE[0], FACTORS[0])
        sds = np.sqrt(np.diag(exact))
        np.testing.assert_allclose(np.cov(inside.T) / np.outer(sds, sds), exact / np.outer(sds, sds), atol=tolerance)


def _constant(ppl, parts, unit):
    """A program whose decoder answers the first of the parts, whatever z is."""
    first = [part[0] for part in parts]
    name = "low_rank_logit_normal" if unit else "low_rank_normal"
    modality = Modality((2, 3), likelihood=name, rank=4)

    def model(batch):
        with ppl.plate(batch):
            z = ppl.host.sample("z", ppl.host.dist.Normal(ppl.host.zeros(1), 1.0).to_event(1))
            rows = 0.0 * z[..., 0]
            output = tuple(rows[(..., *[None] * part.ndim)] + part for part in first)
            ppl.observe("x", ppl.likelihood(modality, output), batch)

    def guide(batch):
        with ppl.plate(batch):
            ppl.host.sample("z", ppl.host.dist.Normal(ppl.host.zeros(1), 1.0).to_event(1))

    return Fitted(Program(model, guide, ppl.ELBO(), ppl, {"x": modality}), {})


@pytest.mark.parametrize("scale", ["heteroscedastic", "learned"])
def test_what_values_have_in_common_is_learned(ppl, scale):
    """Four values that share their noise, which no latent of the guide's can know: draws correlate as data do."""
    rng = np.random.default_rng(1)
    common = rng.standard_normal((2_000, 1))
    x = (0.5 * common + 0.1 * rng.standard_normal((2_000, 4))).astype(np.float32)
    word = rng.integers(0, 3, 2_000)
    modalities = {
        "x": Modality((4,), likelihood="low_rank_normal", rank=2, scale=scale),
        "word": Modality((), kind="category", categories=3),
    }
    program = models.mmvae(modalities, ppl=ppl, latent_dim=1, hidden=16)
    present = {"x": rng.random(2_000) > 0.2, "word": np.ones(2_000, bool)}
    fitted = fit(program, Batch({"x": x, "word": word}, present), epochs=15, learning_rate=1e-2, progress=False)
    draws = generate(fitted, Batch({"word": word[:400]}), 5, want=["x"])["x"].reshape(-1, 4)
    np.testing.assert_allclose(np.corrcoef(draws.T)[np.triu_indices(4, 1)], 25 / 26, atol=0.05)
    np.testing.assert_allclose(draws.std(0), np.sqrt(0.26), rtol=0.15)
    ends = Modality((4,), likelihood="low_rank_logit_normal")
    program = models.mmvae({"x": ends}, ppl=ppl, latent_dim=1, hidden=4)
    fitted = fit(program, Batch({"x": rng.integers(0, 2, (64, 4)).astype(np.float32)}), epochs=2, progress=False)
    assert all(np.isfinite(w).all() for w in fitted.weights.values())
    assert np.isfinite(log_likelihood(fitted, Batch({"x": np.eye(4, dtype=np.float32)}), num=8).value).all()


@pytest.mark.parametrize("unit", [False, True])
def test_elements_that_are_there_have_their_marginal_density(ppl, unit):
    """And what is hidden does not count, whatever stands there."""
    there = np.random.default_rng(4).random((5, 2, 3)) < 0.6
    x = X if not unit else low_rank.from_real(X)
    wanted = []
    for value, m, s, f, own in zip(x, LOC, SCALE, FACTORS, there, strict=True):
        kept = np.flatnonzero(own)
        cov = covariance(s, f)[np.ix_(kept, kept)]
        real = low_rank.to_real(value) if unit else value
        density = stats.multivariate_normal(m.ravel()[kept], cov).logpdf(real.ravel()[kept]) if kept.size else 0.0
        wanted.append(density + (low_rank.log_abs_det(value).ravel()[kept].sum() if unit else 0.0))
    noise = ppl.LowRankNormal(
        *(array(ppl, a.astype(np.float32)) for a in (LOC, SCALE, FACTORS)), event_dim=2, unit=unit
    )
    for hidden in (0.0, 0.5):
        shown = array(ppl, np.where(there, x, hidden).astype(np.float32))
        got = noise.of_elements(array_of_masks(ppl, there)).log_prob(shown)
        np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-4, atol=1e-5)
    modality = Modality((4,), likelihood="low_rank_normal", rank=2, partial=True)
    rows = np.random.default_rng(5).standard_normal((40, 4)).astype(np.float32)
    batch = Batch({"x": rows}, {"x": np.random.default_rng(6).random((40, 4)) < 0.7})
    fitted = fit(models.mmvae({"x": modality}, ppl=ppl, latent_dim=1, hidden=4), batch, epochs=1, progress=False)
    assert all(np.isfinite(w).all() for w in fitted.weights.values())


def array_of_masks(ppl, mask):
    return get_backend(ppl.host.zeros(1)).asarray(mask)


def test_bad_factors():
    assert Modality((12,), likelihood="low_rank_normal").rank == 8
    assert Modality((3,), likelihood="low_rank_normal").rank == 3
    assert Modality(**Modality((3,), likelihood="low_rank_normal").as_dict()).heteroscedastic
    with pytest.raises(ModalityError, match="Expected a likelihood with factors with rank=2; got 'normal'"):
        Modality((3,), rank=2)
    with pytest.raises(ModalityError, match="Expected a rank that is a whole number from 1 to 3, .*; got 1.5"):
        Modality((3,), likelihood="low_rank_normal", rank=1.5)
    with pytest.raises(ModalityError, match="Expected a rank that is a whole number from 1 to 16, .*; got 100"):
        Modality((1, 4, 4), kind="image", likelihood="low_rank_logit_normal", rank=100)
    with pytest.raises(ModalityError, match=r"Expected scale among \('learned', .*'low_rank_normal'; got 0\.5"):
        Modality((3,), likelihood="low_rank_normal", scale=0.5)


def conditional(x, there, m, s, f):
    """Mean and covariance of the rest of a normal vector given its observed elements."""
    cov = covariance(s, f)
    o, h = np.flatnonzero(there), np.flatnonzero(~there)
    gain = np.linalg.solve(cov[np.ix_(o, o)], cov[np.ix_(o, h)]).T
    return m[h] + gain @ (x[o] - m[o]), cov[np.ix_(h, h)] - gain @ cov[np.ix_(o, h)]


@pytest.mark.parametrize("unit", [False, True])
def test_elements_that_are_missing_are_drawn_given_those_that_are_there(ppl, unit):
    there = np.random.default_rng(7).random((5, 2, 3)) < 0.6
    there[0], there[1] = False, True
    small = 0.4 if unit else 1.0  # far from the ends, to which single precision rounds
    real, locs, scales, factors = (small * a for a in (X, LOC, SCALE, FACTORS))
    shown = np.where(there, low_rank.from_real(real) if unit else real, 0.0).astype(np.float32)
    parts = [array(ppl, a.astype(np.float32)) for a in (locs, scales, factors)]
    noise = ppl.LowRankNormal(*parts, event_dim=2, unit=unit)
    given = noise.of_elements(array_of_masks(ppl, there), array(ppl, shown))
    drawn = _draws(ppl, given, 20_000)
    means, plain = np.asarray(given.mean), np.asarray(noise.mean)
    for i, (x, own, m, s, f) in enumerate(zip(real, there, locs, scales, factors, strict=True)):
        mean, cov = conditional(x.ravel(), own.ravel(), m.ravel(), s, f)
        y = drawn[:, i][:, ~own].astype(float)
        deviations = np.sqrt(np.diag(cov))
        wanted = low_rank.mean_from_real(mean, deviations) if unit else mean
        np.testing.assert_allclose(means[i][~own], wanted, rtol=1e-3, atol=1e-4)
        # What is there is drawn anew, as a replicate.
        np.testing.assert_allclose(means[i][own], plain[i][own], rtol=1e-5)
        if cov.size:
            y = low_rank.to_real(y) if unit else y
            np.testing.assert_allclose(y.mean(0), mean, atol=5 * float(deviations.max()) / np.sqrt(20_000))
            np.testing.assert_allclose(np.cov(y.T), cov, atol=0.06 * float(np.diag(cov).max()))
    # Values that are not there count for nothing, bit for bit.
    other = np.where(there, shown, 0.5).astype(np.float32)
    again = noise.of_elements(array_of_masks(ppl, there), array(ppl, other))
    np.testing.assert_array_equal(np.asarray(again.mean), means)


def _draws(ppl, distribution, number):
    """Draws of a distribution of the host."""
    if ppl.host.NAME == "pyro":
        return np.asarray(distribution.sample((number,)))
    import jax

    return np.asarray(distribution.sample(jax.random.key(0), (number,)))


def test_generate_fills_elements_given_the_others_of_their_modality(ppl):
    """Two values that share all but a tenth of their noise, and a latent that knows nothing of it."""
    parts = [array(ppl, a) for a in (np.zeros((1, 2)), np.full((1, 2), 0.1), np.ones((1, 1, 2)))]
    modality = Modality((2,), likelihood="low_rank_normal", rank=1, partial=True)

    def model(batch):
        with ppl.plate(batch):
            z = ppl.host.sample("z", ppl.host.dist.Normal(ppl.host.zeros(1), 1.0).to_event(1))
            output = tuple(0.0 * z[(..., 0, *[None] * (part.ndim - 1))] + part[0] for part in parts)
            ppl.observe("x", ppl.likelihood(modality, output), batch)

    def guide(batch):
        with ppl.plate(batch):
            ppl.host.sample("z", ppl.host.dist.Normal(ppl.host.zeros(1), 1.0).to_event(1))

    fitted = Fitted(Program(model, guide, ppl.ELBO(), ppl, {"x": modality}), {})
    there = np.array([[True, False], [True, False], [False, True]])
    rows = Batch({"x": np.where(there, [[2.0], [-1.0], [3.0]], 0.0).astype(np.float32)}, {"x": there})
    wanted = np.array([2.0, -1.0, 3.0]) / 1.01
    means = generate(fitted, rows, 3, mean=True)["x"]
    np.testing.assert_allclose(means[:, [0, 1, 2], [1, 1, 0]], np.broadcast_to(wanted, (3, 3)), rtol=1e-4)
    draws = generate(fitted, rows, 4000, chunk=12_000)["x"]
    assert (draws[:, 0, 0] == 2.0).all()
    hidden = draws[:, [0, 1, 2], [1, 1, 0]]
    np.testing.assert_allclose(hidden.mean(0), wanted, atol=0.015)
    np.testing.assert_allclose(hidden.std(0), np.sqrt(1.01 - 1 / 1.01), rtol=0.06)
