"""Diffusions by their differential equations, times by their integrals, solvers by a Gaussian's closed form."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import hypsecant, kstest

from mmppl._backend.numpy import BACKEND
from mmppl.errors import OptionError
from mmppl.sde import VE, VP, SubVP, draw_times
from mmppl.sde.solvers import (
    Ancestral,
    AnnealedLangevin,
    DPMSolver,
    EulerMaruyama,
    Heun,
    PredictorCorrector,
    RePaint,
)
from mmppl.sde.solvers.repaint import schedule

SDES = {"VP": VP(), "SubVP": SubVP(), "VE": VE(0.01, 20.0)}
ROOT = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-0.3, 0.5, 0.4]])
MEAN, COV = np.array([0.5, -1.0, 0.3]), ROOT @ ROOT.T


def score_of(sde, mean=MEAN, cov=COV):
    """The score of the diffused Gaussian N(mean, cov)."""

    def score(z, t, xi=None):
        a, sigma = sde.mean_factor(t), sde.scale(t)
        spread = a**2 * cov + sigma**2 * np.eye(len(mean))
        return (a * mean - z) @ np.linalg.inv(spread)

    return score


@pytest.mark.parametrize("name", SDES)
def test_marginals_solve_the_equations_of_the_diffusion(name):
    sde, step = SDES[name], 1e-5
    t = np.linspace(0.01, 0.99, 50)
    log_mean = (np.log(sde.mean_factor(t + step)) - np.log(sde.mean_factor(t - step))) / (2 * step)
    np.testing.assert_allclose(log_mean, sde.rate(t), rtol=1e-6, atol=1e-8)
    variance = (sde.scale(t + step) ** 2 - sde.scale(t - step) ** 2) / (2 * step)
    np.testing.assert_allclose(variance, 2 * sde.rate(t) * sde.scale(t) ** 2 + sde.noise_rate(t), rtol=1e-6)
    assert sde.scale(np.zeros(())) == 0.0
    assert sde.mean_factor(np.zeros(())) == 1.0


def test_published_numbers_of_the_schedule():
    """Values derived from the schedule of Multi-modal Latent Diffusion: beta from 0.1 to 20."""
    sde = VP()
    np.testing.assert_allclose(sde.mean_factor(np.array(1.0)), 0.0065716, atol=5e-8)
    np.testing.assert_allclose(sde.scale(np.array([1.0, 1 / 250, 1e-3])), [0.9999784, 0.0236441, 0.0104854], atol=5e-8)
    t = np.linspace(0.0, 1.0, 11)
    np.testing.assert_allclose(sde.time_of(sde.integral(t)), t, atol=1e-14)


def test_tweedie_gives_back_the_data():
    sde, rng = VP(), np.random.default_rng(0)
    data, noise, t = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), rng.random((5, 1))
    z = sde.diffuse(data, t, noise)
    np.testing.assert_allclose(sde.denoise(z, t, -noise / sde.scale(t)), data, rtol=1e-9)


def test_importance_times_have_the_density_of_the_likelihood_weight():
    sde, first = VP(), 1e-3
    times, weight = draw_times(sde, np.random.default_rng(0).random(4000), "importance", first=first)

    def rate(t):
        return sde.noise_rate(np.array(t)) / sde.scale(np.array(t)) ** 2

    total = quad(rate, first, 1.0, limit=200)[0]
    np.testing.assert_allclose(weight, 0.5 * total, rtol=1e-7)
    grid = np.geomspace(first, 1.0, 60)
    below = np.concatenate([[0.0], np.cumsum([quad(rate, a, b)[0] for a, b in zip(grid, grid[1:], strict=False)])])
    assert kstest(times, lambda t: np.interp(np.log(t), np.log(grid), below / total)).pvalue > 0.01


def test_both_likelihood_schemes_estimate_one_integral():
    rng = np.random.default_rng(1)
    first = 0.05

    def loss(t):
        return 1.0 + np.sin(5.0 * t)

    estimates = {}
    for time_sampling in ("likelihood", "importance"):
        times, weights = draw_times(VP(), rng.random(200_000), time_sampling, first=first)
        estimates[time_sampling] = np.mean(weights * loss(times))
    assert estimates["likelihood"] == pytest.approx(estimates["importance"], rel=0.01)
    times, weights = draw_times(VP(), np.array([0.0, 0.5]), first=first)
    assert times.tolist() == [0.05, 0.525]
    assert weights.tolist() == [1.0, 1.0]


def test_cosine_times_have_the_shifted_law_of_a_cosine_schedule():
    sde, uniform = VP(), (np.arange(4000) + 0.5) / 4000
    times, weights = draw_times(sde, uniform, "cosine")
    assert times.min() >= 1e-5
    assert times.max() == 1.0
    assert (weights == 1.0).all()
    # Under uniform angles log cot^2 is a hyperbolic secant's, of scale 2 around the shift.
    law, inside = hypsecant(loc=-2.0, scale=2.0), (times > 1e-5) & (times < 1.0)
    ratio = 2.0 * np.log(sde.mean_factor(times[inside]) / sde.scale(times[inside]))
    np.testing.assert_allclose(ratio, law.isf(uniform[inside]), rtol=1e-6, atol=1e-6)
    far = 2.0 * np.log(sde.mean_factor(np.array(1.0)) / sde.scale(np.array(1.0)))
    assert (times == 1.0).mean() == pytest.approx(law.cdf(far), abs=5e-4)


def linear_map(solver, sde, cov):
    """The covariance of what a solver that adds no noise makes of its start: it is linear in it."""
    start = sde.prior_scale * np.eye(len(cov))
    z = solver.run(BACKEND, sde, score_of(sde, np.zeros(len(cov)), cov), start, None)
    return z.T @ z


@pytest.mark.parametrize(("solver", "error"), [(Heun(19), 0.03), (Heun(39), 0.01), (DPMSolver(20), 0.01)])
def test_the_probability_flow_reaches_the_covariance_in_few_evaluations(solver, error):
    assert np.abs(linear_map(solver, VP(), COV) - COV).max() < error


@pytest.mark.parametrize(("make", "order"), [(lambda n: Heun(2 * n + 1), 2), (lambda n: DPMSolver(n + 1), 2)])
def test_the_order_of_convergence(make, order):
    """With twice as many steps the error falls by 2^order, nearly."""
    errors = [np.abs(linear_map(make(n), VP(), COV) - linear_map(make(960), VP(), COV)).max() for n in (60, 120)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.4)


@pytest.mark.parametrize("name", SDES)
@pytest.mark.parametrize(
    ("solver", "error"),
    [
        (EulerMaruyama(400), 0.06),
        (Ancestral(500), 0.06),
        (PredictorCorrector(150), 0.08),
        (Heun(59), 0.06),
        (DPMSolver(40), 0.06),
        (DPMSolver(40, eta=1.0), 0.06),
        (DPMSolver(40, eta=0.5), 0.06),
        (RePaint(300, 10, 2), 0.08),
        (AnnealedLangevin(200, 20, 0.1), 0.06),
    ],
    ids=lambda p: type(p).__name__,
)
def test_draws_have_the_mean_and_covariance(name, solver, error):
    sde = SDES[name]
    z = solver.sample(BACKEND, np.random.default_rng(2), sde, score_of(sde), np.zeros((10_000, 3)))
    np.testing.assert_allclose(z.mean(0), MEAN, atol=0.05)
    np.testing.assert_allclose(np.cov(z.T), COV, atol=error)


SOLVERS = (
    EulerMaruyama(200),
    Ancestral(200),
    PredictorCorrector(100),
    Heun(39),
    DPMSolver(20),
    RePaint(150, 10, 2),
    AnnealedLangevin(60, 20),
)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_conditional_draws_and_observed_coordinates(solver):
    """The last coordinate is observed: it stays bit for bit, the others follow the exact conditional."""
    sde = VP()
    gain = COV[:2, 2] / COV[2, 2]
    cov = COV[:2, :2] - np.outer(gain, COV[2, :2])
    observed = np.tile([0.0, 0.0, 0.9], (10_000, 1))
    mean = MEAN[:2] + gain * (0.9 - MEAN[2])

    def score(z, t, xi=None):
        part = score_of(sde, mean, cov)(z[..., :2], t)
        # What the score says of an observed coordinate must not matter.
        return np.concatenate([part, np.full_like(z[..., 2:], 1e3)], axis=-1)

    free = np.array([True, True, False])
    z = solver.sample(BACKEND, np.random.default_rng(3), sde, score, observed, free)
    assert (z[:, 2] == 0.9).all()
    np.testing.assert_allclose(z[:, :2].mean(0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(z[:, :2].T), cov, atol=0.07)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_evaluations_and_draws_are_counted_rightly(solver):
    calls = []

    def score(z, t, xi=None):
        calls.append(float(t))
        return -z

    drawn = []

    def noise(i):
        drawn.append(int(i))
        return np.ones((1, 1))

    solver.run(BACKEND, VP(), score, np.zeros((1, 1)), noise)
    assert drawn == list(range(solver.draws))
    assert len(calls) == solver.evaluations
    assert calls[0] == 1.0
    assert min(calls) > 0.0


def test_the_published_schedule():
    """Multi-modal Latent Diffusion's sampler: 250 steps, jumps of 10, 10 resamples."""
    rows = schedule(250, 10, 10)
    assert len(rows) == 2410
    assert (rows[:, 1] - rows[:, 0]).sum() == 2160
    assert sorted(set(rows[rows[:, 1] > rows[:, 0], 0])) == list(range(1, 232, 10))
    assert (rows[1:, 0] == rows[:-1, 2]).all()


