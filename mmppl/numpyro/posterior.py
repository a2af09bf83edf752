"""Scoring, moving and sampling posteriors on NumPyro, for :mod:`mmppl.inference`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import biject_to
from numpyro.infer import HMC, MCMC, NUTS

from mmppl._backend.jax import BACKEND
from mmppl.batch import Batch
from mmppl.errors import OptionError
from mmppl.inference.posterior.short_chains import refine_steps
from mmppl.inference.posterior.site_densities import site_densities
from mmppl.numpyro import density
from mmppl.numpyro.kernels import HostKernel
from mmppl.numpyro.primitives import as_batch
from mmppl.numpyro.threads import alone
from mmppl.numpyro.tracing import Runs

__all__ = [
    "JOINT",
    "Static",
    "chains",
    "guide_log_prob",
    "on_real_line",
    "outside",
    "probe",
    "refine",
    "scores",
    "unconstrained",
]

JOINT: dict[str, Any] = {"nuts": NUTS, "joint_hmc": HMC}
# Fields of a kernel's state, and ArviZ's names for them.
OURS = {
    "log_density": "lp",
    "accept_prob": "acceptance_rate",
    "step_size": "step_size",
    "energy": "energy",
    "diverging": "diverging",
}
THEIRS = {
    "potential_energy": "lp",
    "accept_prob": "acceptance_rate",
    "adapt_state.step_size": "step_size",
    "energy": "energy",
    "diverging": "diverging",
    "num_steps": "n_steps",
}


class Static(eqx.Module):
    """Static argument of a jitted function: something that is no array."""

    value: Any = eqx.field(static=True)


@alone
def scores(model: Callable, hidden: Mapping, batch: Batch, prior: bool = True) -> tuple[dict[str, np.ndarray], Any]:
    """Log likelihood of each modality (0 where absent) and log prior of latents ``(K, N, *event)``: all ``(K, N)``.

    Without ``prior`` the second is None: that of a diffusion takes an integration. What lies outside the plate of the
    data is left out; see :func:`outside`.
    """
    log_lik, log_prior = _scores_jitted(model, dict(hidden), as_batch(batch), prior)
    wanted = None if log_prior is None else np.array(log_prior)
    return {name: np.array(value) for name, value in log_lik.items()}, wanted


def _scores(model: Callable, hidden: dict, batch: Batch, prior: bool = True) -> tuple[dict, Any]:
    names = batch.modalities
    found = site_densities(_runs(), model, hidden, batch, lambda site: prior or site.name in names).rows
    log_lik = {name: found[name] for name in names if name in found}
    return log_lik, sum(x for name, x in found.items() if name not in log_lik) if prior else None


def _runs() -> Runs:
    return Runs({}, jax.random.key(0))


@eqx.filter_jit
def _scores_jitted(model: Any, hidden: dict, batch: Batch, prior: bool) -> tuple[dict, Any]:
    return _scores(model, hidden, batch, prior)


@alone
def guide_log_prob(guide: Callable, hidden: Mapping, batch: Batch) -> np.ndarray:
    """The guide's log density of latents ``(K, N, *event)`` in the plate of the data, ``(K, N)``."""
    return np.array(_guide_log_prob(guide, {n: jnp.asarray(z) for n, z in hidden.items()}, as_batch(batch)))


@eqx.filter_jit
def _guide_log_prob(guide: Any, hidden: dict, batch: Batch) -> jax.Array:
    return sum(site_densities(_runs(), guide, hidden, batch, lambda site: True).rows.values())


@alone
def outside(model: Callable, guide: Callable, hidden: Mapping, batch: Batch) -> np.ndarray | None:
    """Log p - log q of what lies outside the plate of the data, ``(K,)``; None where nothing does."""
    own = {n: jnp.asarray(z) for n, z in hidden.items()}
    found = _outside((model, guide), own, as_batch(batch))
    return None if found is None else np.array(found)


@eqx.filter_jit
def _outside(program: tuple, hidden: dict, batch: Batch) -> jax.Array | None:
    log_p, log_q = (site_densities(_runs(), fn, hidden, batch, lambda site: True).outside for fn in program)
    return sum(log_p.values()) - sum(log_q.values()) if log_p or log_q else None


@alone
def probe(model: Callable, hidden: Mapping, batch: Batch, gradients: bool) -> tuple[dict, dict]:
    """Log density ``(K, N)`` of each site at latents ``(K, N, *event)``, and whether its gradient is anywhere not 0."""
    own = {n: jnp.asarray(z) for n, z in hidden.items()}
    values, reached = _probe(model, own, as_batch(batch), gradients)
    return {n: np.array(v) for n, v in values.items()}, {n: bool(r) for n, r in reached.items()}


@eqx.filter_jit
def _probe(model: Any, hidden: dict, batch: Batch, gradients: bool) -> tuple[dict, dict]:
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
    own = {n: jnp.asarray(z) for n, z in hidden.items()}
    return _refine(model, Static((kernel, steps)), own, as_batch(batch), jax.random.key(seed))


@eqx.filter_jit
def _refine(model: Any, how: Static, hidden: dict, batch: Batch, key: jax.Array) -> dict:
    kernel, steps = how.value
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
    own = {n: jnp.asarray(z) for n, z in hidden.items()}
    like = jax.dtypes.canonicalize_dtype(float)
    given = {name: jnp.asarray(x, like) for name, x in arrays.items()}
    how = Static((task, kernel, steps))
    return jax.tree.map(np.array, _on_real_line(model, how, own, as_batch(batch), jax.random.key(seed), given))


