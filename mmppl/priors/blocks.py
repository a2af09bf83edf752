"""Latents of several modalities side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.errors import ModalityError, OptionError

Array = Any

__all__ = ["Blocks"]


@dataclass(frozen=True)
class Blocks:
    """Names and dimensions of the blocks of a latent of dimension D, in their order.

    Arguments:
        names: One for each of the M blocks.
        sizes: Their dimensions.

    Raises:
        OptionError: If there is no block, or one without a dimension.

    Example:
        >>> blocks = Blocks.of({"ink": 2, "word": 1})
        >>> {name: z.tolist() for name, z in blocks.split(np.array([[1.0, 2.0, 3.0]])).items()}
        {'ink': [[1.0, 2.0]], 'word': [[3.0]]}
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.sizes) or min(self.sizes) < 1:
            raise OptionError(f"Expected blocks with a dimension of at least 1 each; got {dict(self.items())}.")

    @classmethod
    def of(cls, sizes: Mapping[str, int]) -> "Blocks":
        """The blocks of a mapping from names to dimensions."""
        return cls(tuple(sizes), tuple(int(size) for size in sizes.values()))

    def items(self) -> list[tuple[str, int]]:
        """Names with dimensions."""
        return list(zip(self.names, self.sizes, strict=False))

    @property
    def dim(self) -> int:
        """D."""
        return sum(self.sizes)

    def __len__(self) -> int:
        return len(self.names)

    def join(self, parts: Mapping[str, Array]) -> Array:
        """Blocks by name ``(*, size)``, to ``(*, D)``.

        Raises:
            ModalityError: If blocks are missing or unknown, or have another dimension.
        """
        self.check(parts)
        lost = [name for name in self.names if name not in parts]
        if lost:
            raise ModalityError(f"Expected a value for each of the blocks {list(self.names)}; got none for {lost}.")
        for name, size in self.items():
            if parts[name].shape[-1] != size:
                raise ModalityError(f"Block '{name}': expected dimension {size}; got {parts[name].shape[-1]}.")
        ordered = [parts[name] for name in self.names]
        return get_backend(ordered[0]).xp.concat(ordered, axis=-1)

    def split(self, z: Array) -> dict[str, Array]:
        """Latents ``(*, D)`` to blocks by name."""
        ends = np.cumsum(self.sizes).tolist()
        return {name: z[..., end - size : end] for (name, size), end in zip(self.items(), ends, strict=True)}

    def spread(self, codes: Array) -> Array:
        """One number for each block, ``(*, M)``, to one for each coordinate, ``(*, D)``."""
        xp = get_backend(codes).xp
        columns = [codes[..., i : i + 1] for i in range(len(self))]
        wide = [
            xp.broadcast_to(column, (*column.shape[:-1], size))
            for column, size in zip(columns, self.sizes, strict=True)
        ]
        return xp.concat(wide, axis=-1)

    def stack(self, present: Mapping[str, Array]) -> Array:
        """Boolean arrays by name ``(*,)``, to ``(*, M)``.

        Raises:
            ModalityError: If blocks are missing or unknown.
        """
        self.check(present)
        lost = [name for name in self.names if name not in present]
        if lost:
            raise ModalityError(
                f"Expected who is present for each of the blocks {list(self.names)}; got none for {lost}."
            )
        return get_backend(present[self.names[0]]).xp.stack([present[name] for name in self.names], axis=-1)

    def check(self, parts: Mapping[str, Any]) -> None:
        """Raises :class:`ModalityError` if a name is unknown."""
        unknown = [name for name in parts if name not in self.names]
        if unknown:
            raise ModalityError(f"Expected blocks among {list(self.names)}; got {unknown}.")
