"""Training and running programs on Pyro, for :mod:`mmppl.inference`."""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from mmppl._backend.torch import BACKEND
from mmppl.batch import Batch
from mmppl.inference.objectives.evaluation import Evaluation
from mmppl.inference.posterior.site_densities import Places
from mmppl.inference.posterior.site_densities import places as find_places
from mmppl.likelihoods.decoded import likelihood as decoded
from mmppl.modality import Modality
from mmppl.nets.init import check_size
from mmppl.nets.spec import Spec
from mmppl.pyro.discretized import DiscretizedLogistic
from mmppl.pyro.graph import graph
from mmppl.pyro.loc_scale import loc_scale
from mmppl.pyro.low_rank import LowRankNormal
from mmppl.pyro.networks import evaluated
from mmppl.pyro.padded import PaddedCategorical
from mmppl.pyro.posterior import (
    JOINT,
    chains,
    guide_log_prob,
    log_densities,
    on_real_line,
    outside,
    refine,
    scores,
    seeded,
    unconstrained,
)
from mmppl.pyro.primitives import as_batch, build, check_numbers
from mmppl.pyro.processes import processes
from mmppl.pyro.tasks import on_devices
from mmppl.pyro.threads import alone, gradients
from mmppl.pyro.tracing import Runs, given, sample_sites
from mmppl.pyro.trainer import Trainer
from mmppl.pyro.unsampled import Unsampled
from mmppl.pyro.weights import bind

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

NAME, TRAINS_IN_PLACE = "pyro", True
sample, param, factor, scale = pyro.sample, pyro.param, pyro.factor, poutine.scale


def fitting() -> AbstractContextManager[None]:
    """A context for a fit: gradients as torch has them by default."""
    return gradients()


def random() -> Any:
    """A random handle, inside a program."""
    return None


def zeros(*shape: int) -> torch.Tensor:
    """Zeros of a shape."""
    return torch.zeros(*shape)


def masked_mixture(mask: torch.Tensor, other: Any, own: Any) -> Any:
    """The distribution of each row by a mask ``(N,)``: ``own`` where it is true, ``other`` where it is not."""
    return dist.MaskedMixture(mask, other, own)


def likelihood(modality: Modality, output: Any) -> Any:
    """The likelihood p(x | z) of a modality, as an event of its shape; formulas are the modality's.

    Arguments:
        modality: The modality.
        output: What its decoder, such as :func:`mmppl.nets.decoder`, returns: an array ``(*, N, *event)``, or a pair
            of it and a scale.

    Example:
        >>> likelihood(Modality((2,), scale=0.5), zeros(3, 2)).event_shape
        torch.Size([2])
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
    out = {}
    with seeded(0), torch.no_grad(), Unsampled():
        sites = sample_sites(poutine.trace(model).get_trace(as_batch(batch)))
    for name, site in sites.items():
        fn = site["fn"]
        while not hasattr(fn, "log_normalizer") and hasattr(fn, "base_dist"):
            fn = fn.base_dist
        if hasattr(fn, "log_normalizer"):
            out[name] = fn
    return out


@alone
def log_normalizer(prior: Any, seed: int) -> Any:
    """The prior's log Z, from a seed."""
    with seeded(seed), evaluated():
        return prior.log_normalizer()


@alone
def chain_bias(prior: Any, seed: int) -> Any:
    """Bias of the prior's short-run chains, from a seed."""
    with seeded(seed), evaluated():
        return prior.chain_bias()


@alone
def log_weights(model: Callable, guide: Callable, objective: Any, batch: Batch, seed: int) -> np.ndarray:
    """The objective's log importance weights of its first term, ``(K, N)``."""
    batch = as_batch(batch)
    with seeded(seed), torch.no_grad():
        run = Evaluation(Runs(batch), model, guide, batch, objective.scored(batch))
        return BACKEND.to_numpy(objective.log_weights(run, batch, None)[:, 0, :])


