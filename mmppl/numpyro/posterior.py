"""Scoring, moving and sampling posteriors on NumPyro, for :mod:`mmppl.inference`."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import biject_to

from mmppl._backend.jax import BACKEND
from mmppl._backend.jax_arrays import to_jax
from mmppl.batch import Batch
from mmppl.errors import OptionError
from mmppl.inference.posterior.short_chains import refine_steps
from mmppl.inference.posterior.site_densities import site_densities
from mmppl.numpyro import density
from mmppl.numpyro.bound import Recipe
from mmppl.numpyro.compiling import compiled, compiled_once, random_key
from mmppl.numpyro.primitives import as_batch
from mmppl.numpyro.rows import padding
from mmppl.numpyro.threads import alone
from mmppl.numpyro.tracing import Runs

__all__ = [
    "Static",
    "guide_log_prob",
    "on_real_line",
    "outside",
    "log_densities",
    "refine",
    "scores",
    "to_real",
    "unconstrained",
]


class Static(eqx.Module):
    """Static argument of a jitted function: something that is no array."""

    value: Any = eqx.field(static=True)


@alone
def scores(model: Callable, hidden: Mapping, batch: Batch, prior: bool = True) -> tuple[dict[str, np.ndarray], Any]:
    """Log likelihood of each modality (0 where absent) and log prior of latents ``(K, N, *event)``: all ``(K, N)``.

    Without ``prior`` the second is None: that of a diffusion takes an integration. What lies outside the plate of the
    data is left out; see :func:`outside`.
    """
    pad = padding(model, len(batch), len(next(iter(hidden.values()))))
    log_lik, log_prior = _scores_jitted(model, pad.latents(hidden), as_batch(pad.batch(batch)), prior)
    wanted = None if log_prior is None else np.array(log_prior)[:, : len(batch)]
    return {name: np.array(value) for name, value in pad.cut(log_lik).items()}, wanted


def _scores(model: Callable, hidden: dict, batch: Batch, prior: bool = True) -> tuple[dict, Any]:
    names = batch.modalities
    found = site_densities(_runs(), model, hidden, batch, lambda site: prior or site.name in names).rows
    log_lik = {name: found[name] for name in names if name in found}
    return log_lik, sum(x for name, x in found.items() if name not in log_lik) if prior else None


def _runs() -> Runs:
    return Runs({}, random_key(0))


@compiled
def _scores_jitted(model: Any, hidden: dict, batch: Batch, prior: bool) -> tuple[dict, Any]:
    return _scores(model, hidden, batch, prior)


@alone
def guide_log_prob(guide: Callable, hidden: Mapping, batch: Batch) -> np.ndarray:
    """The guide's log density of latents ``(K, N, *event)`` in the plate of the data, ``(K, N)``."""
    pad = padding(guide, len(batch), len(next(iter(hidden.values()))))
    own = {n: to_jax(z) for n, z in pad.latents(hidden).items()}
    return np.array(_guide_log_prob(guide, own, as_batch(pad.batch(batch))))[:, : len(batch)]


@compiled
def _guide_log_prob(guide: Any, hidden: dict, batch: Batch) -> jax.Array:
    return sum(site_densities(_runs(), guide, hidden, batch, lambda site: True).rows.values())


@alone
def outside(model: Callable, guide: Callable, hidden: Mapping, batch: Batch) -> np.ndarray | None:
    """Log p - log q of what lies outside the plate of the data, ``(K,)``; None where nothing does."""
    own = {n: to_jax(z) for n, z in hidden.items()}
    found = _outside((model, guide), own, as_batch(batch))
    return None if found is None else np.array(found)


@compiled
def _outside(program: tuple, hidden: dict, batch: Batch) -> jax.Array | None:
    log_p, log_q = (site_densities(_runs(), fn, hidden, batch, lambda site: True).outside for fn in program)
    return sum(log_p.values()) - sum(log_q.values()) if log_p or log_q else None


@alone
def log_densities(model: Callable, hidden: Mapping, batch: Batch, gradients: bool) -> tuple[dict, dict]:
    """Log density ``(K, N)`` of each site at latents ``(K, N, *event)``, and whether its gradient is anywhere not 0."""
    pad = padding(model, len(batch), len(next(iter(hidden.values()))))
    own = {n: to_jax(z) for n, z in pad.latents(hidden).items()}
    values, reached = _log_densities(model, own, as_batch(pad.batch(batch)), gradients)
    return {n: np.array(v) for n, v in pad.cut(values).items()}, {n: bool(r) for n, r in reached.items()}


@compiled_once
def _log_densities(model: Any, hidden: dict, batch: Batch, gradients: bool) -> tuple[dict, dict]:
    def terms(z: dict) -> dict:
        sites = density.run(model, (batch,), {}, z)
        samples = {n: s for n, s in sites.items() if s["type"] == "sample"}
        return {n: _by_row(density.site_log_density(s), len(batch)) for n, s in samples.items()}

    values = jax.vmap(terms)(hidden)
    if not gradients:
        return values, {}
    total, back = jax.vjp(lambda z: {n: jnp.sum(v) for n, v in jax.vmap(terms)(z).items()}, hidden)
    reached = {}
    for name in total:
        (slope,) = back({n: jnp.ones_like(t) if n == name else jnp.zeros_like(t) for n, t in total.items()})
        reached[name] = jnp.any(jnp.stack([jnp.any(g != 0.0) for g in slope.values()]))
    return values, reached


