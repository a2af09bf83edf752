"""The graph of a program on NumPyro: what the distribution of each site is computed from, with nothing computed."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from numpyro import handlers
from numpyro.distributions import MaskedDistribution
from numpyro.ops.provenance import eval_provenance

from mmppl.batch import Batch
from mmppl.graph import Node, nodes
from mmppl.nets.bound import another_run
from mmppl.numpyro.compiling import random_key
from mmppl.numpyro.primitives import as_batch
from mmppl.numpyro.seeded import seeded
from mmppl.numpyro.threads import alone
from mmppl.numpyro.tracing import AROUND, sites_of
from mmppl.sites import innermost

__all__ = ["graph"]


@alone.in_programs
def graph(model: Callable, batch: Batch) -> list[Node]:
    """Sites of a model, with their sizes and what each depends on; the model is traced, not run."""
    rows, found = as_batch(batch), []
    seed = seeded(model, random_key(0))

    def draw() -> dict:
        another_run()
        sites = handlers.trace(seed).get_trace(rows)
        return {n: s["value"] for n, s in sites.items() if s["type"] == "sample" and not s["is_observed"]}

    def distributions(**latents: jax.Array) -> dict:
        another_run()
        trace = handlers.trace(handlers.substitute(seed, data=latents)).get_trace(rows)
        own = {n: s["fn"] for n, s in trace.items() if s["type"] == "sample"}
        families = {n: type(innermost(fn, (*AROUND, MaskedDistribution))).__name__ for n, fn in own.items()}
        found.append((sites_of(trace), families))
        return {n: [x for x in jax.tree.leaves(fn) if isinstance(x, jax.Array)] for n, fn in own.items()}

    # Any values will do: what depends on what is read off the computation.
    latents = {n: jnp.zeros(x.shape, x.dtype) for n, x in jax.eval_shape(draw).items()}
    if latents:
        leaves = eval_provenance(distributions, **latents)
    else:
        leaves = dict.fromkeys(jax.eval_shape(distributions), ())
    parents = {name: frozenset().union(*each) for name, each in leaves.items()}
    return nodes(*found[0], parents, batch.modalities, len(batch))