def test_one_resample_is_ancestral_sampling():
    """On the same grid and with the same noise, without ways up."""
    sde, solver, rng = VP(), RePaint(50, 10, 1), np.random.default_rng(0)
    like = np.zeros((4, 3))
    path = rng.normal(size=(solver.draws, *like.shape))
    start = rng.normal(size=like.shape)
    plain = Ancestral(49, last=1 / 50)
    np.testing.assert_allclose(plain.grid, np.arange(50, -1, -1) / 50, atol=1e-15)
    first = solver.run(BACKEND, sde, score_of(sde), start, path.__getitem__)
    np.testing.assert_allclose(first, plain.run(BACKEND, sde, score_of(sde), start, path[1::2].__getitem__), rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VP(1.0, 0.5), "Expected 0 < beta_0 < beta_1; got 1.0 and 0.5"),
        (lambda: VE(1.0, 0.5), "Expected 0 < sigma_0 < sigma_1; got 1.0 and 0.5"),
        (lambda: draw_times(VP(), np.zeros(2), "best"), "Expected a time_sampling among .*; got 'best'"),
        (lambda: draw_times(VP(), np.zeros(2), first=2.0), "Expected times 0 < first < last <= 1; got 2.0 and 1.0"),
        (lambda: draw_times(VE(), np.zeros(2), "importance"), "are known for VP; got VE. Use 'likelihood'"),
        (lambda: draw_times(VE(), np.zeros(2), "cosine"), "are known for VP; got VE. Use 'uniform'"),
        (lambda: EulerMaruyama(0), "Expected steps >= 1; got 0 in EulerMaruyama"),
        (lambda: PredictorCorrector(10, corrections=0), "Expected corrections >= 1; got 0 in PredictorCorrector"),
        (lambda: Heun(20), "Expected an odd number of evaluations, at least 3; got 20"),
        (lambda: DPMSolver(1), "Expected at least two times and 0 < last < 1; got 1 and 0.01"),
        (lambda: Heun(19, last=0.0), "got 0.0 in Heun"),
        (lambda: RePaint(10, jump=0), "Expected jump >= 1; got 0 in RePaint"),
        (lambda: AnnealedLangevin(1), "Expected levels >= 2; got 1 in AnnealedLangevin"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(OptionError, match=message):
        make()