@eqx.filter_jit
def _on_real_line(model: Any, how: Static, hidden: dict, batch: Batch, key: jax.Array, arrays: dict) -> Any:
    task, kernel, steps = how.value
    _, back = _side_by_side(model, hidden, batch)

    def log_target(position: jax.Array) -> jax.Array:
        z, jacobian = back(position)
        return _log_joint(model, z, jacobian, batch)

    return task(BACKEND, kernel, log_target, lambda state: _noise(kernel, state, key, steps), **arrays)


@alone
def unconstrained(model: Callable, hidden: Mapping, batch: Batch) -> np.ndarray:
    """Latents ``(K, N, *event)`` side by side on the real line, ``(K, N, D)``."""
    return np.array(_unconstrained_together(model, {n: jnp.asarray(z) for n, z in hidden.items()}, as_batch(batch)))


@eqx.filter_jit
def _unconstrained_together(model: Any, hidden: dict, batch: Batch) -> jax.Array:
    return _side_by_side(model, hidden, batch)[0]


def _noise(kernel: Any, state: Any, key: jax.Array, steps: int) -> Any:
    return jax.vmap(lambda k: kernel.noise(BACKEND, k, state))(jax.random.split(key, steps))


def _log_joint(model: Callable, hidden: dict, jacobian: jax.Array, batch: Batch) -> jax.Array:
    log_lik, log_prior = _scores(model, hidden, batch)
    return sum(log_lik.values()) + log_prior + jacobian


def _side_by_side(model: Callable, hidden: Mapping, batch: Batch) -> tuple[jax.Array, Callable]:
    """Latents side by side on the real line, ``(K, N, D)``, and the way back: latents and the log Jacobian."""
    to_real = _to_real(model, hidden, batch)
    free = {n: to_real[n].inv(z) for n, z in hidden.items()}

    def back(position: jax.Array) -> tuple[dict, jax.Array]:
        out, jacobian, begin = {}, jnp.zeros(position.shape[:2]), 0
        for name, u in free.items():
            end = begin + int(np.prod(u.shape[2:]))
            own = position[..., begin:end].reshape(*position.shape[:2], *u.shape[2:])
            out[name] = to_real[name](own)
            each = to_real[name].log_abs_det_jacobian(own, out[name])
            jacobian = jacobian + each.reshape(*position.shape[:2], -1).sum(-1)
            begin = end
        return out, jacobian

    return jnp.concatenate([u.reshape(*u.shape[:2], -1) for u in free.values()], -1), back


def _to_real(model: Callable, hidden: Mapping, batch: Batch) -> dict[str, Any]:
    """The map from the real line to the support of each latent."""
    sites = density.run(model, (batch,), {}, {n: z[0] for n, z in hidden.items()})
    missing = [n for n in hidden if n not in sites]
    if missing:
        raise OptionError(f"Expected latents among {density.latent_sites(sites)}; got {missing}.")
    return {n: biject_to(sites[n]["fn"].support) for n in hidden}


@eqx.filter_jit
def _unconstrained(model: Any, hidden: dict, batch: Batch) -> dict:
    to_real = _to_real(model, hidden, batch)
    return {n: to_real[n].inv(z) for n, z in hidden.items()}


@alone
def chains(
    fitted: Any,
    batch: Batch,
    kernel: Callable[[Callable], Any],
    start: Mapping[str, np.ndarray],
    *,
    num_samples: int,
    num_warmup: int,
    seed: int,
    rows: Sequence[int] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Runs a kernel by NumPyro's MCMC: latents and statistics by ArviZ's names, ``(chains, draws, *)``.

    Arguments:
        fitted: The program and its weights.
        batch: The data.
        kernel: Makes the kernel for a model.
        start: Where the chains begin, constrained, ``(chains, N, *event)``.
        num_samples: Draws of each chain.
        num_warmup: Warm-up steps.
        seed: Random seed.
        rows: A seed for each datum, in place of the one.
    """
    made, batch = kernel(fitted.model), as_batch(batch)
    ours = isinstance(made, HostKernel)
    if rows is not None:
        if not ours:
            raise OptionError("Expected one seed: a kernel of the host moves all data together. Take one of mmppl's.")
        made.row_seeds = jnp.asarray(np.asarray(rows, np.uint32))
    begin = _unconstrained(fitted.model, {n: jnp.asarray(z) for n, z in start.items()}, batch)
    number = len(next(iter(begin.values())))
    mcmc = MCMC(
        made,
        num_warmup=num_warmup,
        num_samples=num_samples,
        num_chains=number,
        chain_method="vectorized",
        progress_bar=False,
    )
    names = OURS if ours else THEIRS if isinstance(made, HMC) else {}
    begin = begin if number > 1 else {n: z[0] for n, z in begin.items()}
    mcmc.run(jax.random.key(seed), batch, init_params=begin, extra_fields=tuple(names))
    stats = {names[k]: np.asarray(v) for k, v in mcmc.get_extra_fields(group_by_chain=True).items()}
    if not ours and "lp" in stats:
        stats["lp"] = -stats["lp"]
    sites = mcmc.get_samples(group_by_chain=True)
    return {n: np.asarray(sites[n]) for n in start}, stats
