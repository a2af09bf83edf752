"""Training and running programs on NumPyro, for :mod:`mmppl.inference`."""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import handlers

from mmppl.batch import Batch
from mmppl.inference.objectives.evaluation import Evaluation
from mmppl.inference.posterior.site_densities import Places
from mmppl.inference.posterior.site_densities import places as find_places
from mmppl.likelihoods.decoded import likelihood as decoded
from mmppl.modality import Modality
from mmppl.nets.init import check_size
from mmppl.nets.spec import Spec
from mmppl.numpyro.chains import JOINT, chains
from mmppl.numpyro.compiling import compiled, random_key
from mmppl.numpyro.devices import Devices, on_devices
from mmppl.numpyro.discretized import DiscretizedLogistic
from mmppl.numpyro.graph import graph
from mmppl.numpyro.low_rank import LowRankNormal
from mmppl.numpyro.padded import PaddedCategorical
from mmppl.numpyro.posterior import (
    Static,
    guide_log_prob,
    log_densities,
    on_real_line,
    outside,
    refine,
    scores,
    unconstrained,
)
from mmppl.numpyro.primitives import as_batch, build, check_numbers
from mmppl.numpyro.rows import padding
from mmppl.numpyro.seeded import program_key, seeded, unobserved
from mmppl.numpyro.threads import alone
from mmppl.numpyro.tracing import Runs
from mmppl.numpyro.trainer import Trainer
from mmppl.numpyro.weights import bind

__all__ = [
    "DiscretizedLogistic",
    "LowRankNormal",
    "JOINT",
    "NAME",
    "PaddedCategorical",
    "TRAINS_IN_PLACE",
    "Trainer",
    "bind",
    "build_all",
    "chains",
    "check_numbers",
    "dist",
    "factor",
    "find_prior",
    "fitting",
    "graph",
    "guide_log_prob",
    "likelihood",
    "loc_scale",
    "masked_mixture",
    "log_weights",
    "on_devices",
    "on_real_line",
    "outside",
    "param",
    "places",
    "processes",
    "log_densities",
    "random",
    "refine",
    "sample",
    "scores",
    "simulate",
    "unconstrained",
    "zeros",
]

NAME, TRAINS_IN_PLACE = "numpyro", False
sample, param, factor, scale = numpyro.sample, numpyro.param, numpyro.factor, handlers.scale


def fitting() -> AbstractContextManager[None]:
    """A context for a fit; JAX has no settings of gradients."""
    return nullcontext()


def processes(number: int) -> AbstractContextManager[int]:
    """The place of this process among those that ``jax.distributed`` has joined; 0 where it is alone.

    Raises:
        OptionError: If JAX has fewer devices.
    """
    Devices(number)
    return nullcontext(jax.process_index())


def random() -> Any:
    """A random handle, inside a program."""
    return program_key()


def zeros(*shape: int) -> jax.Array:
    """Zeros of a shape."""
    return jnp.zeros(shape)


def loc_scale(family: str, loc: jax.Array, scale: float | jax.Array) -> Any:
    """A ``"normal"`` or ``"laplace"`` distribution by location and scale."""
    return {"normal": dist.Normal, "laplace": dist.Laplace}[family](loc, scale)


def masked_mixture(mask: jax.Array, other: Any, own: Any) -> Any:
    """The distribution of each row by a mask ``(N,)``: ``own`` where it is true, ``other`` where it is not."""
    chosen = dist.Categorical(probs=jnp.stack([~mask, mask], axis=-1).astype(jnp.result_type(float)))
    return dist.MixtureGeneral(chosen, [other, own], support=own.support)


def likelihood(modality: Modality, output: Any) -> Any:
    """The likelihood p(x | z) of a modality, as an event of its shape; formulas are the modality's.

    Arguments:
        modality: The modality.
        output: What its decoder, such as :func:`mmppl.nets.decoder`, returns: an array ``(*, N, *event)``, or a pair
            of it and a scale.

    Example:
        >>> likelihood(Modality((2,), scale=0.5), zeros(3, 2)).event_shape
        (2,)
    """
    return decoded(sys.modules[__name__], modality, output)


@alone.in_programs
def build_all(specs: Mapping[str, Spec], seed: int) -> dict[str, Any]:
    """Networks by name, each with initial weights of its own from the seed."""
    check_size(specs)
    seeds = np.random.SeedSequence(seed).generate_state(len(specs))
    return {name: build(spec, int(s)) for (name, spec), s in zip(specs.items(), seeds, strict=True)}


@alone
def find_prior(model: Callable, batch: Batch) -> dict[str, Any]:
    """Latents of a model whose prior has a ``log_normalizer``, with the prior."""
    return _find_prior(model, as_batch(batch))


@compiled
def _find_prior(model: Callable, batch: Batch) -> dict[str, Any]:
    sites = handlers.trace(seeded(model, random_key(0))).get_trace(batch)
    out = {}
    for name, site in sites.items():
        fn = site.get("fn")
        while fn is not None and not hasattr(fn, "log_normalizer") and hasattr(fn, "base_dist"):
            fn = fn.base_dist
        if hasattr(fn, "log_normalizer"):
            out[name] = fn
    return out


@alone
def log_normalizer(prior: Any, seed: int) -> Any:
    """The prior's log Z, from a seed."""
    return prior.log_normalizer(random_key(seed))


@alone
def chain_bias(prior: Any, seed: int) -> Any:
    """Bias of the prior's short-run chains, from a seed."""
    return prior.chain_bias(random_key(seed))


