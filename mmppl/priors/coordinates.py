"""Coordinates in which a prior of latents works, and standardisation from the whole training set."""

from typing import Any, NamedTuple

import numpy as np

from mmppl._backend import Backend, get_backend
from mmppl.batch import Batch
from mmppl.priors.blocks import Blocks
from mmppl.priors.reduction.subspaces import Subspaces
from mmppl.warn import warn

Array = Any

__all__ = ["FLOOR", "Coordinates", "Standardization", "Whitening", "restrict_network", "statistics"]

FLOOR = 1e-3


class Standardization(NamedTuple):
    r"""Each coordinate standardised, :math:`y = (z - \mathrm{loc}) / \mathrm{scale}`.

    Arguments:
        loc: ``(D,)``.
        scale: ``(D,)``.
    """

    loc: Array
    scale: Array
    kept: None = None

    def forward(self, z: Array) -> Array:
        """Latents ``(*, D)`` in these coordinates."""
        return (z - self.loc) / self.scale

    def inverse(self, y: Array) -> Array:
        """The way back."""
        return self.loc + self.scale * y

    def log_abs_det(self, backend: Backend) -> Array:
        """Log of what volumes are multiplied by on the way in, a share for each coordinate, ``(D,)``."""
        return -backend.xp.log(self.scale)


class Whitening(NamedTuple):
    r"""Each block whitened and turned, :math:`y = T (z - \mu)`, with only some coordinates of y kept.

    The arrays of a :class:`~mmppl.priors.Subspaces`, so that they may be parameters of a program: which coordinates
    are kept is then known only once the latents are. What is not kept is standard normal.

    Arguments:
        loc: :math:`\mu`, ``(D,)``.
        matrix: T, block-diagonal, ``(D, D)``.
        inverse_matrix: Its inverse.
        log_dets: Log of the determinant of T, a share for each coordinate, ``(D,)``.
        kept: 1 where a coordinate is kept, else 0, ``(D,)``.

    Example:
        >>> Whitening.identity(Blocks.of({"a": 2})).forward(np.array([1.0, 2.0])).tolist()
        [1.0, 2.0]
    """

    loc: Array
    matrix: Array
    inverse_matrix: Array
    log_dets: Array
    kept: Array

    @classmethod
    def identity(cls, blocks: Blocks) -> "Whitening":
        """Latents as they are, all kept."""
        zero, one, eye = np.zeros(blocks.dim), np.ones(blocks.dim), np.eye(blocks.dim)
        return cls(zero, eye, eye, zero, one)

    @classmethod
    def of(cls, space: Subspaces) -> "Whitening":
        """Those of subspaces that were found."""
        ends = np.cumsum(space.blocks.sizes)
        spans = [slice(end - size, end) for end, size in zip(ends, space.blocks.sizes, strict=True)]
        shares = [
            np.full(s.stop - s.start, np.linalg.slogdet(space.matrix[s, s])[1] / (s.stop - s.start)) for s in spans
        ]
        kept = space.kept.astype(space.matrix.dtype)
        return cls(space.loc, space.matrix, np.linalg.inv(space.matrix), np.concatenate(shares), kept)

    def forward(self, z: Array) -> Array:
        """Latents ``(*, D)`` in these coordinates."""
        return (z - self.loc) @ self.matrix.T

    def inverse(self, y: Array) -> Array:
        """The way back."""
        return self.loc + y @ self.inverse_matrix.T

    def log_abs_det(self, backend: Backend) -> Array:
        """Log of what volumes are multiplied by on the way in, a share for each coordinate, ``(D,)``."""
        return self.log_dets

    # Interface of Subspaces, for priors whose network is restricted to ``kept``; see ReducedPrior.
    def reduce(self, backend: Backend, z: Array) -> tuple[Array, Array]:
        """Returns all coordinates, and an empty rest."""
        y = self.forward(z)
        return y, y[..., :0]

    def lift(self, backend: Backend, reduced: Array, rest: Array) -> Array:
        """The way back."""
        return self.inverse(reduced)

    @property
    def log_det(self) -> Array:
        """Log of what volumes are multiplied by on the way in."""
        return get_backend(self.log_dets).xp.sum(self.log_dets)


Coordinates = Standardization | Whitening


def restrict_network(net: Any, kept: Array | None) -> Any:
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
        warn(
            f"Latent coordinates {', '.join(dead)} do not vary; their standard deviation is floored. A smaller latent "
            "dimension would do.",
        )
    return np.concatenate(locs), np.concatenate(scales)
