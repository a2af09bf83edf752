"""The smoothed Laplace density as a Pyro distribution."""

import torch
from pyro.distributions import TorchDistribution, constraints
from torch.distributions.utils import broadcast_all

from mmppl.priors import smoothed_laplace

__all__ = ["SmoothedLaplace"]


class SmoothedLaplace(TorchDistribution):
    r"""Laplace with a rounded centre, for Langevin chains: :mod:`mmppl.priors.smoothed_laplace` has the formula.

    Arguments:
        loc: :math:`\mu`.
        scale: b.
        delta: Half width of the rounded centre, in the units of the variable.

    Example:
        >>> SmoothedLaplace(0.0, 1.0).sample((3,)).shape
        torch.Size([3])
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc=0.0, scale=1.0, delta: float = 0.1, *, validate_args=None):
        self.loc, self.scale = broadcast_all(loc, scale)
        self.delta = delta
        super().__init__(self.loc.shape, torch.Size(), validate_args=validate_args)

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> torch.Tensor:
        shape = (*sample_shape, *self.batch_shape)
        u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + smoothed_laplace.quantile(u, self.scale, self.delta)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return smoothed_laplace.log_prob(value - self.loc, self.scale, self.delta)
