"""Coordinates in which a prior of latents works, and standardisation from the whole training set."""

import warnings
from typing import Any, NamedTuple

import numpy as np

from mmppl._backend import Backend, get_backend
from mmppl.batch import Batch
from mmppl.priors.blocks import Blocks
from mmppl.priors.reduction.subspaces import Subspaces

Array = Any

__all__ = ["FLOOR", "Frame", "Standard", "masked", "statistics"]

FLOOR = 1e-3


class Standard(NamedTuple):
    r"""Each coordinate standardised, :math:`y = (z - \mathrm{loc}) / \mathrm{scale}`.

    Arguments:
        loc: ``(D,)``.
        scale: ``(D,)``.
    """

    loc: Array
    scale: Array
    kept: None = None

    def into(self, z: Array) -> Array:
        """Latents ``(*, D)`` in these coordinates."""
        return (z - self.loc) / self.scale

    def out(self, y: Array) -> Array:
        """The way back."""
        return self.loc + self.scale * y

    def log_volume(self, backend: Backend) -> Array:
        """Log of what volumes are multiplied by on the way in, a share for each coordinate, ``(D,)``."""
        return -backend.xp.log(self.scale)


class Frame(NamedTuple):
    r"""Each block whitened and turned, :math:`y = T (z - \mu)`, with only some coordinates of y kept.

    The arrays of a :class:`~mmppl.priors.Subspaces`, so that they may be parameters of a program: which coordinates
    are kept is then known only once the latents are. What is not kept is standard normal.

    Arguments:
        loc: :math:`\mu`, ``(D,)``.
        turn: T, block-diagonal, ``(D, D)``.
        back: Its inverse.
        volume: Log of the determinant of T, a share for each coordinate, ``(D,)``.
        kept: 1 where a coordinate is kept, else 0, ``(D,)``.

    Example:
        >>> Frame.identity(Blocks.of({"a": 2})).into(np.array([1.0, 2.0])).tolist()
        [1.0, 2.0]
    """

    loc: Array
    turn: Array
    back: Array
    volume: Array
    kept: Array

    @classmethod
    def identity(cls, blocks: Blocks) -> "Frame":
        """Latents as they are, all kept."""
        zero, one, eye = np.zeros(blocks.dim), np.ones(blocks.dim), np.eye(blocks.dim)
        return cls(zero, eye, eye, zero, one)

    @classmethod
    def of(cls, space: Subspaces) -> "Frame":
        """Those of subspaces that were found."""
        ends = np.cumsum(space.blocks.sizes)
        spans = [slice(end - size, end) for end, size in zip(ends, space.blocks.sizes, strict=True)]
        shares = [np.full(s.stop - s.start, np.linalg.slogdet(space.turn[s, s])[1] / (s.stop - s.start)) for s in spans]
        kept = space.kept.astype(space.turn.dtype)
        return cls(space.loc, space.turn, np.linalg.inv(space.turn), np.concatenate(shares), kept)

    def into(self, z: Array) -> Array:
        """Latents ``(*, D)`` in these coordinates."""
        return (z - self.loc) @ self.turn.T

    def out(self, y: Array) -> Array:
        """The way back."""
        return self.loc + y @ self.back.T

    def log_volume(self, backend: Backend) -> Array:
        """Log of what volumes are multiplied by on the way in, a share for each coordinate, ``(D,)``."""
        return self.volume

    # As a prior on all coordinates has it whose network sees through ``kept``; see ReducedPrior.
    def reduce(self, backend: Backend, z: Array) -> tuple[Array, Array]:
        """Everything, and no rest."""
        y = self.into(z)
        return y, y[..., :0]

    def lift(self, backend: Backend, kept: Array, rest: Array) -> Array:
        """The way back."""
        return self.out(kept)

    @property
    def log_det(self) -> Array:
        """Log of what volumes are multiplied by on the way in."""
        return get_backend(self.volume).xp.sum(self.volume)


def masked(net: Any, kept: Array | None) -> Any:
    """A score's network that neither sees nor moves what is not kept, where the velocity of a standard normal is 0.

    Arguments:
        net: ``(*, D + M)``, latents and times, to ``(*, D)``.
        kept: ``(D,)``; None for all.
    """
    if kept is None:
        return net

    def seen(x: Array) -> Array:
        dim, xp = kept.shape[-1], get_backend(x).xp
        return kept * net(xp.concat([kept * x[..., :dim], x[..., dim:]], axis=-1))

    return seen


def statistics(latents: Batch, names: tuple[str, ...], floor: float = FLOOR) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every coordinate, where its modality is present.

    A deviation below ``floor`` times the largest of its modality is raised to it, with a warning that names the
    coordinates: they carry nothing, and dividing by their own deviation would blow up noise.

    Arguments:
        latents: Latents of all training data, numpy arrays ``(N, D_m)``.
        names: The modalities in the order of the blocks.
        floor: The smallest share.

    Returns:
        Two arrays ``(D,)``.

    Example:
        >>> loc, scale = statistics(Batch({"a": np.array([[0.0, 1.0], [2.0, 5.0]])}), ("a",))
        >>> loc.tolist(), scale.tolist()
        ([1.0, 3.0], [1.0, 2.0])
    """
    locs: list[np.ndarray] = []
    scales: list[np.ndarray] = []
    dead: list[str] = []
    for name in names:
        rows = np.asarray(latents[name], dtype=np.float64)[np.asarray(latents.present[name])]
        loc, scale = rows.mean(axis=0), rows.std(axis=0)
        least = floor * max(float(scale.max()), 1e-12)
        dead.extend(f"{name}[{i}]" for i in np.flatnonzero(scale < least))
        locs.append(loc)
        scales.append(np.maximum(scale, least))
    if dead:
        warnings.warn(
            f"Latent coordinates {', '.join(dead)} do not vary; their standard deviation is floored. A smaller latent "
            "dimension would do.",
            UserWarning,
            stacklevel=2,
        )
    return np.concatenate(locs), np.concatenate(scales)