@alone
def log_weights(model: Callable, guide: Callable, objective: Any, batch: Batch, seed: int) -> np.ndarray:
    """The objective's log importance weights of its first term, ``(K, N)``."""
    pad = padding(model, len(batch), objective.particles)
    found = _log_weights((model, guide), Static(objective), as_batch(pad.batch(batch)), random_key(seed))
    return np.array(found)[:, : len(batch)] if pad.extra else np.array(found)


@compiled
def _log_weights(program: tuple, objective: Static, batch: Batch, key: jax.Array) -> jax.Array:
    model, guide = program
    first, second = jax.random.split(key)
    run = Evaluation(Runs({}, first), model, guide, batch, objective.value.scored(batch))
    return objective.value.log_weights(run, batch, second)[:, 0, :]


@alone
def latents(model: Callable, guide: Callable, batch: Batch, num: int, seed: int, prior_rows: np.ndarray) -> dict:
    """Draws of the latents, ``(num, N, *event)``: from the guide, or from the prior in ``prior_rows``."""
    pad = padding(model, len(batch), num)
    source = "guide" if not prior_rows.any() else "prior" if prior_rows.all() else "both"
    rows = jnp.asarray(pad.rows(prior_rows)) if source == "both" else None
    return pad.cut(_latents((model, guide), as_batch(pad.batch(batch)), num, random_key(seed), source, rows))


@compiled
def _latents(program: tuple, batch: Batch, num: int, key: jax.Array, source: str, prior_rows: jax.Array | None) -> dict:
    """Draws from the ``"guide"``, the ``"prior"``, or ``"both"``: then from the prior in ``prior_rows``, ``(N,)``."""
    model, guide = program
    first, second = jax.random.split(key)
    out: dict = {}
    if source != "prior":
        draw = jax.vmap(lambda k: _hidden(handlers.trace(seeded(guide, k)).get_trace(batch)))
        out = draw(jax.random.split(first, num))
    if source == "guide":
        return out
    nothing = batch.only()
    where = _places(model, nothing)
    if where.simple:
        with numpyro.plate("_draws", num, dim=-2):
            drawn = _hidden(handlers.trace(seeded(model, second)).get_trace(nothing))
    else:
        # What all rows share is the guide's where a row is given, and then the others follow it.
        def one(k: jax.Array, values: dict) -> dict:
            followed = handlers.substitute(seeded(model, k), data=values)
            return _hidden(handlers.trace(followed).get_trace(nothing))

        drawn = jax.vmap(one)(jax.random.split(second, num), {n: out[n] for n in where.outside if n in out})
    if prior_rows is None:
        return drawn
    local = {n: z for n, z in out.items() if n in where.rows}
    return out | {n: jnp.where(_at_axis(prior_rows, where.rows[n] + 1, z.ndim), drawn[n], z) for n, z in local.items()}


def _at_axis(rows: jax.Array, axis: int, ndim: int) -> jax.Array:
    """``(N,)`` as an array of so many axes, N at one of them."""
    return rows.reshape((1,) * axis + rows.shape + (1,) * (ndim - axis - 1))


@alone.in_programs
def places(model: Callable, batch: Batch) -> Places:
    """Places of the latents of a model."""
    found: list[Places] = []
    jax.eval_shape(lambda: found.append(_places(model, as_batch(batch))))
    return found[0]


def _places(model: Callable, batch: Batch) -> Places:
    runs = Runs({}, random_key(0))
    sites = runs.run(model, batch, rng=random_key(0))
    found, own = find_places(sites, batch), {n: site.value for n, site in sites.items() if not site.observed}
    return found._replace(simple=found.simple and runs.at_once(model, batch, (own, own)))


def _hidden(sites: Mapping) -> dict:
    return {n: s["value"] for n, s in sites.items() if s["type"] == "sample" and not s["is_observed"]}


@alone
def decode(model: Callable, hidden: Mapping, batch: Batch, seed: int, mean: bool) -> dict[str, np.ndarray]:
    """Draws (or means) of every modality of the batch given latents ``(num, N, *event)``."""
    pad = padding(model, len(batch), len(next(iter(hidden.values()))))
    draws = _decode(model, pad.latents(hidden), as_batch(pad.batch(batch)), random_key(seed), mean)
    return {name: np.array(value) for name, value in pad.cut(draws).items()}


@compiled
def _decode(model: Any, hidden: dict, batch: Batch, key: jax.Array, mean: bool) -> dict:
    num = next(iter(hidden.values())).shape[0]

    def one(values: dict, k: jax.Array) -> dict:
        free = handlers.substitute(seeded(unobserved(model), k), data=values)
        sites = handlers.trace(free).get_trace(batch)
        return {n: _mean(sites[n]["fn"]) if mean else sites[n]["value"] for n in batch.modalities}

    return jax.vmap(one)(hidden, jax.random.split(key, num))


def _mean(fn: Any) -> jax.Array:
    # A zero-inflated distribution has a base too, but a mean of its own.
    while isinstance(fn, dist.Independent | dist.MaskedDistribution | dist.ExpandedDistribution):
        fn = fn.base_dist
    return jnp.argmax(fn.logits, -1) if isinstance(fn, dist.CategoricalLogits) else fn.mean


@alone
def simulate(model: Callable, guide: Callable, batch: Batch, num: int, seed: int, mean: bool, prior_rows: np.ndarray):
    """Draws of latents and of every modality: two dictionaries of ``(num, N, *event)``."""
    hidden = latents(model, guide, batch, num, seed, prior_rows)
    return {n: np.array(z) for n, z in hidden.items()}, decode(model, hidden, batch, seed + 1, mean)
