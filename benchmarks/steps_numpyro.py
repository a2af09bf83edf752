"""A training step of NumPyro's SVI with our objective, and the same step written by hand."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpyro.infer import SVI

import mmppl.numpyro as mm
from benchmarks import by_hand_jax
from benchmarks.programs import BATCH, LATENT, Setting, declare
from mmppl.inference.objectives.evaluation import Evaluation
from mmppl.numpyro.tracing import Runs

__all__ = ["by_hand", "competitors"]

RATE = 1e-3


def competitors(kind: str) -> dict[str, Callable[[], object]]:
    """One training step each, by name; each returns when its work is done."""
    setting = declare(mm, kind)
    _same_loss(kind, setting)
    return {"ours": _ours(setting), "by hand": by_hand(kind, setting)}


def _ours(setting: Setting) -> Callable[[], object]:
    svi = SVI(setting.model, setting.guide, optax.adam(RATE), setting.objective)
    state = svi.init(jax.random.key(0), setting.batch)
    update = jax.jit(svi.update)

    def step():
        nonlocal state
        state, loss = update(state, setting.batch)
        return jax.block_until_ready(loss)

    return step


def by_hand(kind: str, setting: Setting) -> Callable[[], object]:
    params, static = eqx.partition(setting.nets, eqx.is_inexact_array)
    optimiser = optax.adam(RATE)
    state = (params, optimiser.init(params), jax.random.key(0))

    @jax.jit
    def update(state, values):
        params, moments, key = state
        key, now = jax.random.split(key)
        if kind == "MMVAE":
            noise = jax.random.laplace(now, (len(setting.modalities), BATCH, LATENT))
        else:
            noise = jax.random.normal(now, (BATCH, LATENT))

        def loss(params):
            return _loss(kind)(eqx.combine(params, static), setting.modalities, values, noise)

        value, grads = jax.value_and_grad(loss)(params)
        change, moments = optimiser.update(grads, moments, params)
        return (optax.apply_updates(params, change), moments, key), value

    def step():
        nonlocal state
        state, value = update(state, setting.batch.values)
        return jax.block_until_ready(value)

    return step


def _loss(kind: str) -> Callable:
    return by_hand_jax.mmvae if kind == "MMVAE" else by_hand_jax.elbo


def _same_loss(kind: str, setting: Setting) -> None:
    """Stops unless both losses and their gradients are equal for the same draws."""
    svi = SVI(setting.model, setting.guide, optax.sgd(0.0), setting.objective)
    params = svi.get_params(svi.init(jax.random.key(0), setting.batch))
    key = jax.random.key(1)

    def ours(params):
        return setting.objective.loss_and_record(key, params, setting.model, setting.guide, setting.batch)[0]

    # The latents as the objective drew them, and the noise that the hand-written loss needs to draw the same.
    first, second = jax.random.split(key)
    run = Evaluation(Runs(params, first), setting.model, setting.guide, setting.batch, setting.batch.modalities)
    terms = setting.objective.terms(run.backend, setting.batch, second, run.like)
    z = run.draw(terms, 1, average=False).latents["z"][0]
    experts = [params[f"{m}.encoder$params"](setting.batch[m]) for m in setting.modalities]
    loc, scale = (jnp.stack(parts) for parts in zip(*experts, strict=True))
    if kind == "MMVAE":
        noise = (z - loc) / scale
    else:
        total = 1.0 + jnp.sum(scale**-2, 0)
        noise = (z[0] - jnp.sum(loc * scale**-2, 0) / total) * jnp.sqrt(total)

    def theirs(params):
        nets = {name.removesuffix("$params"): net for name, net in params.items()}
        return _loss(kind)(nets, setting.modalities, setting.batch.values, noise)

    (value, grads), (value2, grads2) = (eqx.filter_jit(eqx.filter_value_and_grad(f))(params) for f in (ours, theirs))
    np.testing.assert_allclose(value, value2, rtol=1e-5)
    largest = max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(grads))
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(grads2), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * largest)
