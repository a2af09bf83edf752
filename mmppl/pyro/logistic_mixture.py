"""The mixture of discretised logistic distributions for Pyro."""

import torch
from pyro.distributions import TorchDistribution, constraints

from mmppl.display import Shown
from mmppl.likelihoods import logistic_mixture

__all__ = ["LogisticMixture"]


class LogisticMixture(Shown, TorchDistribution):
    r"""Mixture of logistics on 256 levels in [0, 1], with one component for a whole event.

    :mod:`mmppl.likelihoods.logistic_mixture` has the formulas. Draws are levels, without a gradient.

    Arguments:
        loc: o, ``(*, *event)``.
        scale: s, positive, ``(*, *event)``.
        offsets: F, ``(*, K, *event)``.
        event_dim: Number of axes of the event.

    Example:
        >>> LogisticMixture(torch.full((3, 4), 0.5), torch.full((3, 4), 0.1), torch.zeros(3, 2, 4)).sample().shape
        torch.Size([3, 4])
    """

    arg_constraints: dict = {}

    def __init__(self, loc, scale, offsets, event_dim=1, *, validate_args=None):
        self.there = None
        event = loc.shape[-event_dim:]
        batch = torch.broadcast_shapes(
            loc.shape[:-event_dim], scale.shape[:-event_dim], offsets.shape[: -event_dim - 1]
        )
        self.loc, self.scale = (x.flatten(-event_dim).expand(*batch, -1) for x in (loc, scale))
        self.offsets = offsets.flatten(-event_dim).expand(*batch, -1, -1)
        super().__init__(batch, event, validate_args=validate_args)

    @constraints.dependent_property
    def support(self):
        return constraints.independent(constraints.unit_interval, len(self.event_shape))

    def expand(self, batch_shape, _instance=None):
        new = self._get_checked_instance(LogisticMixture, _instance)
        new.there = self.there
        new.loc, new.scale = (x.expand(*batch_shape, -1) for x in (self.loc, self.scale))
        new.offsets = self.offsets.expand(*batch_shape, -1, -1)
        super(LogisticMixture, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def of_elements(self, there: torch.Tensor) -> "LogisticMixture":
        """The same, scored by the marginal probability of the elements that are there, ``(*, *event)``."""
        new = self.expand(self.batch_shape)
        new.there = there.flatten(-len(self.event_shape))
        return new

    @property
    def mean(self) -> torch.Tensor:
        flat = logistic_mixture.mean(self.loc, self.scale, self.offsets)
        return flat.reshape(*self.batch_shape, *self.event_shape)

    def sample(self, sample_shape=()):
        like = {"dtype": self.loc.dtype, "device": self.loc.device}
        with torch.no_grad():
            which = torch.rand((*sample_shape, *self.batch_shape), **like)
            uniform = torch.rand((*sample_shape, *self.loc.shape), **like)
            x = logistic_mixture.draw(self.loc, self.scale, self.offsets, uniform, which)
            return x.reshape(*sample_shape, *self.batch_shape, *self.event_shape)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        x = value.flatten(-len(self.event_shape))
        return logistic_mixture.log_prob(x, self.loc, self.scale, self.offsets, self.there)
