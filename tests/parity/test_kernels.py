"""Kernels with replayed noise: numpy, torch and JAX walk the same chains in double precision."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mmppl._backend import get_backend
from mmppl.inference import kernels
from mmppl.inference.kernels import HMC, MALA, KernelState
from mmppl.inference.kernels.adaptation import DualAveraging
from mmppl.inference.kernels.mass import Mass

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
    """Where the chains begin, and the noise of every step, drawn by numpy."""
    rng = np.random.default_rng(3)
    start = np.linspace(-1.0, 1.0, CHAINS * DIM).reshape(CHAINS, DIM)
    state = kernel.init_chains(target(np.asarray), start)
    steps = [kernel.noise(get_backend(start), rng, state) for _ in range(STEPS)]
    return array(start), tuple(array(np.stack(x)) for x in zip(*steps, strict=True))


def walk(kernel, array):
    """Positions, scores, acceptance and energies of every step, by the backend's own scan."""
    start, noise = replay(kernel, array)
    log_density = target(array)

    def step(state, noise):
        state, info = kernel.step(log_density, state, noise, WARMUP)
        return state, (*state.chains, info.accept_prob, info.energy, state.mean_accept_prob)

    backend = get_backend(start)
    last, trail = backend.scan(step, kernel.init_chains(log_density, start), noise)
    assert int(last.i) == STEPS
    return [backend.to_numpy(x) for x in trail]


FIXED = {"adapt_step_size": False}
PLAIN = {**FIXED, "adapt_mass_matrix": False}
KERNELS = {
    "mala": kernels.MALA(None, step_size=0.9, **FIXED),
    "mala clipped": kernels.MALA(None, step_size=0.9, clip=0.5, **FIXED),
    "ula": kernels.ULA(None, step_size=0.4),
    "random walk": kernels.RandomWalk(None, step_size=0.9, **PLAIN),
    "hmc": kernels.HMC(None, step_size=0.4, num_steps=3, **PLAIN),
    "hmc, fourth order": kernels.HMC(None, step_size=2.0, num_steps=2, integrator="fourth_order", **PLAIN),
    "obabo": kernels.UnderdampedLangevin(None, step_size=0.7, **PLAIN),
    "underdamped, fourth order": kernels.UnderdampedLangevin(None, step_size=2.0, integrator="fourth_order", **PLAIN),
    "annealed": kernels.AnnealedLangevin(None, step_size=0.9, **FIXED),
    "tempered": kernels.TemperedLangevin(None, step_size=0.7, replicas=3, **FIXED),
    "sgld": kernels.SGLD(None, step_size=0.4),
    "hmc, learned scales": kernels.HMC(None, step_size=0.5, num_steps=2, dense_mass=False, **FIXED),
    "underdamped, dense scales": kernels.UnderdampedLangevin(None, step_size=0.5, dense_mass=True, **FIXED),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_three_backends_walk_the_same_chains(kernel, other):
    oracle = walk(kernel, np.asarray)
    for ours, theirs in zip(oracle, walk(kernel, OTHERS[other]), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-10, atol=1e-12)
    positions, accept = oracle[0], oracle[-3]
    if not isinstance(kernel, kernels.ULA | kernels.SGLD):
        # Refused and accepted, each chain alone.
        assert 0.2 < accept.mean() < 0.999
        moved = (np.diff(positions, axis=0) != 0.0).any(-1)
        assert (moved.any(1) & ~moved.all(1)).any()


def moved(state, array):
    """The same state in the arrays of another backend."""
    i, chains, step_size, memory, scales, *means = state
    return KernelState(
        array(i),
        type(chains)(*map(array, chains)),
        array(step_size),
        DualAveraging(*map(array, memory)),
        None if scales is None else Mass(*(None if x is None else array(x) for x in scales)),
        *map(array, means),
    )


def flat(state):
    i, chains, step_size, memory, scales, *means = state
    return {
        "i": i,
        **chains._asdict(),
        "step_size": step_size,
        **memory._asdict(),
        **({} if scales is None else {f"mass {k}": v for k, v in scales._asdict().items() if v is not None}),
        **dict(zip(("accept", "mean", "energy", "diverging"), means, strict=True)),
    }


ADAPTING = {
    "mala": MALA(None, step_size=0.7),
    "hmc, scales": HMC(None, num_steps=2, dense_mass=False),
    "mala, dense scales": MALA(None, step_size=0.1, clip=3.0, adapt_mass_matrix=True, dense_mass=True),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("kernel", ADAPTING.values(), ids=ADAPTING)
def test_three_backends_adapt_alike_at_every_step(kernel, other):
    """Each of the 100 steps starts at numpy's state.

    An adapting chain is chaotic: acceptance moves the step size, which moves acceptance. It blows rounding up a
    hundred thousand times in 60 steps, so that free chains would part though every step of theirs agreed.
    """
    array = OTHERS[other]
    start, noise = replay(kernel, np.asarray)
    ours, theirs = target(np.asarray), target(array)
    state = kernel.init_chains(ours, start)
    follow = partial(kernel.step, theirs, num_warmup=WARMUP)
    follow = jax.jit(follow) if other == "jax" else follow
    sizes = []
    for t in range(STEPS):
        follower, _ = follow(moved(state, array), tuple(array(x[t]) for x in noise))
        state, _ = kernel.step(ours, state, tuple(x[t] for x in noise), WARMUP)
        backend = get_backend(follower.step_size)
        for name, value in flat(follower).items():
            np.testing.assert_allclose(
                backend.to_numpy(value), flat(state)[name], rtol=1e-10, atol=1e-11, err_msg=f"{name} at step {t}"
            )
        sizes.append(state.step_size)
    assert len(np.unique(sizes)) > 2 * WARMUP  # each chain has its own
    np.testing.assert_array_equal(sizes[WARMUP - 1], sizes[-1])
