"""Objectives as NumPyro ELBO classes: ``SVI(model, guide, optim, mm.MoPoE(particles=8))``."""

from typing import Any

import jax
from numpyro.infer import elbo as host_elbo

from mmppl.inference import objectives as shared
from mmppl.inference.objectives import leave_one_out
from mmppl.inference.objectives.evaluation import Evaluation
from mmppl.nets.bound import evaluated_once
from mmppl.numpyro.primitives import as_batch
from mmppl.numpyro.state import unvisited
from mmppl.numpyro.threads import alone
from mmppl.numpyro.tracing import Runs

__all__ = ["ELBO", "JMVAE", "MMJSD", "MMVAE", "MMVAEPlus", "MVAE", "MVTCAE", "MoPoE", "Masked", "Refined"]


class HostObjective(host_elbo.ELBO):
    """Joins an objective to NumPyro's ELBO interface."""

    can_infer_discrete = True  # by the score function; other estimators say so themselves

    def loss_and_record(self, rng_key, param_map, model, guide, batch, *args, step=None, **kwargs):
        """The loss, and with it the record of its terms and the new values of mutable sites."""
        loss, record, mutable = self._run(rng_key, param_map, model, guide, batch, args, kwargs, step)
        return loss, (record, mutable.moved)

    @alone.within_handlers
    def _run(self, rng_key, param_map, model, guide, batch, args, kwargs, step):
        first, second = jax.random.split(rng_key)
        batch = as_batch(batch)
        runs = Runs(param_map, first, args, kwargs)
        with evaluated_once():
            loss, record = self.evaluate(Evaluation(runs, model, guide, batch, self.scored(batch)), batch, second, step)
        return loss, record, runs.mutable

    def loss_with_mutable_state(self, rng_key, param_map, model, guide, batch, *args, step=None, **kwargs):
        loss, _, mutable = self._run(rng_key, param_map, model, guide, batch, args, kwargs, step)
        rest = unvisited(param_map, mutable.visited, model, guide, (as_batch(batch), *args), kwargs)
        return {"loss": loss, "mutable_state": {**rest, **mutable.moved} or None}


def joined(objective: type[shared.Objective]) -> Any:
    """A shared objective as one of NumPyro's, under its own name."""
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
