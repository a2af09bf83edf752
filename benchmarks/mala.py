"""Batched MALA of each host's ``MCMC`` kernel, against BlackJAX's and a hand-written torch loop.

The target is the posterior of the latents of polydigits rows, each row a chain of its own, under the decoders of
:mod:`benchmarks.programs`. All keep their step size; a call runs ``STEPS`` steps.
"""

import math
from collections.abc import Callable

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pyro
import torch

import mmppl.numpyro
import mmppl.pyro
from benchmarks import by_hand_jax, by_hand_torch
from benchmarks.programs import LATENT, Setting, declare

__all__ = ["numpyro_competitors", "pyro_competitors"]

ROWS, STEPS, STEP_SIZE = 256, 25, 0.02


def start() -> np.ndarray:
    """Where all chains begin, ``(N, D)``."""
    return np.random.default_rng(0).laplace(size=(ROWS, LATENT)).astype("float32")


def numpyro_competitors() -> dict[str, Callable[[], object]]:
    """``ours``: the kernel under NumPyro; ``BlackJAX``: its MALA on a density of one row, vmapped over rows."""
    setting = declare(mmppl.numpyro, "MMVAE", ROWS)
    kernel = mmppl.numpyro.MALA(setting.model, step_size=STEP_SIZE, adapt_step_size=False)
    args = ((setting.batch,), {})
    first = kernel.init(jax.random.key(0), 0, {"z": jnp.asarray(start())}, *args)

    @jax.jit
    def ours(state):
        return jax.lax.scan(lambda s, _: (kernel.sample(s, *args), None), state, None, length=STEPS)[0]

    rival = blackjax.mala.build_kernel()
    values = setting.batch.values

    def density(z, row):
        return _density_jax(setting, {name: x[None] for name, x in row.items()}, z[None])[0]

    @jax.jit
    def theirs(state, key):
        def step(state, key):
            def one(key, state, row):
                return rival(key, state, lambda z: density(z, row), STEP_SIZE**2 / 2)[0]

            return jax.vmap(one)(jax.random.split(key, ROWS), state, values), None

        return jax.lax.scan(step, state, jax.random.split(key, STEPS))[0]

    begin = jax.vmap(lambda z, row: blackjax.mala.init(z, lambda z: density(z, row)))(jnp.asarray(start()), values)
    np.testing.assert_allclose(first.log_density, begin.logdensity, rtol=1e-4)
    return {
        "ours": lambda: jax.block_until_ready(ours(first)),
        "BlackJAX": lambda: jax.block_until_ready(theirs(begin, jax.random.key(0))),
    }


def _density_jax(setting: Setting, values: dict, z: jax.Array) -> jax.Array:
    prior = jnp.sum(-jnp.abs(z) - math.log(2.0), -1)
    return prior + by_hand_jax.log_likelihood(setting.nets, setting.modalities, values, z)


def pyro_competitors() -> dict[str, Callable[[], object]]:
    """``ours``: the kernel under Pyro; ``by hand``: a loop in torch, on a formula for the density."""
    setting = declare(mmppl.pyro, "MMVAE", ROWS)
    kernel = mmppl.pyro.MALA(setting.model, step_size=STEP_SIZE, adapt_step_size=False)
    kernel.initial_params = {"z": torch.tensor(start())}
    kernel.setup(0, setting.batch)
    np.testing.assert_allclose(
        kernel.state.chains.log_density, _value_and_score(setting, torch.tensor(start()))[0], rtol=1e-4
    )

    def ours():
        z = kernel.initial_params
        with pyro.validation_enabled(False):  # as Pyro's MCMC runs kernels
            for _ in range(STEPS):
                z = kernel.sample(z)
        return z

    def by_hand():
        z = torch.tensor(start())
        value, score = _value_and_score(setting, z)
        half = STEP_SIZE**2 / 2
        for _ in range(STEPS):
            noise = torch.randn_like(z)
            new = z + half * score + STEP_SIZE * noise
            new_value, new_score = _value_and_score(setting, new)
            back = (z - new - half * new_score) / STEP_SIZE
            log_ratio = new_value - value + 0.5 * (noise**2).sum(-1) - 0.5 * (back**2).sum(-1)
            accept = torch.rand(ROWS) < log_ratio.exp()
            z = torch.where(accept[:, None], new, z)
            value = torch.where(accept, new_value, value)
            score = torch.where(accept[:, None], new_score, score)
        return z

    return {"ours": ours, "by hand": by_hand}


def _value_and_score(setting: Setting, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    z = z.detach().requires_grad_()
    prior = (-z.abs() - math.log(2.0)).sum(-1)
    value = prior + by_hand_torch.log_likelihood(setting.nets, setting.modalities, setting.batch.values, z)
    return value.detach(), torch.autograd.grad(value.sum(), z)[0]
