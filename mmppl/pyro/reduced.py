"""The reduced prior as a Pyro distribution."""

from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions import Normal, TorchDistribution, constraints

from mmppl._backend.torch import BACKEND
from mmppl.errors import OptionError
from mmppl.priors.joint_score import Known, gather
from mmppl.priors.subspaces import Subspaces

__all__ = ["Reduced"]


class Reduced(TorchDistribution):
    r"""A prior on the informed directions of every modality, and the reference on the rest.

    .. math:: \pi_r(z) = p(y)\ \mathcal{N}(y_\perp; 0, I)\ |\det U^T L^T|, \qquad (y, y_\perp) = U^T L^T (z - \mu)

    References:
        | Dimension reduction via score ratio matching (Baptista, Brennan & Marzouk, 2024)
        | https://arxiv.org/abs/2410.19990

    Arguments:
        prior: The distribution of what is kept, with event shape ``(sum ranks,)``: a :class:`JointScore` on
            ``subspaces.reduced``, an :class:`EnergyTilted`, or any other.
        subspaces: A :class:`~mmppl.priors.Subspaces`.

    Raises:
        OptionError: If the prior's event shape is another.
    """

    arg_constraints: dict = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(self, prior: TorchDistribution, subspaces: Subspaces, *, validate_args: bool | None = None):
        number = sum(subspaces.ranks)
        if tuple(prior.event_shape) != (number,):
            raise OptionError(f"Expected a prior with event shape ({number},); got {tuple(prior.event_shape)}.")
        self.prior, self.subspaces = prior, subspaces
        self.known: Known | None = None
        super().__init__(prior.batch_shape, torch.Size((subspaces.blocks.dim,)), validate_args=validate_args)

    def _given(self, prior: TorchDistribution, known: Known) -> "Reduced":
        new = Reduced(prior, self.subspaces)
        new.known = known
        return new

    def conditional(
        self, values: Mapping[str, torch.Tensor], present: Mapping[str, torch.Tensor] | None = None, **options: Any
    ) -> "Reduced":
        """The distribution of all blocks given some, by the prior's own ``conditional``.

        Known blocks come back as they are.

        Arguments:
            values: Known blocks, ``(*, size)``.
            present: Where each is known, ``(*,)``; everywhere by default.
            options: Those of the prior's ``conditional``.

        Raises:
            OptionError: If the prior cannot be conditioned, or nothing is given.
            ModalityError: If a block is unknown or has another dimension.
        """
        if not hasattr(self.prior, "conditional"):
            raise OptionError("Expected a prior that can be conditioned, such as JointScore; got another.")
        space = self.subspaces
        known = gather(BACKEND, space.blocks, values, present, None)
        y = dict(space.reduced.split(space.reduce(BACKEND, known.loc)[0]))
        masks = {n: known.states.clean[..., i] for i, n in enumerate(space.blocks.names) if n in y}
        return self._given(self.prior.conditional(y, masks, **options), known)

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
