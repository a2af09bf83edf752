"""Objectives as Pyro ELBO classes: ``SVI(model, guide, optim, mm.MoPoE(particles=8))``."""

from typing import Any

import torch
from pyro.infer import elbo as host_elbo
from pyro.infer.enum import get_importance_trace

from mmppl.batch import Batch
from mmppl.inference import objectives as shared
from mmppl.inference.objectives import leave_one_out
from mmppl.inference.objectives.evaluation import Evaluation
from mmppl.nets.bound import evaluated_once
from mmppl.pyro.primitives import as_batch
from mmppl.pyro.threads import alone
from mmppl.pyro.tracing import Runs

__all__ = ["ELBO", "JMVAE", "MMJSD", "MMVAE", "MMVAEPlus", "MVAE", "MVTCAE", "MoPoE", "Masked", "Refined"]


class HostObjective(host_elbo.ELBO):
    """Joins an objective to Pyro's ELBO interface. ``record`` holds the terms of the last step."""

    record: dict | None = None

    def _get_trace(self, model: Any, guide: Any, args: tuple, kwargs: dict) -> tuple:
        return get_importance_trace("flat", self.max_plate_nesting, model, guide, args, kwargs)

    @alone.within_handlers
    def differentiable_loss(
        self, model: Any, guide: Any, batch: Batch, *args: Any, step: Any = None, **kwargs: Any
    ) -> torch.Tensor:
        """The loss as a tensor that can be differentiated."""
        batch = as_batch(batch)
        with evaluated_once():
            run = Evaluation(Runs(batch, args, kwargs), model, guide, batch, self.scored(batch))
            loss, self.record = self.evaluate(run, batch, None, step)
        return loss

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return loss.item()


def joined(objective: type[shared.Objective]) -> Any:
    """A shared objective as one of Pyro's, under its own name."""
    return type(objective.__name__, (objective, HostObjective), {"__doc__": objective.__doc__, "__module__": __name__})


ELBO = joined(shared.ELBO)
JMVAE = joined(shared.JMVAE)
MMJSD = joined(shared.MMJSD)
MMVAE = joined(shared.MMVAE)
MMVAEPlus = joined(shared.MMVAEPlus)
MVAE = joined(shared.MVAE)
MVTCAE = joined(shared.MVTCAE)
Masked = joined(shared.Masked)
MoPoE = joined(shared.MoPoE)
Refined = joined(shared.Refined)
LeaveOneOut = joined(leave_one_out.LeaveOneOut)
