"""Layout of the latent sites of a program, side by side in one position."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmppl._backend import get_backend
from mmppl.errors import OptionError

Array = Any

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """Joins unconstrained latents, by site, into one array, and takes it apart again.

    Arguments:
        shapes: Unconstrained shape of each site.
        axes: For each site the axis of the plate's rows, counted from the front; None where the whole state is one
            chain.

    Example:
        >>> import numpy as np
        >>> layout = Layout({"w": (3,), "z": (4, 3, 2)}, {"w": 0, "z": 1})
        >>> position = layout.pack({"w": np.zeros(3), "z": np.ones((4, 3, 2))})
        >>> position.shape, layout.unpack(position)["z"].shape
        ((3, 9), (4, 3, 2))
    """

    shapes: Mapping[str, tuple[int, ...]]
    axes: Mapping[str, int] | None

    @property
    def per_datum(self) -> bool:
        """Tells whether each datum of the plate is a chain of its own."""
        return self.axes is not None

    @property
    def ndim(self) -> int:
        """Number of axes of a position."""
        return 2 if self.per_datum else 1

    def check(self, latents: Mapping[str, Array]) -> None:
        """Raises :class:`OptionError` unless there is just one array of the right shape for each site."""
        got = {name: tuple(z.shape) for name, z in latents.items()}
        if got != dict(self.shapes):
            raise OptionError(
                f"Expected unconstrained initial values of shapes {dict(self.shapes)}; got {got}. Pass one per site."
            )

    def pack(self, latents: Mapping[str, Array]) -> Array:
        """The position, ``(N, D)`` per datum or ``(D,)``; D is summed over sites."""
        parts = []
        for name in self.shapes:
            z = latents[name]
            xp = get_backend(z).xp
            if self.axes is None:
                parts.append(xp.reshape(z, (-1,)))
            else:
                axis = self.axes[name]
                parts.append(xp.reshape(xp.moveaxis(z, axis, 0), (z.shape[axis], -1)))
        return xp.concat(parts, axis=-1)

    def unpack(self, position: Array) -> dict[str, Array]:
        """The latents by site, unconstrained."""
        xp = get_backend(position).xp
        out, begin = {}, 0
        for name, shape in self.shapes.items():
            axis = None if self.axes is None else self.axes[name]
            rest = shape if axis is None else shape[:axis] + shape[axis + 1 :]
            end = begin + math.prod(rest)
            part = position[..., begin:end]
            if axis is None:
                out[name] = xp.reshape(part, shape)
            else:
                out[name] = xp.moveaxis(xp.reshape(part, (shape[axis], *rest)), 0, axis)
            begin = end
        return out
