"""Normal and Laplace densities whose scale is one number, which is then not spread over every coordinate."""

import math
from typing import Any

import torch
from pyro.distributions import Laplace, Normal, TorchDistribution

__all__ = ["loc_scale"]


class _OneScale:
    """Keeps the scale as a number beside the host's tensor of it."""

    def __init__(self, loc: torch.Tensor, scale: float, *, validate_args: bool | None = None):
        super().__init__(loc, scale, validate_args=validate_args)  # type: ignore[call-arg]
        self.one = float(scale)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        out = type(self)(self.loc.expand(batch_shape), self.one, validate_args=False)  # type: ignore[attr-defined]
        out._validate_args = self._validate_args  # type: ignore[attr-defined]
        return out

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        if self._validate_args:  # type: ignore[attr-defined]
            self._validate_sample(value)  # type: ignore[attr-defined]
        # Written so that few passes over large arrays are made, here and in the gradient.
        return -(self.log_area + math.log(self.one)) - self.energy((self.loc - value) / self.one)  # type: ignore[attr-defined]


class OneScaleNormal(_OneScale, Normal):
    """Normal, with a location ``(*,)`` and a scale that is a number."""

    log_area = 0.5 * math.log(2.0 * math.pi)

    @staticmethod
    def energy(unit: torch.Tensor) -> torch.Tensor:
        return 0.5 * unit.square()


class OneScaleLaplace(_OneScale, Laplace):
    """Laplace, with a location ``(*,)`` and a scale that is a number."""

    log_area = math.log(2.0)

    @staticmethod
    def energy(unit: torch.Tensor) -> torch.Tensor:
        return unit.abs()


def loc_scale(family: str, loc: torch.Tensor, scale: float | torch.Tensor) -> TorchDistribution:
    """A ``"normal"`` or ``"laplace"`` distribution by location and scale.

    Torch spreads a scale over all coordinates and takes its logarithm at each; a number needs neither.

    Arguments:
        family: Its name.
        loc: Its location, ``(*,)``.
        scale: Its scale: a number, or an array that broadcasts to ``(*,)``.

    Example:
        >>> loc_scale("normal", torch.zeros(2), 1.0).log_prob(torch.zeros(2))
        tensor([-0.9189, -0.9189])
    """
    if isinstance(scale, torch.Tensor):
        return {"normal": Normal, "laplace": Laplace}[family](loc, scale)
    return {"normal": OneScaleNormal, "laplace": OneScaleLaplace}[family](loc, scale)
