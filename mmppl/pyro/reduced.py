"""The reduced prior as a Pyro distribution."""

import torch
from pyro.distributions import Normal, TorchDistribution, constraints

from mmppl._backend.torch import BACKEND
from mmppl.priors.joint_score import Known
from mmppl.priors.reduced import ReducedPrior
from mmppl.priors.subspaces import Subspaces

__all__ = ["Reduced"]


class Reduced(ReducedPrior, TorchDistribution):
    __doc__ = ReducedPrior.__doc__
    backend = BACKEND

    arg_constraints: dict = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(self, prior: TorchDistribution, subspaces: Subspaces, *, validate_args: bool | None = None):
        self.check(prior, subspaces)
        self.prior, self.subspaces = prior, subspaces
        self.known: Known | None = None
        super().__init__(prior.batch_shape, torch.Size((subspaces.blocks.dim,)), validate_args=validate_args)

    def _given(self, prior: TorchDistribution, known: Known) -> "Reduced":
        new = Reduced(prior, self.subspaces)
        new.known = known
        return new

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        kept, rest = self.subspaces.reduce(BACKEND, value)
        return self.prior.log_prob(kept) + Normal(0.0, 1.0).log_prob(rest).sum(-1) + self.subspaces.log_det

    def sample(self, sample_shape: tuple[int, ...] = ()) -> torch.Tensor:
        with torch.no_grad():
            kept = self.prior.sample(torch.Size(sample_shape))
            number = self.subspaces.blocks.dim - kept.shape[-1]
            z = self.subspaces.lift(BACKEND, kept, kept.new_empty((*kept.shape[:-1], number)).normal_())
            if self.known is None:
                return z
            return torch.where(self.subspaces.blocks.spread(self.known.states.clean), self.known.loc, z)
