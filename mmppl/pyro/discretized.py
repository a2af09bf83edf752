"""The discretised logistic distribution for Pyro."""

import torch
from pyro.distributions import TorchDistribution, constraints
from torch.distributions.utils import broadcast_all

from mmppl.display import Shown
from mmppl.likelihoods import discretized_logistic

__all__ = ["DiscretizedLogistic"]


class DiscretizedLogistic(Shown, TorchDistribution):
    r"""Logistic on 256 levels in [0, 1]: :mod:`mmppl.likelihoods.discretized_logistic` has the formula.

    Values are scored as the level next to them, so that ``exp(log_prob)`` sums to 1 over levels 0, 1/255, ..., 1. Draws
    are levels, without a gradient.

    Arguments:
        loc: :math:`\mu`, in the units of x.
        scale: s > 0, in the units of x.

    Example:
        >>> DiscretizedLogistic(0.5, 0.1).sample((3,)).shape
        torch.Size([3])
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.unit_interval

    def __init__(self, loc=0.5, scale=0.1, *, validate_args=None):
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, torch.Size(), validate_args=validate_args)

    def expand(self, batch_shape: tuple[int, ...], _instance=None) -> "DiscretizedLogistic":
        new = self._get_checked_instance(DiscretizedLogistic, _instance)
        new.loc, new.scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        super(DiscretizedLogistic, new).__init__(torch.Size(batch_shape), torch.Size(), validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> torch.Tensor:
        return discretized_logistic.mean(self.loc, self.scale)

    def sample(self, sample_shape: tuple[int, ...] = ()) -> torch.Tensor:
        shape = (*sample_shape, *self.batch_shape)
        with torch.no_grad():
            u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
            return discretized_logistic.quantile(u, self.loc, self.scale)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return discretized_logistic.log_prob(value, self.loc, self.scale)
