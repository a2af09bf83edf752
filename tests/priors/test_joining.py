"""Schedules of joining: conversions, and what the project's sampler does with each, exactly."""

import numpy as np
import pytest

from mmppl._backend import get_backend
from mmppl.errors import OptionError
from mmppl.priors import Blocks, Bump, Curve, FirstStep, MultiTaskLoss, MultiTaskModel, SharedSpace, StepWeights
from mmppl.priors.condition import BlockRoles, Condition, Query
from mmppl.priors.coordinates import Standardization
from mmppl.sde import VP
from mmppl.sde.solvers import Ancestral, DPMSolver

STEPS, R, SDE = 1000, 0.8, VP()
FACTOR = SDE.mean_factor(np.linspace(0.0, 1.0, STEPS + 1))
BETAS = 1.0 - (FACTOR[1:] / FACTOR[:-1]) ** 2
# Largest and last weight; variance of z_0 by means and by draws of heads; slope and variance of z_0 given x = 1, by a
# network that sees x and by one that does not and is not guided. Exact values of the published recursion, T = 1000.
TABLE = [
    (FirstStep(0.0), (0.0, 0.0), (0.991, 0.991), (0.800, 0.355), (0.00, 0.99)),
    (FirstStep(0.5), (0.500, 0.003), (0.949, 0.993), (0.800, 0.355), (-0.50, 2.04)),
    (FirstStep(1.0), (1.000, 0.006), (0.894, 0.994), (0.800, 0.355), (-1.00, 3.58)),
    (Bump(1.0), (0.250, 0.006), (0.992, 0.992), (0.800, 0.355), (-0.37, 1.44)),
    (StepWeights((0.001,) * STEPS), (0.240, 0.114), (0.992, 0.992), (0.800, 0.355), (-0.47, 1.50)),
    (StepWeights(tuple(0.5 * BETAS)), (0.980, 0.980), (0.992, 0.993), (0.798, 0.355), (-3.3, 4.8)),
]


def oracle(space):
    """The best predictors of a pair of correlation R: B3.2 of the reference."""

    def net(x):
        z, known, t, code = (x[..., i : i + 1] for i in range(4))
        a, sigma, joined = space.sde.mean_factor(t), space.sde.scale(t), space.weight(t)
        both, conditioned = R * a + joined, code == 0
        spread = np.where(conditioned, a**2 * (1 - R**2) + sigma**2, 1 + joined**2 + 2 * R * a * joined)
        noise = sigma * (z - np.where(conditioned, both * known, 0.0)) / spread
        left = np.maximum(1 - both**2 / spread, 1e-9)
        return np.concatenate([noise, both * z / spread, 0 * z, 0.5 * np.log(left)], axis=-1)

    return net


class Impulses:
    """A backend whose noise is 0 but for one number of one draw in each row, so that a run gives its factors."""

    def __init__(self, rows):
        self.backend, self.rows = get_backend(rows), len(rows)

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def split(self, rng, num):
        return ["start", "steps", "read"]

    def fold_in(self, rng, i):
        return int(i)

    def normal(self, rng, shape, like):
        place = {"start": 0, "read": STEPS + 1}.get(rng, rng + 1 if isinstance(rng, int) else None)
        noise = np.zeros(shape)
        noise[2 * place], noise[2 * place + 1] = (1.0, 0.0), (0.0, 1.0)
        return noise


def run(joining, conditioned, known=False, plug_in="draw"):
    """Slope of z_0 on x = 1, if it is known, and the covariance of z_0 and x."""
    space = SharedSpace(Blocks.of({"z": 1, "x": 1}), strength=joining, sde=SDE, tolerance=1e9)
    learning = MultiTaskLoss(p_conditional=0.5 * conditioned, predict="noise")
    # Without the pull of the head: an unconditional network that only subtracts what joined.
    options = MultiTaskModel(space, learning, 0.0 if conditioned else -1.0, Ancestral(STEPS - 1), plug_in=plug_in)
    rows = np.zeros((2 * (STEPS + 2) + 1, 2))
    rows[-1, 1] = float(known)
    roles = BlockRoles(np.array([[True, not known]]), np.array([[False, known]]))
    query = Query(Impulses(rows), oracle(space), Condition(rows, None, roles), Standardization(0.0, 1.0))
    # Slopes are of a run without noise; factors of the noise are of those where x is 0.
    draws = options.draw(None, query, rows)[0]
    return draws[-1, 0], draws[:-1].T @ draws[:-1]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{type(row[0]).__name__}-{TABLE.index(row)}")