def _by_row(log_prob: jax.Array, num: int) -> jax.Array:
    if not log_prob.ndim or log_prob.shape[-1] != num:
        return jnp.broadcast_to(jnp.sum(log_prob), (num,))
    return jnp.sum(log_prob, axis=tuple(range(log_prob.ndim - 1)))


@alone
def refine(model: Callable, hidden: Mapping, batch: Batch, kernel: Any, steps: int, seed: int) -> dict[str, jax.Array]:
    """Moves draws of the latents ``(K, N, *event)`` by steps of a kernel, every draw of every datum a chain."""
    own = {n: to_jax(z) for n, z in hidden.items()}
    return _refine(model, Static((Recipe(kernel), steps)), own, as_batch(batch), random_key(seed))


@compiled
def _refine(model: Any, how: Static, hidden: dict, batch: Batch, key: jax.Array) -> dict:
    recipe, steps = how.value
    kernel = recipe.kernel
    begin, back = _side_by_side(model, hidden, batch)

    def log_density(position: jax.Array) -> jax.Array:
        if position.ndim > 3:
            return jax.vmap(log_density)(position)
        z, jacobian = back(position)
        return _log_joint(model, z, jacobian, batch)

    def noise(state: Any) -> Any:
        return _noise(kernel, state, key, steps)

    return back(refine_steps(BACKEND, kernel, log_density, begin, steps, noise))[0]


@alone
def on_real_line(
    model: Callable,
    hidden: Mapping,
    batch: Batch,
    task: Callable,
    kernel: Any,
    steps: int,
    seed: int,
    arrays: Mapping[str, np.ndarray],
) -> Any:
    """A task on the log density of a model's latents on the real line, which has the noise of so many transitions."""
    own = {n: to_jax(z) for n, z in hidden.items()}
    like = jax.dtypes.canonicalize_dtype(float)
    given = {name: to_jax(x, like) for name, x in arrays.items()}
    how = Static((task, Recipe(kernel), steps))
    return jax.tree.map(np.array, _on_real_line(model, how, own, as_batch(batch), random_key(seed), given))


@compiled
def _on_real_line(model: Any, how: Static, hidden: dict, batch: Batch, key: jax.Array, arrays: dict) -> Any:
    task, recipe, steps = how.value
    kernel = recipe.kernel
    _, back = _side_by_side(model, hidden, batch)

    def log_target(position: jax.Array) -> jax.Array:
        z, jacobian = back(position)
        return _log_joint(model, z, jacobian, batch)

    return task(BACKEND, kernel, log_target, lambda state: _noise(kernel, state, key, steps), **arrays)


@alone
def unconstrained(model: Callable, hidden: Mapping, batch: Batch) -> np.ndarray:
    """Latents ``(K, N, *event)`` side by side on the real line, ``(K, N, D)``."""
    return np.array(_unconstrained_together(model, {n: to_jax(z) for n, z in hidden.items()}, as_batch(batch)))


@compiled_once
def _unconstrained_together(model: Any, hidden: dict, batch: Batch) -> jax.Array:
    return _side_by_side(model, hidden, batch)[0]


def _noise(kernel: Any, state: Any, key: jax.Array, steps: int) -> Any:
    return jax.vmap(lambda k: kernel.noise(BACKEND, k, state))(jax.random.split(key, steps))


def _log_joint(model: Callable, hidden: dict, jacobian: jax.Array, batch: Batch) -> jax.Array:
    log_lik, log_prior = _scores(model, hidden, batch)
    return sum(log_lik.values()) + log_prior + jacobian


def _side_by_side(model: Callable, hidden: Mapping, batch: Batch) -> tuple[jax.Array, Callable]:
    """Latents side by side on the real line, ``(K, N, D)``, and the way back: latents and the log Jacobian."""
    real = to_real(model, hidden, batch)
    free = {n: real[n].inv(z) for n, z in hidden.items()}

    def back(position: jax.Array) -> tuple[dict, jax.Array]:
        out, jacobian, begin = {}, jnp.zeros(position.shape[:2]), 0
        for name, u in free.items():
            end = begin + int(np.prod(u.shape[2:]))
            own = position[..., begin:end].reshape(*position.shape[:2], *u.shape[2:])
            out[name] = real[name](own)
            each = real[name].log_abs_det_jacobian(own, out[name])
            jacobian = jacobian + each.reshape(*position.shape[:2], -1).sum(-1)
            begin = end
        return out, jacobian

    return jnp.concatenate([u.reshape(*u.shape[:2], -1) for u in free.values()], -1), back


def to_real(model: Callable, hidden: Mapping, batch: Batch) -> dict[str, Any]:
    """The map from the real line to the support of each latent."""
    sites = density.run(model, (batch,), {}, {n: z[0] for n, z in hidden.items()})
    missing = [n for n in hidden if n not in sites]
    if missing:
        raise OptionError(f"Expected latents among {density.latent_sites(sites)}; got {missing}.")
    return {n: biject_to(sites[n]["fn"].support) for n in hidden}
