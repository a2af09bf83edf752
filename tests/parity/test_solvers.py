"""Diffusions, times and solvers give the same numbers through numpy, torch and JAX in float64, with replayed noise."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mmppl._backend import get_backend
from mmppl._backend.numpy import BACKEND
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

MOVERS = {"jax": jnp.asarray, "torch": torch.as_tensor}
START = np.random.default_rng(0).normal(size=(6, 3))
MOVES = np.array([True, False, True])
SDES = (VP(), SubVP(), VE(0.01, 20.0))
SOLVERS = (
    EulerMaruyama(12),
    Ancestral(12),
    PredictorCorrector(8),
    Heun(9),
    DPMSolver(8),
    DPMSolver(8, eta=0.7),
    RePaint(12, 3, 3),
    AnnealedLangevin(6, 3),
)


def score(z, t, xi=None):
    """Nothing exact: analytic in z, and different for every time."""
    xp = get_backend(z).xp
    return -z / (1.0 + t) + 0.3 * xp.sin(2.0 * z[..., :1] + t)


@pytest.mark.parametrize("to", MOVERS)
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("sde", SDES, ids=lambda s: type(s).__name__)
def test_solvers_agree(to, solver, sde, x64):
    path = np.random.default_rng(1).normal(size=(solver.draws, *START.shape))
    wanted = solver.run(BACKEND, sde, score, START, path.__getitem__, MOVES)
    z, xi, free = map(MOVERS[to], (START, path, MOVES))
    backend = get_backend(z)
    found = solver.run(backend, sde, score, z, xi.__getitem__, free)
    np.testing.assert_allclose(backend.to_numpy(found), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("to", MOVERS)
@pytest.mark.parametrize("time_sampling", ["uniform", "likelihood", "importance", "cosine"])
def test_times_agree(to, time_sampling, x64):
    uniform = np.random.default_rng(2).random(20)
    found = draw_times(VP(), MOVERS[to](uniform), time_sampling)
    for a, b in zip(found, draw_times(VP(), uniform, time_sampling), strict=True):
        np.testing.assert_allclose(np.asarray(a), b, rtol=1e-10)


@pytest.mark.parametrize("to", MOVERS)
@pytest.mark.parametrize("sde", SDES, ids=lambda s: type(s).__name__)
def test_marginals_agree(to, sde, x64):
    t, rng = np.linspace(0.01, 1.0, 6)[:, None], np.random.default_rng(3)
    noise = rng.normal(size=START.shape)
    z = sde.diffuse(*map(MOVERS[to], (START, t, noise)))
    np.testing.assert_allclose(np.asarray(z), sde.diffuse(START, t, noise), rtol=1e-10)