@alone
def latents(model: Callable, guide: Callable, batch: Batch, num: int, seed: int, prior_rows: np.ndarray) -> dict:
    """Draws of the latents, ``(num, N, *event)``: from the guide, or from the prior in ``prior_rows``."""
    batch = as_batch(batch)
    nothing = batch.only()
    where = places(model, nothing)
    with seeded(seed), torch.no_grad():
        out, drawn = {}, {}
        if not prior_rows.all():
            simple = where.simple and _at_once(guide, batch)
            out = _each_draw(guide, batch, num, {}, simple, _hidden)
        if prior_rows.any():
            # What all rows share is the guide's where a row is given, and then the others follow it.
            shared = {n: out[n] for n in where.outside if n in out}
            simple = where.simple and _at_once(model, nothing)
            drawn = _each_draw(model, nothing, num, shared, simple, _hidden)
    if not out or not drawn:
        return out or drawn
    rows = torch.as_tensor(prior_rows)
    local = {n: z for n, z in out.items() if n in where.rows}
    return out | {n: torch.where(_at_axis(rows, where.rows[n] + 1, z.ndim), drawn[n], z) for n, z in local.items()}


def _at_axis(rows: torch.Tensor, axis: int, ndim: int) -> torch.Tensor:
    """``(N,)`` as an array of so many axes, N at one of them."""
    return rows.reshape((1,) * axis + rows.shape + (1,) * (ndim - axis - 1))


def _at_once(program: Callable, batch: Batch) -> bool:
    """Tells whether draws can have an axis, by two draws; those of a sampled prior are any value about its own."""
    with torch.random.fork_rng(), Unsampled():
        both = [sample_sites(poutine.trace(program).get_trace(batch)) for _ in range(2)]
    draws = [{n: _moved(s) for n, s in sites.items() if not s["is_observed"]} for sites in both]
    return Runs(batch).at_once(program, batch, (draws[0], draws[1]))


def _moved(site: dict) -> torch.Tensor:
    support, value = site["fn"].support, site["value"]
    while isinstance(support, dist.constraints.independent):
        support = support.base_constraint
    return value + torch.randn_like(value) if support is dist.constraints.real else value


def _each_draw(
    program: Callable, batch: Batch, num: int, values: Mapping, simple: bool, read: Callable[[dict], dict]
) -> dict:
    """Reads the sites of ``num`` runs, stacked: of one run for all where draws can have an axis."""

    def run(own: Mapping) -> dict:
        return read(sample_sites(poutine.trace(given(program, own)).get_trace(batch)))

    if simple:
        with pyro.plate("_draws", num, dim=-2):
            return run(values)
    every = [run({n: z[k] for n, z in values.items()}) for k in range(num)]
    return {n: torch.stack([one[n] for one in every]) for n in every[0]}


def _hidden(sites: dict) -> dict:
    return {n: s["value"] for n, s in sites.items() if not s["is_observed"]}


@alone.in_programs
def places(model: Callable, batch: Batch) -> Places:
    """Places of the latents of a model."""
    batch = as_batch(batch)
    with seeded(0), torch.no_grad(), Unsampled():
        return find_places(Runs(batch).run(model, batch), batch)


@alone
def decode(model: Callable, hidden: Mapping, batch: Batch, seed: int, mean: bool) -> dict[str, np.ndarray]:
    """Draws (or means) of every modality of the batch given latents ``(num, N, *event)``."""
    values = {n: torch.as_tensor(z) for n, z in hidden.items()}
    num, rows, names = next(iter(values.values())).shape[0], as_batch(batch), batch.modalities

    def read(sites: dict) -> dict:
        return {n: _mean(sites[n]["fn"]) if mean else sites[n]["value"] for n in names}

    ends = tuple({n: z[i] for n, z in values.items()} for i in (0, -1))
    with seeded(seed), torch.no_grad():
        simple = places(model, rows).simple and Runs(rows).at_once(model, rows, ends)
        made = _each_draw(poutine.uncondition(model), rows, num, values, simple, read)
    return {n: BACKEND.to_numpy(x) for n, x in made.items()}


def _mean(fn: Any) -> torch.Tensor:
    # A zero-inflated distribution has a base too, but a mean of its own.
    while isinstance(fn, dist.Independent | dist.MaskedDistribution | dist.ExpandedDistribution):
        fn = fn.base_dist
    return fn.logits.argmax(-1) if isinstance(fn, dist.Categorical) else fn.mean


@alone
def simulate(model: Callable, guide: Callable, batch: Batch, num: int, seed: int, mean: bool, prior_rows: np.ndarray):
    """Draws of latents and of every modality: two dictionaries of ``(num, N, *event)``."""
    hidden = latents(model, guide, batch, num, seed, prior_rows)
    return {n: BACKEND.to_numpy(z) for n, z in hidden.items()}, decode(model, hidden, batch, seed + 1, mean)
