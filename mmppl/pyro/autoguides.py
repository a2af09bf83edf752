"""Pyro's automatic guides: which of them answer for any rows, and which cannot."""

from collections.abc import Callable, Iterator

import pyro
import torch
from pyro.infer.autoguide import AutoCallable, AutoGuide, AutoGuideList, AutoLaplaceApproximation
from pyro.poutine.guide import GuideMessenger

from mmppl.batch import Batch
from mmppl.inference.posterior.site_densities import refuse_laplace, refuse_rows
from mmppl.pyro.posterior import seeded
from mmppl.pyro.tracing import Runs
from mmppl.pyro.unsampled import Unsampled

__all__ = ["check_amortized"]


def check_amortized(guide: Callable, batch: Batch) -> None:
    """Refuses an automatic guide with latents in the plate of the data, and that of Laplace."""
    for part in _parts(guide):
        if isinstance(part, AutoLaplaceApproximation):
            refuse_laplace(part)
        if getattr(part, "amortized_plates", ()):
            continue  # one set of parameters for all rows
        with pyro.get_param_store().scope(), seeded(0), torch.no_grad(), Unsampled():
            refuse_rows(part, Runs(batch).run(part.model, batch), batch)


def _parts(guide: Callable) -> Iterator[AutoGuide | GuideMessenger]:
    if isinstance(guide, AutoGuideList):
        for part in guide:
            yield from _parts(part)
    elif isinstance(guide, AutoGuide | GuideMessenger) and not isinstance(guide, AutoCallable):
        yield guide
