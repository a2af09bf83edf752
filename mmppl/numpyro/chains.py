"""Chains of a fitted program's posterior on NumPyro, compiled as one function."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.infer import HMC, MCMC, NUTS

from mmppl._backend.jax_arrays import to_jax
from mmppl.batch import Batch
from mmppl.errors import OptionError
from mmppl.numpyro import density
from mmppl.numpyro.bound import Recipe
from mmppl.numpyro.compiling import compiled, compiled_once, random_key
from mmppl.numpyro.kernels import HostKernel
from mmppl.numpyro.posterior import to_real
from mmppl.numpyro.primitives import as_batch
from mmppl.numpyro.rows import Padding, padding
from mmppl.numpyro.seeded import seeded
from mmppl.numpyro.threads import alone

__all__ = ["JOINT", "chains"]

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

# Chains take many steps: work is not small beside a compilation, so that few rows are added.
MANY = 4096

Draws = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


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
    row_seeds: Sequence[int] | None = None,
) -> Draws:
    """Latents and statistics of chains; see :meth:`mmppl.inference.host.Runtime.chains`."""
    made = kernel(fitted.model)
    ours = isinstance(made, HostKernel)
    if row_seeds is not None and not ours:
        raise OptionError("Expected one seed: a kernel of the host moves all data together. Take one of mmppl's.")
    pad = padding(fitted.model, len(batch), MANY) if ours else Padding(len(batch), 0)
    begin, batch = pad.latents(start), as_batch(pad.batch(batch))
    begin = _unconstrained(fitted.model, {n: to_jax(z) for n, z in begin.items()}, batch)
    if not ours:
        return _by_the_host(made, batch, begin, num_samples, num_warmup, jax.random.key(seed))
    # Draws that are a datum's own, whatever stands beside it, need keys that may be mapped over.
    key = random_key(seed) if row_seeds is None else jax.random.key(seed)
    own = None if row_seeds is None else to_jax(np.asarray(row_seeds, np.uint32))
    draws, stats = _run(fitted.model, Recipe(made), begin, batch, key, own, num_samples, num_warmup)
    parts = draws, {OURS[n]: x for n, x in stats.items()}
    latents, info = ({n: np.swapaxes(np.asarray(x), 0, 1) for n, x in part.items()} for part in parts)
    return (pad.cut(latents, 2), pad.cut(info, 2)) if pad.extra else (latents, info)


@compiled
def _run(
    model: Callable,
    recipe: Recipe,
    begin: dict,
    batch: Batch,
    key: jax.Array,
    row_seeds: jax.Array | None,
    num_samples: int,
    num_warmup: int,
) -> tuple[dict, dict]:
    """Latents, constrained, and fields of the state, ``(draws, chains, *)``."""
    # 1. The kernel learns the places of the latents from one run of the program, of which only shapes are computed.
    kernel, args = recipe.of(model), (batch,)
    kernel.row_seeds = row_seeds
    kernel.learn(handlers.trace(seeded(model, random_key(0))).get_trace(batch), num_warmup)
    # 2. Every chain is evaluated where it starts.
    number = len(next(iter(begin.values())))
    state = jax.vmap(lambda z, k: kernel.first(z, k, args, {}))(begin, jax.random.split(key, number))
    # 3. One loop warms up and draws, so that a step is compiled once; what warm-up writes is written over.
    collected = lambda state: (state.z, {name: getattr(state, name) for name in OURS})  # noqa: E731
    kept = jax.tree.map(lambda x: jnp.zeros((num_samples, *x.shape), x.dtype), collected(state))

    def body(i: jax.Array, carry: tuple) -> tuple:
        state, kept = carry
        state, at = kernel.sample(state, args, {}), jnp.maximum(i - num_warmup, 0)
        put = lambda all_, one: jax.lax.dynamic_update_index_in_dim(all_, one, at, 0)  # noqa: E731
        return state, jax.tree.map(put, kept, collected(state))

    _, (z, stats) = jax.lax.fori_loop(0, num_warmup + num_samples, body, (state, kept))
    # 4. Draws go to the support of their sites, which may depend on other latents of the draw.
    return jax.vmap(jax.vmap(lambda own: _constrained(model, own, batch)))(z), stats


def _constrained(model: Callable, z: dict, batch: Batch) -> dict:
    def value(site: dict) -> Any:
        own = site["type"] == "sample" and site["name"] in z
        return biject_to(site["fn"].support)(z[site["name"]]) if own else None

    sites = density.run(model, (batch,), {}, value)
    return {name: sites[name]["value"] for name in z}


@compiled_once
def _unconstrained(model: Any, hidden: dict, batch: Batch) -> dict:
    real = to_real(model, hidden, batch)
    return {n: real[n].inv(z) for n, z in hidden.items()}


def _by_the_host(kernel: Any, batch: Batch, begin: dict, num_samples: int, num_warmup: int, key: jax.Array) -> Draws:
    """As :func:`_run`, by NumPyro's MCMC, of a kernel of its own."""
    number = len(next(iter(begin.values())))
    sizes = {"num_warmup": num_warmup, "num_samples": num_samples, "num_chains": number}
    mcmc = MCMC(kernel, **sizes, chain_method="vectorized", progress_bar=False)
    names = THEIRS if isinstance(kernel, HMC) else {}
    one = begin if number > 1 else {n: z[0] for n, z in begin.items()}
    mcmc.run(key, batch, init_params=one, extra_fields=tuple(names))
    stats = {names[k]: np.asarray(v) for k, v in mcmc.get_extra_fields(group_by_chain=True).items()}
    if "lp" in stats:
        stats["lp"] = -stats["lp"]
    sites = mcmc.get_samples(group_by_chain=True)
    return {n: np.asarray(sites[n]) for n in begin}, stats
