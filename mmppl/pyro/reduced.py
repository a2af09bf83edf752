"""The reduced prior as a Pyro distribution."""

from typing import Any

import torch
from pyro.distributions import Normal, TorchDistribution, constraints

from mmppl._backend.torch import BACKEND
from mmppl.display import Shown
from mmppl.nets.bound import BoundNet
from mmppl.priors.condition import Condition
from mmppl.priors.coordinates import Whitening
from mmppl.priors.reduction.reduced import ReducedPrior
from mmppl.priors.reduction.subspaces import Subspaces

__all__ = ["Reduced"]


class Reduced(Shown, ReducedPrior, TorchDistribution):
    __doc__ = ReducedPrior.__doc__
    backend = BACKEND

    arg_constraints: dict = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self,
        prior: TorchDistribution,
        subspaces: Subspaces | Whitening,
        *,
        complement: Any = None,
        validate_args: bool | None = None,
    ):
        self.check(prior, subspaces)
        self.prior: TorchDistribution = prior
        self.subspaces: Any = subspaces
        self.complement = complement.module if isinstance(complement, BoundNet) else complement
        self.known: Condition | None = None
        super().__init__(prior.batch_shape, torch.Size((subspaces.loc.shape[-1],)), validate_args=validate_args)

    def _conditioned(self, prior: TorchDistribution, known: Condition) -> "Reduced":
        new = Reduced(prior, self.subspaces, complement=self.complement)
        new.known = known
        return new

    def _rest(self, reduced: torch.Tensor) -> Normal:
        shape = torch.Size((*reduced.shape[:-1], self.event_shape[0] - reduced.shape[-1]))
        if self.complement is None:
            return Normal(reduced.new_zeros(shape), 1.0)
        return Normal(*self.complement(reduced)).expand(shape)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        reduced, rest = self.subspaces.reduce(BACKEND, value)
        return self.prior.log_prob(reduced) + self._rest(reduced).log_prob(rest).sum(-1) + self.subspaces.log_det

    def sample(self, sample_shape: tuple[int, ...] = ()) -> torch.Tensor:
        with torch.no_grad():
            reduced = self.prior.sample(torch.Size(sample_shape))
            z = self.subspaces.lift(BACKEND, reduced, self._rest(reduced).sample())
            if self.known is None:
                return z
            return torch.where(self.subspaces.blocks.spread(self.known.roles.clean), self.known.loc, z)
