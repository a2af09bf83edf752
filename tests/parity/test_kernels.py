"""Kernels with replayed noise: numpy, torch and JAX walk the same chains in double precision."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mmppl._backend import get_backend
from mmppl.inference.kernels import MALA, ULA, KernelState
from mmppl.inference.kernels.adaptation import DualAveraging
from mmppl.sde.langevin import LangevinState

STEPS, WARMUP, CHAINS, DIM = 100, 60, 3, 2
MATRIX = np.array([[1.5, 0.4], [0.4, 0.8]])
OTHERS = {"torch": torch.as_tensor, "jax": jnp.asarray}


def target(array):
    """A correlated, skewed density; analytic, for numpy's complex step."""
    matrix = array(MATRIX)
    xp = get_backend(matrix).xp

    def log_density(z):
        quadratic = xp.sum((z @ matrix) * z, axis=-1)
        return -0.5 * quadratic - 0.1 * xp.sum(xp.exp(0.5 * z), axis=-1)

    return log_density


def replay(kernel, array):
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((STEPS, CHAINS, DIM)), rng.random((STEPS, CHAINS))
    start = array(np.linspace(-1.0, 1.0, CHAINS * DIM).reshape(CHAINS, DIM))
    return start, tuple(array(x) for x in noise[: 2 if isinstance(kernel, MALA) else 1])


def walk(kernel, array):
    """Positions, scores and acceptance of every step, by the backend's own scan."""
    start, noise = replay(kernel, array)
    log_density = target(array)

    def step(state, noise):
        state, info = kernel.step(log_density, state, noise, WARMUP)
        return state, (state.chains.position, state.chains.score, info.accept_prob, state.mean_accept_prob)

    backend = get_backend(start)
    last, trail = backend.scan(step, kernel.init_chains(log_density, start), noise)
    assert int(last.i) == STEPS
    return [backend.to_numpy(x) for x in trail]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize(
    "kernel",
    [
        MALA(None, step_size=0.9, adapt_step_size=False),
        MALA(None, step_size=0.9, adapt_step_size=False, clip=0.5),
        ULA(None, step_size=0.4),
    ],
    ids=["mala", "mala clipped", "ula"],
)
def test_three_backends_walk_the_same_chains(kernel, other):
    oracle = walk(kernel, np.asarray)
    for ours, theirs in zip(oracle, walk(kernel, OTHERS[other]), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-10, atol=1e-13)
    if isinstance(kernel, MALA):
        assert 0.2 < oracle[2].mean() < 0.95


def moved(state, array):
    """The same state in the arrays of another backend."""
    i, chains, step_size, memory, *means = state
    return KernelState(
        array(i),
        LangevinState(*map(array, chains)),
        array(step_size),
        DualAveraging(*map(array, memory)),
        *map(array, means),
    )


def flat(state):
    i, chains, step_size, memory, *means = state
    return {
        "i": i,
        **chains._asdict(),
        "step_size": step_size,
        **memory._asdict(),
        "accept": means[0],
        "mean": means[1],
    }


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("other", OTHERS)
def test_three_backends_adapt_alike_at_every_step(other):
    """Each of the 100 steps starts at numpy's state.

    An adapting chain is chaotic: acceptance moves the step size, which moves acceptance. It blows rounding up a
    hundred thousand times in 60 steps, so that free chains would part though every step of theirs agreed.
    """
    kernel, array = MALA(None, step_size=0.7), OTHERS[other]
    start, noise = replay(kernel, np.asarray)
    ours, theirs = target(np.asarray), target(array)
    state = kernel.init_chains(ours, start)
    sizes = []
    for t in range(STEPS):
        follower, _ = kernel.step(theirs, moved(state, array), tuple(array(x[t]) for x in noise), WARMUP)
        state, _ = kernel.step(ours, state, tuple(x[t] for x in noise), WARMUP)
        backend = get_backend(follower.step_size)
        for name, value in flat(follower).items():
            np.testing.assert_allclose(
                backend.to_numpy(value), flat(state)[name], rtol=1e-10, atol=1e-11, err_msg=f"{name} at step {t}"
            )
        sizes.append(state.step_size)
    assert len(np.unique(sizes)) > 2 * WARMUP  # each chain has its own
    np.testing.assert_array_equal(sizes[WARMUP - 1], sizes[-1])
