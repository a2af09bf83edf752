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
        loc: o, ``(*, K, *event)``.
        scale: s, positive; broadcasts against ``(*, *event)``.
        event_dim: Number of axes of the event.

    Example:
        >>> LogisticMixture(torch.full((3, 2, 4), 0.5), 0.1).sample().shape
        torch.Size([3, 4])
    """

    arg_constraints: dict = {}

    def __init__(self, loc, scale, event_dim=1, *, validate_args=None):
        self.there = None
        *rows, number = loc.shape[:-event_dim]
        event, scale = loc.shape[-event_dim:], torch.as_tensor(scale, dtype=loc.dtype, device=loc.device)
        batch = torch.broadcast_shapes(rows, scale.shape[: max(scale.dim() - event_dim, 0)])
        self.loc = loc.flatten(-event_dim).expand(*batch, number, -1)
        self.scale = scale.expand(*batch, *event).flatten(-event_dim)
        super().__init__(batch, event, validate_args=validate_args)

    @constraints.dependent_property
    def support(self):
        return constraints.independent(constraints.unit_interval, len(self.event_shape))

    def expand(self, batch_shape, _instance=None):
        new = self._get_checked_instance(LogisticMixture, _instance)
        new.there = self.there
        new.loc, new.scale = self.loc.expand(*batch_shape, -1, -1), self.scale.expand(*batch_shape, -1)
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
        flat = logistic_mixture.mean(self.loc, self.scale)
        return flat.reshape(*self.batch_shape, *self.event_shape)

    def sample(self, sample_shape=()):
        like = {"dtype": self.loc.dtype, "device": self.loc.device}
        with torch.no_grad():
            which = torch.rand((*sample_shape, *self.batch_shape), **like)
            uniform = torch.rand((*sample_shape, *self.scale.shape), **like)
            x = logistic_mixture.draw(self.loc, self.scale, uniform, which)
            return x.reshape(*sample_shape, *self.batch_shape, *self.event_shape)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        x = value.flatten(-len(self.event_shape))
        return logistic_mixture.log_prob(x, self.loc, self.scale, self.there)
