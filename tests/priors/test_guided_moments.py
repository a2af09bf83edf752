"""Guided draws of Gaussians: what a solver ends at is normal, and its moments solve an equation of their own.

A guided score belongs to no diffused density, so the reverse diffusion and the probability flow end at different
normals, neither of which is a conditional. Scipy integrates both.
"""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from mmppl._backend import get_backend
from mmppl.priors import (
    Blocks,
    Conditioning,
    MultiTaskLoss,
    MultiTaskModel,
    MultiTimeScoreMatching,
    PairwiseGuidance,
    ScoreModel,
    SharedSpace,
)
from mmppl.sde import VP
from mmppl.sde.solvers import Ancestral, DPMSolver
from mmppl.testing import GaussianMultiTask
from mmppl.testing.gaussian_score import GaussianScore

SDE = VP(0.1, 40.0)  # at its end nothing is left of the data
SIZES = {"a": 2, "b": 1, "c": 1}
ROOT = np.array([[1.0, 0.0, 0.0, 0.0], [0.5, 0.8, 0.0, 0.0], [0.7, -0.3, 0.6, 0.0], [-0.4, 0.5, 0.5, 0.5]])
COV = ROOT @ ROOT.T / np.sqrt(np.outer(np.diag(ROOT @ ROOT.T), np.diag(ROOT @ ROOT.T)))
WIDE = {"a": [0, 1], "b": [2], "c": [3]}
OBSERVED = np.array([1.2, -0.4, 0.9, -1.1])


def terminal(score, dim, eta):
    """Mean and covariance at time 0 by the reverse diffusion (eta 1) or the flow (0) along ``score(t)``.

    The score is b - P z, and ``score(t)`` is (P, b).
    """

    def slope(t, y):
        (pull, shift), mean, cov = score(np.asarray(t)), y[:dim], y[dim:].reshape(dim, dim)
        rate, power = SDE.rate(t), SDE.noise_rate(np.asarray(t))
        half = 0.5 * (1.0 + eta**2) * power
        drift = rate * np.eye(dim) + half * pull
        return np.concatenate(
            [drift @ mean - half * shift, (drift @ cov + cov @ drift.T - eta**2 * power * np.eye(dim)).ravel()]
        )

    start = np.concatenate([np.zeros(dim), (SDE.prior_scale**2 * np.eye(dim)).ravel()])
    end = solve_ivp(slope, (1.0, 1e-6), start, method="LSODA", rtol=1e-8, atol=1e-10).y[:, -1]
    return end[:dim], end[dim:].reshape(dim, dim)


def normal_score(mean, cov):
    """(P, b) of a normal, at its time."""
    inverse = np.linalg.inv(cov)
    return inverse, inverse @ mean


def guided(strong, weak, w):
    """(P, b) of (1 + w) times one score less w times another."""
    return tuple((1.0 + w) * x - w * y for x, y in zip(strong, weak, strict=True))


def diffused(mean, cov, t):
    return normal_score(SDE.mean_factor(t) * mean, SDE.mean_factor(t) ** 2 * cov + SDE.scale(t) ** 2 * np.eye(len(cov)))


def given(cov, values, known, wanted):
    """Mean and covariance of some coordinates given others."""
    gain = np.linalg.solve(cov[np.ix_(known, known)], cov[np.ix_(known, wanted)]).T
    return gain @ values[known], cov[np.ix_(wanted, wanted)] - gain @ cov[np.ix_(known, wanted)]


def check_moments(draws, mean, cov, slack):
    """Moments within 4.5 Monte-Carlo standard errors and ``slack`` standard deviations."""
    sd = np.sqrt(np.diag(cov))
    assert np.all(np.abs(draws.mean(0) - mean) < (4.5 / np.sqrt(len(draws)) + slack) * sd), (draws.mean(0), mean)
    error = np.sqrt((np.outer(sd**2, sd**2) + cov**2) / len(draws))
    found = np.cov(draws.T).reshape(cov.shape)
    assert np.all(np.abs(found - cov) < 4.5 * error + 2.0 * slack * np.outer(sd, sd)), (found, cov)


SOLVERS = {
    "flow": (DPMSolver(60), 0.0, 0.01),
    "diffusion": (DPMSolver(60, eta=1.0), 1.0, 0.02),
    "ancestral": (Ancestral(300), 1.0, 0.02),
}


@pytest.mark.parametrize("names", [("a",), ("b",)])
@pytest.mark.parametrize("solver", ["flow", "diffusion"])
def test_guidance_by_the_marginal(host, solver, names):
    """Classifier-free guidance of a joint score, w = 1."""
    solver, eta, slack = SOLVERS[solver]
    number, w = 16_000, 1.0
    known = np.isin(np.arange(4), [i for n in names for i in WIDE[n]])
    mean, cov = given(COV, OBSERVED, known, ~known)
    alone = COV[np.ix_(~known, ~known)]

    def score(w):
        return lambda t: guided(diffused(mean, cov, t), diffused(0.0 * mean, alone, t), w)

    plain, wanted = (terminal(score(x), len(mean), eta) for x in (0.0, w))
    for x, y in zip(plain, (mean, cov), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-4)
    settings = ScoreModel(Blocks.of(SIZES), MultiTimeScoreMatching(SDE, predict="noise"), solver)
    prior = host.mm.JointScore(GaussianScore(SIZES, COV, SDE), settings)
    values = {n: host.array(np.tile(OBSERVED[WIDE[n]], (number, 1))) for n in names}
    draws = host.sample(prior.conditional(values, guidance=w), (), seed=10)
    check_moments(draws[:, ~known], *wanted, slack)


