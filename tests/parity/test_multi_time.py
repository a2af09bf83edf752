"""Losses, densities and draws of joint scores are the same numbers on numpy, torch and JAX, with replayed noise."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mmppl._backend import get_backend
from mmppl._backend.numpy import BACKEND
from mmppl.priors import Blocks, Conditioning, MultiTimeScoreMatching, ProbabilityFlow
from mmppl.priors.condition import BlockRoles
from mmppl.priors.score.matching import MultiTimeNoise
from mmppl.sde import VP
from mmppl.sde.solvers import Ancestral
from mmppl.testing.gaussian_score import GaussianScore

MOVERS = {"jax": jnp.asarray, "torch": torch.as_tensor}
SIZES = {"a": 2, "b": 1}
BLOCKS = Blocks.of(SIZES)
NET = GaussianScore(SIZES, [[1.0, 0.3, 0.5], [0.3, 1.0, -0.2], [0.5, -0.2, 1.0]])
Z = np.random.default_rng(0).standard_normal((6, 3))
PRESENT = np.array([[True, True]] * 4 + [[True, False], [False, True]])


@pytest.mark.parametrize("kind", MOVERS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"predict": "noise"},
        {"predict": "data"},
        {"independent": True},
        {"time_sampling": "importance"},
        {"loss": "sliced"},
    ],
    ids=str,
)
def test_losses(kind, options, x64):
    learning = MultiTimeScoreMatching(p_conditional=0.6, p_marginal=0.3, **options)
    noise = learning.draw(BACKEND, np.random.default_rng(1), Z, 2)
    wanted = learning.bound(BACKEND, BLOCKS, NET, Z, PRESENT, noise)
    move = MOVERS[kind]
    backend = get_backend(move(Z))
    moved = MultiTimeNoise(*(None if x is None else move(x) for x in noise))
    found = learning.bound(backend, BLOCKS, NET, move(Z), move(PRESENT), moved)
    # numpy takes derivatives by differences.
    np.testing.assert_allclose(backend.to_numpy(found), wanted, rtol=1e-5 if "loss" in options else 1e-10)


@pytest.mark.parametrize("kind", MOVERS)
@pytest.mark.parametrize("how", ["multi_time", "fresh", "fixed", "clean", "legacy"])
def test_draws(kind, how, x64):
    clean = np.array([[True, False]] * 3 + [[False, True]] * 3)
    solver, conditioning, sde = Ancestral(8), Conditioning(how), VP()
    noise = np.random.default_rng(2).standard_normal((3, *Z.shape))
    path = np.random.default_rng(3).standard_normal((solver.draws, *Z.shape))

    def run(backend, move):
        roles = BlockRoles(move(~clean), move(clean))
        learning = MultiTimeScoreMatching(predict="noise")

        def predict(roles, z, t):
            return learning.noise(backend, BLOCKS, NET, roles, z, t + 0.0 * z[..., :1])

        score = conditioning.score(backend, sde, BLOCKS, predict, roles, move(noise[0]))
        free = BLOCKS.spread(roles.diffused)
        start = backend.xp.where(free, move(noise[1]), move(Z))
        return backend.to_numpy(solver.run(backend, sde, score, start, move(path).__getitem__, free))

    wanted = run(BACKEND, np.asarray)
    move = MOVERS[kind]
    np.testing.assert_allclose(run(get_backend(move(Z)), move), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", MOVERS)
def test_densities(kind, x64):
    """The integrators differ, so the densities agree to their tolerance."""
    flow = ProbabilityFlow(rtol=1e-9, atol=1e-9)

    def run(backend, move):
        learning = MultiTimeScoreMatching(predict="noise")
        roles = BlockRoles(move(np.ones((6, 2), bool)), move(np.zeros((6, 2), bool)))

        def predict(roles, z, t):
            return learning.noise(backend, BLOCKS, NET, roles, z, t + 0.0 * z[..., :1])

        score = Conditioning().score(backend, VP(), BLOCKS, predict, roles)
        return backend.to_numpy(flow.log_density(backend, VP(), score, move(Z), move(np.ones((6, 3), bool)))[0])

    move = MOVERS[kind]
    np.testing.assert_allclose(run(get_backend(move(Z)), move), run(BACKEND, np.asarray), rtol=1e-6)
