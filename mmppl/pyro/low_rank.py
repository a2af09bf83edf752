"""The normal distribution with a low-rank covariance for Pyro."""

import torch
from pyro.distributions import TorchDistribution, constraints

from mmppl.display import Shown
from mmppl.likelihoods import low_rank

__all__ = ["LowRankNormal"]


class LowRankNormal(Shown, TorchDistribution):
    r"""Normal with covariance :math:`S^2 + F^\top F`, or of values in [0, 1] whose logits have it.

    :mod:`mmppl.likelihoods.low_rank` has the formulas.

    Arguments:
        loc: :math:`\mu`, ``(*, *event)``.
        scale: The diagonal of S, positive, ``(*, *event)``.
        factors: F, ``(*, R, *event)``.
        event_dim: Number of axes of the event.
        unit: Whether values are in [0, 1], half a level of an 8-bit picture beyond it included.

    Example:
        >>> LowRankNormal(torch.zeros(3, 4), torch.ones(3, 4), torch.ones(3, 2, 4)).sample().shape
        torch.Size([3, 4])
    """

    arg_constraints: dict = {}
    has_rsample = True

    def __init__(self, loc, scale, factors, event_dim=1, unit=False, *, validate_args=None):
        self.unit, self.there, self.given = unit, None, None
        event = loc.shape[-event_dim:]
        batch = torch.broadcast_shapes(
            loc.shape[:-event_dim], scale.shape[:-event_dim], factors.shape[: -event_dim - 1]
        )
        self.loc = loc.expand(*batch, *event).flatten(-event_dim)
        # Without the axes of the batch where they are the same for all of it.
        self.scale = scale.expand(*scale.shape[:-event_dim], *event).flatten(-event_dim)
        self.factors = factors.expand(*factors.shape[:-event_dim], *event).flatten(-event_dim)
        super().__init__(batch, event, validate_args=validate_args)

    @constraints.dependent_property
    def support(self):
        within = constraints.interval(-0.5 / low_rank.LEVELS, 1.0 + 0.5 / low_rank.LEVELS)
        return constraints.independent(within if self.unit else constraints.real, len(self.event_shape))

    def expand(self, batch_shape, _instance=None):
        new = self._get_checked_instance(LowRankNormal, _instance)
        new.unit, new.there, new.given = self.unit, self.there, self.given
        new.loc, new.scale, new.factors = self.loc.expand(*batch_shape, -1), self.scale, self.factors
        super(LowRankNormal, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def of_elements(self, there: torch.Tensor, value: torch.Tensor | None = None) -> "LowRankNormal":
        """This distribution, scored by the marginal density of the observed elements, a mask ``(*, *event)``.

        With values ``(*, *event)`` draws and means of all other elements are given those observed.
        """
        new = self.expand(self.batch_shape)
        new.there = self._flat(there)
        new.given = None if value is None else (self._flat(value), new.there)
        return new

    def _flat(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(-len(self.event_shape))

    @property
    def mean(self) -> torch.Tensor:
        flat = low_rank.mean(self.loc, self.scale, self.factors, self.given, self.unit)
        return flat.reshape(*self.batch_shape, *self.event_shape)

    def rsample(self, sample_shape=()):
        shape, like = (*sample_shape, *self.loc.shape), {"dtype": self.loc.dtype, "device": self.loc.device}
        w = torch.randn((*shape[:-1], self.factors.shape[-2]), **like)
        noise = torch.randn(shape, **like)
        x = low_rank.draw(self.loc, self.scale, self.factors, noise, w, self.given, self.unit)
        return x.reshape(*sample_shape, *self.batch_shape, *self.event_shape)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return low_rank.scored(self._flat(value), self.loc, self.scale, self.factors, self.there, self.unit)
