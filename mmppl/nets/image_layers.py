"""Layers of networks that have an image and, beside it, a vector and tokens: maps are ``(*, H, W, C)``, channels last.

:class:`Given` takes the event apart. What it makes of vector and tokens goes beside the map from there on, with what
:class:`Tap` keeps on the way, for :class:`Read` at the end.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mmppl.errors import OptionError
from mmppl.nets.layers import Layer

__all__ = [
    "Convolution",
    "CrossAttention",
    "Fold",
    "Given",
    "MapNorm",
    "Modulate",
    "Pick",
    "Position",
    "Prepend",
    "Read",
    "Rows",
    "Sides",
    "Tap",
    "Unfold",
]


class Sides(NamedTuple):
    """Companions of the map: a vector ``(*, V)``, tokens ``(*, T, W)``, and activations by name of tap."""

    vector: Any
    tokens: Any
    taps: dict[str, Any]


@dataclass(frozen=True)
class Given(Layer):
    """The event ``(*, D)`` to a map by ``layers``, with a vector and tokens beside it, each by a chain of its own."""

    layers: tuple[Layer, ...]
    vector: tuple[Layer, ...]
    tokens: tuple[Layer, ...] = ()


@dataclass(frozen=True)
class Pick(Layer):
    """Spans (start, stop) of the last axis, side by side."""

    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Rows(Layer):
    """Elements from ``start`` to ``stop`` of the last axis but one."""

    start: int
    stop: int


@dataclass(frozen=True)
class Tap(Layer):
    """Keeps what goes through under a name."""

    name: str


@dataclass(frozen=True)
class Read(Layer):
    """Outputs of chains on taps, each ``(*, n)``, side by side; ``parts`` are pairs of the tap and its chain."""

    parts: tuple[tuple[str, tuple[Layer, ...]], ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class Convolution(Layer):
    """A convolution of 3 x 3 pixels with a border of zeros: ``(*, H, W, inputs)`` to ``(*, H, W, outputs)``."""

    inputs: int
    outputs: int
    zero: bool = False


@dataclass(frozen=True)
class Fold(Layer):
    """Squares of ``size`` pixels as channels: ``(*, H, W, C)`` to ``(*, H / p, W / p, p p C)``."""

    size: int


@dataclass(frozen=True)
class Unfold(Fold):
    """The inverse of :class:`Fold`."""


@dataclass(frozen=True)
class MapNorm(Layer):
    """Normalises each of ``groups`` parts of the channels over all positions, then scale and shift of each channel."""

    dim: int
    groups: int

    def __post_init__(self) -> None:
        if self.dim % self.groups:
            raise OptionError(f"Expected a width that {self.groups} groups divide; got {self.dim}.")


@dataclass(frozen=True)
class Modulate(Layer):
    r"""``x (1 + a) + b`` with :math:`(a, b) = W \mathrm{silu}(v) + c` of the vector v ``(*, inputs)``.

    Arguments:
        inputs: Size of the vector.
        outputs: Number of channels.
        axes: Number of axes of positions before the channels.
    """

    inputs: int
    outputs: int
    axes: int


@dataclass(frozen=True)
class CrossAttention(Layer):
    """Queries ``(*, T, outputs)`` to what they find among the tokens beside the map, ``(*, T', inputs)``."""

    inputs: int
    outputs: int
    heads: int


@dataclass(frozen=True)
class Position(Layer):
    """Adds a learned array of the event's shape."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Prepend(Layer):
    """Puts the tokens beside the map in front of the elements ``(*, T, W)``."""
