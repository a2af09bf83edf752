"""How programs of this face are trained and run, for :mod:`mmppl.inference`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from mmppl._backend.torch import BACKEND
from mmppl.batch import Batch
from mmppl.nets.spec import Spec
from mmppl.pyro.located import located
from mmppl.pyro.networks import evaluated
from mmppl.pyro.objectives import Evaluation
from mmppl.pyro.posterior import JOINT, chains, guide_log_prob, probe, refine, scores, seeded, sites_of
from mmppl.pyro.primitives import as_batch, build
from mmppl.pyro.trainer import Trainer
from mmppl.pyro.weights import bind

__all__ = [
    "JOINT",
    "NAME",
    "Trainer",
    "bind",
    "build_all",
    "chains",
    "dist",
    "factor",
    "find_prior",
    "guide_log_prob",
    "located",
    "log_weights",
    "param",
    "probe",
    "random",
    "refine",
    "sample",
    "scores",
    "simulate",
    "zeros",
]

NAME = "pyro"
sample, param, factor, scale = pyro.sample, pyro.param, pyro.factor, poutine.scale


def random() -> Any:
    """A random handle, inside a program."""
    return None


def zeros(*shape: int) -> torch.Tensor:
    """Zeros of a shape."""
    return torch.zeros(*shape)


def build_all(specs: Mapping[str, Spec], seed: int) -> dict[str, Any]:
    """Networks by name, each with initial weights of its own from the seed."""
    seeds = np.random.SeedSequence(seed).generate_state(len(specs))
    return {name: build(spec, int(s)) for (name, spec), s in zip(specs.items(), seeds, strict=True)}


def find_prior(model: Callable, batch: Batch) -> dict[str, Any]:
    """Latents of a model whose prior has a ``log_normalizer``, with the prior."""
    out = {}
    with seeded(0), torch.no_grad():
        sites = sites_of(poutine.trace(model).get_trace(as_batch(batch)))
    for name, site in sites.items():
        fn = site["fn"]
        while not hasattr(fn, "log_normalizer") and hasattr(fn, "base_dist"):
            fn = fn.base_dist
        if hasattr(fn, "log_normalizer"):
            out[name] = fn
    return out


def log_normalizer(prior: Any, seed: int) -> Any:
    """The prior's log Z, from a seed."""
    with seeded(seed), evaluated():
        return prior.log_normalizer()


def log_weights(model: Callable, guide: Callable, objective: Any, batch: Batch, seed: int) -> np.ndarray:
    """The objective's log importance weights of its first term, ``(K, N)``."""
    batch = as_batch(batch)
    with seeded(seed), torch.no_grad():
        return BACKEND.to_numpy(objective.log_weights(Evaluation(model, guide, batch), batch, None)[:, 0, :])


def latents(model: Callable, guide: Callable, batch: Batch, num: int, seed: int, prior_rows: np.ndarray) -> dict:
    """Draws of the latents, ``(num, N, *event)``: from the guide, or from the prior in ``prior_rows``."""
    batch = as_batch(batch)
    with seeded(seed), torch.no_grad():
        out, drawn = {}, {}
        if not prior_rows.all():
            with pyro.plate("_draws", num, dim=-2):
                out = _hidden(poutine.trace(guide).get_trace(batch))
        if prior_rows.any():
            with pyro.plate("_draws", num, dim=-2):
                drawn = _hidden(poutine.trace(model).get_trace(batch.only()))
    rows = torch.as_tensor(prior_rows)
    if not out or not drawn:
        return out or drawn
    return {n: torch.where(rows.reshape(rows.shape + (1,) * (z.ndim - 2)), drawn[n], z) for n, z in out.items()}


def decode(model: Callable, hidden: Mapping, batch: Batch, seed: int, mean: bool) -> dict[str, np.ndarray]:
    """Draws (or means) of every modality of the batch given latents ``(num, N, *event)``."""
    num = next(iter(hidden.values())).shape[0]
    given = poutine.Trace()
    for name, value in hidden.items():
        given.add_node(name, name=name, type="sample", value=torch.as_tensor(value), is_observed=False, infer={})
    with seeded(seed), torch.no_grad(), pyro.plate("_draws", num, dim=-2):
        free = poutine.uncondition(poutine.replay(model, trace=given))
        sites = sites_of(poutine.trace(free).get_trace(as_batch(batch)))
    names = batch.modalities
    return {n: BACKEND.to_numpy(_mean(sites[n]["fn"]) if mean else sites[n]["value"]) for n in names}


def _mean(fn: Any) -> torch.Tensor:
    # A zero-inflated distribution has a base too, but a mean of its own.
    while isinstance(fn, dist.Independent | dist.MaskedDistribution | dist.ExpandedDistribution):
        fn = fn.base_dist
    return fn.logits.argmax(-1) if isinstance(fn, dist.Categorical) else fn.mean


def simulate(model: Callable, guide: Callable, batch: Batch, num: int, seed: int, mean: bool, prior_rows: np.ndarray):
    """Draws of latents and of every modality: two dictionaries of ``(num, N, *event)``."""
    hidden = latents(model, guide, batch, num, seed, prior_rows)
    return {n: BACKEND.to_numpy(z) for n, z in hidden.items()}, decode(model, hidden, batch, seed + 1, mean)


def _hidden(trace: Any) -> dict:
    return {n: s["value"] for n, s in sites_of(trace).items() if not s["is_observed"]}
