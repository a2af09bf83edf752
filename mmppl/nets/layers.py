"""The few steps every net is made of. A spec lowers to a chain of these; each builder knows only these.

Leading axes are any number of batch axes ``*``, also none; a layer acts on the event axes behind them.
"""

from dataclasses import dataclass

from mmppl.errors import OptionError

__all__ = [
    "ACTIVATIONS",
    "NORM_EPS",
    "Activation",
    "Embed",
    "Layer",
    "Linear",
    "Norm",
    "Patch",
    "Residual",
    "Reshape",
    "Split",
    "Swap",
    "Unpatch",
]

ACTIVATIONS = ("gelu", "relu", "silu", "tanh")
NORM_EPS = 1e-5


@dataclass(frozen=True)
class Layer:
    """One step of a net."""


@dataclass(frozen=True)
class Linear(Layer):
    """``x W^T + b`` over the last axis: ``(*, inputs)`` to ``(*, outputs)``, W of shape ``(outputs, inputs)``."""

    inputs: int
    outputs: int
    zero: bool = False


@dataclass(frozen=True)
class Activation(Layer):
    """Elementwise. ``gelu`` is the exact form ``x (1 + erf(x / sqrt 2)) / 2``, ``silu`` is ``x sigmoid(x)``."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in ACTIVATIONS:
            raise OptionError(f"Expected an activation among {ACTIVATIONS}; got {self.name!r}. Choose one of them.")


@dataclass(frozen=True)
class Norm(Layer):
    """Layer normalisation of the last axis, biased variance plus ``NORM_EPS``, then scale and shift."""

    dim: int


@dataclass(frozen=True)
class Reshape(Layer):
    """Event shape ``inputs`` to event shape ``outputs`` with the same number of values."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Patch(Layer):
    """Images ``(*, C, H, W)`` to patches ``(*, T, C p p)``, rows of patches first, T = (H / p) (W / p)."""

    shape: tuple[int, int, int]
    size: int

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or self.shape[1] % self.size or self.shape[2] % self.size:
            raise OptionError(
                f"Expected an image shape (C, H, W) with H and W divisible by the patch size {self.size}; "
                f"got {self.shape}. Choose another patch size."
            )

    @property
    def tokens(self) -> int:
        """Number T of patches."""
        return (self.shape[1] // self.size) * (self.shape[2] // self.size)

    @property
    def values(self) -> int:
        """Number C p p of values in a patch."""
        return self.shape[0] * self.size**2


@dataclass(frozen=True)
class Unpatch(Patch):
    """The inverse of :class:`Patch`: ``(*, T, C p p)`` to ``(*, C, H, W)``."""


@dataclass(frozen=True)
class Embed(Layer):
    """Token ids ``(*, L)`` to vectors ``(*, L, dim)``: rows of a table of shape ``(vocabulary, dim)``."""

    vocabulary: int
    dim: int


@dataclass(frozen=True)
class Swap(Layer):
    """Swaps the last two axes, so that a :class:`Linear` between two swaps mixes tokens."""


@dataclass(frozen=True)
class Residual(Layer):
    """``x + f(x)``, where f is a chain of layers that keeps the shape."""

    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Split(Layer):
    r"""``(*, 2 D)`` to a location and a scale, each ``(*, D)``: the halves ``a`` and ``b`` give

    .. math:: \mu = a, \qquad \sigma = \mathrm{softplus}(b + \log(e - 1)) + \mathrm{floor}

    so that b = 0 is a scale of 1, and scales fall to the floor in proportion to ``exp(b)``.
    """

    dim: int
    floor: float
