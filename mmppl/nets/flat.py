"""An event in another shape, without weights."""

from dataclasses import dataclass
from math import prod

from mmppl.errors import OptionError
from mmppl.nets.layers import Layer, Reshape

__all__ = ["Flat"]


@dataclass(frozen=True)
class Flat:
    """The values of an event in another shape: an autoencoder of what needs none.

    Arguments:
        in_shape: Event shape of the input.
        out_shape: Event shape of the output, of as many values.

    Raises:
        OptionError: If they hold different numbers of values.

    Example:
        >>> Flat((1, 2, 2), (4,)).layers()
        (Reshape(inputs=(1, 2, 2), outputs=(4,)),)
    """

    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if prod(self.in_shape) != prod(self.out_shape):
            raise OptionError(f"Expected shapes of as many values; got {self.in_shape} and {self.out_shape}.")

    def layers(self) -> tuple[Layer, ...]:
        return (Reshape(self.in_shape, self.out_shape),)