def test_oracle_table_by_the_sampler(row):
    joining, weights, unconditional, told, naive = row
    found = joining.weight(SDE, np.linspace(0.0, 1.0, STEPS + 1))
    np.testing.assert_allclose([found.max(), found[-1]], weights, atol=2e-3)
    for plug_in, wanted in zip(("mean", "draw"), unconditional, strict=True):
        assert run(joining, False, plug_in=plug_in)[1][0, 0] == pytest.approx(wanted, abs=2e-3)
    slope, cov = run(joining, True, known=True)
    np.testing.assert_allclose([slope, cov[0, 0]], told, atol=2e-3)
    slope, cov = run(joining, False, known=True)
    np.testing.assert_allclose([slope, cov[0, 0]], naive, atol=0.06 if weights[1] > 0.5 else 0.012)


def test_weights_of_steps_and_their_sum_are_converted_both_ways():
    rng = np.random.default_rng(0)
    w = rng.normal(size=30) * 0.1
    factor, total = SDE.mean_factor(np.linspace(0.0, 1.0, 31)), [0.0]
    for i in range(30):  # theorem 2, step by step
        total.append(factor[i + 1] / factor[i] * (w[i] + total[-1]))
    steps, curve = StepWeights(tuple(w)), Curve(tuple(total[1:]))
    grid = np.linspace(0.0, 1.0, 31)
    for joining in (steps, curve):
        np.testing.assert_allclose(joining.weight(SDE, grid), total, rtol=1e-9)
        np.testing.assert_allclose(joining.step_weights(SDE, 30), w, rtol=1e-7)
    between = np.linspace(0.0, 1.0, 97)[:, None]
    np.testing.assert_allclose(curve.weight(SDE, between)[:, 0], np.interp(between[:, 0], grid, total), rtol=1e-9)


@pytest.mark.parametrize("joining", [Bump(0.7), FirstStep(0.7), StepWeights(tuple(0.01 + 0 * BETAS))])
def test_flow_weight_is_that_of_the_drift(joining):
    t, h = np.linspace(0.1, 0.9, 9) + 0.5 / STEPS, 0.2 / STEPS
    slope = (joining.weight(SDE, t + h) - joining.weight(SDE, t - h)) / (2 * h)
    drift = slope - SDE.rate(t) * joining.weight(SDE, t)
    np.testing.assert_allclose(joining.flow_weight(SDE, t), 2 * drift / SDE.noise_rate(t), rtol=2e-2, atol=1e-4)


def test_a_table_is_read_alike_on_every_backend(to):
    curve, t = Curve((0.1, 0.4, -0.2, 0.0)), np.array([[0.0, 0.2], [0.61, 1.0]])
    found = curve.weight(SDE, to(t))
    np.testing.assert_allclose(np.asarray(found), np.interp(t, [0, 0.25, 0.5, 0.75, 1], [0, *curve.values]), rtol=1e-9)


def test_bad_schedules_are_refused():
    blocks = Blocks.of({"z": 1, "x": 1})
    with pytest.raises(OptionError, match=r"at most tolerance=0.05 is left at the end .*; got 0.11"):
        SharedSpace(blocks, strength=StepWeights((0.001,) * STEPS))
    with pytest.raises(OptionError, match="strength >= 0; got -1"):
        FirstStep(-1.0)
    with pytest.raises(OptionError, match="values that are finite numbers"):
        Curve(())
    with pytest.raises(OptionError, match="Ancestral where blocks join at the first step"):
        MultiTaskModel(SharedSpace(blocks, strength=FirstStep(1.0)), solver=DPMSolver(9))
    with pytest.raises(OptionError, match=r"plug_in among \('draw', 'mean'\); got 'mode'"):
        MultiTaskModel(SharedSpace(blocks), plug_in="mode")