TASKS = {"a": 2, "b": 1, "c": 2}
LOAD = np.array([[0.8, 0.0], [-0.3, 0.5], [0.6, 0.6]])
TASK_COV = np.block([[LOAD @ LOAD.T + np.diag([0.36, 0.5, 0.2]), LOAD], [LOAD.T, np.eye(2)]])


# The network compiles slowly: each host draws by the flow, and one of them by the diffusion.
JOINED = [(host, "flow", told, 0.7) for host in ("numpyro", "pyro") for told in (True, False)]
JOINED += [("pyro", "flow", True, 0.0), ("pyro", "ancestral", True, 0.7), ("pyro", "ancestral", False, 0.7)]


@pytest.mark.parametrize(("host", "solver", "told", "strength"), JOINED, indirect=["host"])
def test_guidance_of_many_tasks(host, solver, told, strength):
    """Of the primary block c given b, with the third block absent: w = 1, as b joins or does not."""
    solver, eta, slack = (Ancestral(150), 1.0, 0.04) if solver == "ancestral" else SOLVERS[solver]
    number, w, b = (1000 if eta else 5000), 1.0, np.array([0.9])
    space = SharedSpace(Blocks.of(TASKS), "c", strength, SDE)
    joins = space.shift(np.eye(5))[2:3, 3:].T  # E_b, (2, 1)
    mean, cov = given(TASK_COV, np.array([0, 0, 0.9, 0, 0]), np.arange(5) == 2, np.arange(5) > 2)
    cross, var = TASK_COV[3:, 2:3], TASK_COV[2, 2]

    def score(t):
        # Of y = z - weight E b, which is an ordinary diffusion of c; the blind score is that of z.
        weight, factor = space.weight(t), SDE.mean_factor(t)
        spread = factor**2 * np.eye(2) + SDE.scale(t) ** 2 * np.eye(2) + weight**2 * var * joins @ joins.T
        spread = spread + factor * weight * (cross @ joins.T + joins @ cross.T)
        pull, _ = normal_score(np.zeros(2), spread)
        return guided(diffused(mean, cov, t), (pull, -pull @ (weight * joins @ b)), w)

    learning = MultiTaskLoss(p_conditional=0.5 * told, predict="noise")
    settings = MultiTaskModel(space, learning, solver=solver)
    prior = host.mm.MultiTask(GaussianMultiTask(space, TASK_COV), settings)
    fn = prior.conditional({"b": host.array(np.tile(b, (number, 1)))}, want=("c",), guidance=w)
    draws = host.sample(fn, (), seed=3)
    assert np.all(draws[:, 2] == b)
    check_moments(draws[:, 3:], *terminal(score, 2, eta), slack)


R, KNOWN = 0.8, 1.3


def log_ratio(x):
    """The energy of least loss of a standard pair of correlation R: log p(z) p(z') - log p(z, z') at time t."""
    xp = get_backend(x).xp
    left, right, t = x[..., 0], x[..., 1], x[..., -1]
    r = SDE.mean_factor(t) ** 2 * R
    both = (left**2 - 2.0 * r * left * right + right**2) / (1.0 - r**2)
    return 0.5 * both + 0.5 * xp.log(1.0 - r**2) - 0.5 * left**2 - 0.5 * right**2


@pytest.mark.parametrize(
    ("solver", "how"),
    [("flow", "clean"), ("flow", "fixed"), *(("ancestral", how) for how in ("clean", "fixed", "fresh"))],
)
def test_guidance_by_pairs(host, solver, how):
    r"""Conditions by replacement, with a pull by the exact energy: s + lambda (s - s_marginal), at what replaces.

    A fixed noise of what is known is one more coordinate, which does not move; fresh noise leaves nothing in the limit
    of small steps.
    """
    (solver, eta, slack), number, strength = SOLVERS[solver], 4000, 1.5

    def score(t):
        a, sigma = SDE.mean_factor(t), SDE.scale(t)
        r = a**2 * R
        seen = {"clean": (KNOWN, 0.0), "fixed": (a * KNOWN, sigma), "fresh": (a * KNOWN, 0.0)}[how]
        # Of a standard pair the score is -(z - r z') / (1 - r^2), and that of the marginal -z.
        weight = (1.0 + strength) / (1.0 - r**2)
        return weight - strength, weight * r * seen[0], weight * r * seen[1]

    def slope(t, y):
        """Of the mean, of the factor of the fixed noise, and of the variance given it."""
        pull, shift, noise = score(np.asarray(t))
        power = SDE.noise_rate(np.asarray(t))
        half = 0.5 * (1.0 + eta**2) * power
        drift = SDE.rate(t) + half * pull
        return [drift * y[0] - half * shift, drift * y[1] - half * noise, 2.0 * drift * y[2] - eta**2 * power]

    mean, factor, var = solve_ivp(slope, (1.0, 1e-6), [0.0, 0.0, 1.0], method="LSODA", rtol=1e-8).y[:, -1]
    blocks = Blocks.of({"a": 1, "b": 1})
    cov = np.array([[1.0, R], [R, 1.0]])
    settings = ScoreModel(
        blocks,
        MultiTimeScoreMatching(SDE, predict="noise"),
        solver,
        Conditioning(how),
        pairwise=PairwiseGuidance(blocks, strength, SDE),
    )
    prior = host.mm.JointScore(GaussianScore(dict(blocks.items()), cov, SDE), settings, energy=log_ratio)
    known = {"a": host.array(np.full((number, 1), KNOWN))}
    draws = host.sample(prior.conditional(known), (), seed=5)
    assert np.all(draws[:, 0] == KNOWN)
    check_moments(draws[:, 1:], np.array([mean]), np.array([[var + factor**2]]), slack)
