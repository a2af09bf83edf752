"""The graph of a program on Pyro: what the density of each site is computed from, in one run."""

from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import MaskedDistribution
from pyro.infer.inspect import TrackProvenance
from pyro.ops.provenance import detach_provenance, get_provenance

from mmppl.batch import Batch
from mmppl.graph import Node, nodes
from mmppl.nets.bound import another_run
from mmppl.pyro.networks import evaluated
from mmppl.pyro.posterior import seeded
from mmppl.pyro.primitives import as_batch
from mmppl.pyro.threads import alone
from mmppl.pyro.tracing import AROUND, sample_sites, sites_of
from mmppl.pyro.unsampled import Unsampled
from mmppl.sites import innermost

__all__ = ["graph"]


@alone.in_programs
def graph(model: Callable, batch: Batch) -> list[Node]:
    """Sites of a model, with their sizes and what each depends on; no chain or solver of a prior is run."""
    rows = as_batch(batch)
    another_run()
    with seeded(0), torch.no_grad(), evaluated(restore_buffers=True), TrackProvenance(), Unsampled():
        trace = poutine.trace(model).get_trace(rows)
        found = sample_sites(trace)
        parents = {name: _parents(node) for name, node in found.items()}
    families = {n: type(innermost(node["fn"], (*AROUND, MaskedDistribution))).__name__ for n, node in found.items()}
    return nodes(sites_of(trace), families, parents, batch.modalities, len(batch))


def _parents(node: dict) -> frozenset:
    """The sites that a density depends on; that of a learned prior, which may be an integration, is not asked for."""
    fn: Any = innermost(node["fn"], (*AROUND, MaskedDistribution))
    if hasattr(fn, "stand_in"):
        return frozenset()
    return get_provenance(node["fn"].log_prob(detach_provenance(node["value"])))
