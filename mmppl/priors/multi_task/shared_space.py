r"""The space that the others join: the forward half of a multi-task diffusion.

With :math:`z_0` the primary block, or several side by side, :math:`x_i` the others and :math:`E_i` fixed maps into its
space,

.. math:: q(z_t \mid z_0, x) = \mathcal{N}\Big(a(t) z_0 + \sum_i \tilde a(t) E_i x_i,\ \sigma(t)^2 I\Big), \qquad
    \tilde a(t) = k\, a(t) (1 - a(t))

which leaves both ends as they are: :math:`\tilde a(0) = 0` and :math:`\tilde a(1) \approx 0`. Other weights, also of
single steps, are those of :mod:`mmppl.priors.multi_task.joining`.

References:
    | Diffusion Models For Multi-Modal Generative Modeling (Chen et al., 2024), section 3.1
    | https://openreview.net/forum?id=cbv0sBIZh9
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from mmppl._backend import Backend, get_backend
from mmppl.checks import at_least, checked
from mmppl.errors import ModalityError, OptionError
from mmppl.priors.blocks import Blocks
from mmppl.priors.condition import BlockRoles
from mmppl.priors.multi_task.heads import Head, NormalHead
from mmppl.priors.multi_task.joining import Bump, Joining
from mmppl.sde import VP

Array = Any

__all__ = ["SharedSpace"]

TOLERANCE = 0.05
NORMAL = NormalHead()


@checked(strength=at_least(0), tolerance=at_least(0))
@dataclass(frozen=True)
class SharedSpace:
    r"""One block diffuses, or several do as one, and the others join it on the way.

    :math:`E_i` is the identity where dimensions agree, of several primary blocks into the first that has this
    dimension, else a part of a rotation, the same at every run; or a map of your own. No gradient passes through it.
    Of several primary blocks, each standardised as it is, those that are known are conditions of the network.

    Arguments:
        blocks: The blocks of the latent, one for each modality; of one alone this is an ordinary diffusion.
        primary: Name of the one that diffuses, or names of several; None for the first.
        strength: k of :class:`~mmppl.priors.multi_task.joining.Bump`, or another schedule of joining.
        sde: The diffusion.
        heads: How others are read off the primary block, by name, see :mod:`mmppl.priors.multi_task.heads`; normal
            ones by default.
        encoders: Maps of your own into the primary block, by name, which nothing trains: matrices ``(size, own)`` or
            functions of ``(*, size)`` to ``(*, own)``, such as a generator; or ``"network"`` for the image that the
            diffusion's own network, which must be conditional and predict velocities, expects of the block alone. Maps
            are of codes as they are diffused, in standard deviations about their mean where they are numbers.
        tolerance: The most of what joined that may be left at the end, as a share of the noise.

    Raises:
        ModalityError: If there is no such block, or it is named twice.
        OptionError: If k is negative, more than the tolerance is left at the end, a head does not fit its block, the
            output of an encoder is not of the primary block's shape, or a matrix is not finite.

    Example:
        >>> space = SharedSpace(Blocks.of({"ink": 2, "word": 2}))
        >>> space.shift(np.array([[0.0, 0.0, 3.0, 4.0]])).tolist()
        [[3.0, 4.0, 0.0, 0.0]]
        >>> SharedSpace(Blocks.of({"ink": 2, "flower": 3, "word": 2}), ("ink", "flower")).own
        5
    """

    blocks: Blocks
    primary: str | Sequence[str] | None = None
    strength: float | Joining = 1.0
    sde: VP = field(default_factory=VP)
    heads: Mapping[str, Head] = field(default_factory=dict)
    encoders: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        if self.primary is not None and not isinstance(self.primary, str):
            several = tuple(self.primary)
            object.__setattr__(self, "primary", several[0] if len(several) == 1 else several)
        named = (self.primary,) if isinstance(self.primary, str) else self.primary
        if named is not None and not (named and set(named) <= set(self.blocks.names) and len(set(named)) == len(named)):
            raise ModalityError(f"Expected a primary block among {list(self.blocks.names)}; got {self.primary!r}.")
        if not isinstance(self.strength, Joining):
            object.__setattr__(self, "strength", Bump(self.strength))
        others = [name for i, name in enumerate(self.blocks.names) if i not in self.places]
        for what in ("heads", "encoders"):
            given = dict(getattr(self, what))
            unknown = [name for name in given if name not in others]
            if unknown:
                raise ModalityError(f"Expected {what} of blocks among {others}; got {unknown}.")
            object.__setattr__(self, what, _Frozen(given))
        for name, size in self.blocks.items():
            self._head(name).check(name, size)
            encoder = self.encoders.get(name)
            if isinstance(encoder, str) and encoder != "network":
                raise OptionError(f"Block '{name}': expected an encoder that is a map, or 'network'; got {encoder!r}.")
            if encoder is not None and not callable(encoder) and not isinstance(encoder, str):
                self._check_encoded(name, tuple(np.shape(encoder)), (size, self.own))
                if not np.isfinite(np.asarray(encoder, dtype=float)).all():
                    raise OptionError(f"Block '{name}': expected an encoder of finite numbers; got others.")
        left = abs(float(self.weight(np.ones(()))))
        if len(self.blocks) > 1 and left > self.tolerance:
            raise OptionError(
                f"Expected strength, weights of which at most tolerance={self.tolerance} is left at the end of the "
                f"diffusion, where all is noise; got {left:.3g}. Take Bump, or weights that fall to 0."
            )

    @property
    def places(self) -> tuple[int, ...]:
        """Indices of the blocks that diffuse, in the order of the blocks."""
        named = self.blocks.names[:1] if self.primary is None else self.primary
        named = (named,) if isinstance(named, str) else named
        return tuple(i for i, name in enumerate(self.blocks.names) if name in named)

    @property
    def own(self) -> int:
        """Dimension of what diffuses."""
        return sum(self.blocks.sizes[i] for i in self.places)

    @property
    def named(self) -> str:
        """Names of the blocks that diffuse, as one."""
        return ", ".join(self.blocks.names[i] for i in self.places)

    @property
    def generators(self) -> tuple[int, ...]:
        """Indices of the blocks that join as the network's own image of them."""
        # An array is never equal to a text: it would be compared number by number.
        return tuple(i for i, name in enumerate(self.blocks.names) if isinstance(self.encoders.get(name), str))

    @property
    def joining(self) -> Joining:
        """The schedule of joining."""
        return self.strength  # type: ignore[return-value]

    def _head(self, name: str) -> Head:
        return self.heads.get(name, NORMAL)

    def number(self, name: str) -> int:
        """Number of independent parts of a block, as its head has them."""
        return self._head(name).pieces(dict(self.blocks.items())[name])

    def any_law(self, name: str) -> bool:
        """Tells whether the head of a block says all that can be known of it, as that of a label does."""
        return self._head(name).any_law(dict(self.blocks.items())[name])

    def by_head(self, f: Callable[..., Array], *arrays: Array) -> Array:
        """Applies ``f(head, *parts)`` to each block of arrays ``(*, D)``, and puts the blocks together."""
        parts = [self.blocks.split(array) for array in arrays]
        if not self.heads:
            return f(NORMAL, *arrays)
        return self.blocks.join({name: f(self._head(name), *(p[name] for p in parts)) for name in self.blocks.names})

    def seen(self, backend: Backend, x: Array) -> Array:
        """Blocks as the network sees them, ``(*, D)``."""
        return self.by_head(lambda head, part: head.seen(backend, part), x)

    def pieces(self, backend: Backend, like: Array | None = None) -> Array:
        """Share of each coordinate among the independent parts of its head, ``(D,)``."""
        each = [np.full(size, self._head(name).pieces(size) / size) for name, size in self.blocks.items()]
        return backend.asarray(np.concatenate(each), like=like)

    def weight(self, t: Array) -> Array:
        r""":math:`\tilde a(t)`, ``(*,)`` to ``(*,)``."""
        return self.joining.weight(self.sde, t)

    def flow_weight(self, t: Array) -> Array:
        r""":math:`2 c / g^2`, with :math:`c = \tilde a' - f \tilde a` the drift's factor of :math:`E_i x_i`."""
        return self.joining.flow_weight(self.sde, t)

    def shift(self, x: Array) -> Array:
        r""":math:`\sum_i E_i x_i`, ``(*, D)``: in the place of the primary block, 0 elsewhere.

        A block's own function sees all rows; what it makes of zeros, which stand for a block that does not join, is
        left out. Images by the network are added by :meth:`~mmppl.priors.MultiTaskLoss.shift`.
        """
        backend = get_backend(x)
        xp, seen = backend.xp, self.seen(backend, x)
        matrices = {n: e for n, e in self.encoders.items() if not callable(e) and not isinstance(e, str)}
        own = tuple((n, _Matrix(np.asarray(e, dtype=float))) for n, e in matrices.items())
        skip = tuple(n for n in self.encoders if n not in matrices)
        out = seen @ backend.asarray(_maps(self.blocks, self.places, own, skip), like=x)
        for name, encoder in self.encoders.items():
            if callable(encoder):
                part = self.blocks.split(x)[name]
                image = encoder(part)
                self._check_encoded(name, tuple(np.shape(image)), (*part.shape[:-1], self.own))
                joins = xp.any(part != 0.0, axis=-1)[..., None]
                out = out + self.place_in(xp.where(joins, image, xp.zeros_like(image)))
        return out

    def place_in(self, image: Array) -> Array:
        """Primary blocks ``(*, own)`` among zeros, ``(*, D)``."""
        xp, sizes = get_backend(image).xp, [self.blocks.sizes[i] for i in self.places]
        ends = zip(self.places, sizes, np.cumsum(sizes).tolist(), strict=True)
        own = {i: image[..., end - size : end] for i, size, end in ends}
        parts = [
            own[i] if i in own else xp.zeros((*image.shape[:-1], size), dtype=image.dtype)
            for i, size in enumerate(self.blocks.sizes)
        ]
        return xp.concat(parts, axis=-1)

    def _check_encoded(self, name: str, got: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        if got != wanted:
            raise OptionError(
                f"Expected the encoder of block '{name}' to map into the primary block "
                f"'{self.named}', {wanted}; got {got}. Give it an output of that size."
            )

    def is_primary(self, roles: BlockRoles) -> Array:
        """Boolean ``(M,)``: which blocks diffuse."""
        return get_backend(roles.clean).asarray(np.isin(np.arange(len(self.blocks)), self.places))

    def acting(self, roles: BlockRoles) -> BlockRoles:
        """The roles as the network has them.

        A known primary block is a condition where another one is asked for. Else the known ones are at a time, as those
        that are asked for are; and so are all of them where there is none.
        """
        primary, some = self.is_primary(roles), self.some(roles.clean)
        asked = self.some(roles.diffused)
        moved = asked & roles.diffused | ~asked & (roles.clean | ~some)
        return BlockRoles(primary & moved | ~primary & roles.diffused, roles.clean & (asked | ~primary))

    def some(self, which: Array) -> Array:
        """Rows in which one of the primary blocks is among ``which`` ``(*, M)``, ``(*, 1)``."""
        xp = get_backend(which).xp
        return xp.any(which & self.is_primary(BlockRoles(which, which)), axis=-1)[..., None]

    def moved(self, roles: BlockRoles) -> Array:
        """Primary blocks that are at a time, boolean ``(*, M)``; the others of them are known, or not there."""
        return self.is_primary(roles) & self.acting(roles).diffused

    def others(self, roles: BlockRoles) -> BlockRoles:
        """The roles with primary blocks neither asked for nor known."""
        primary = self.is_primary(roles)
        return BlockRoles(roles.diffused & ~primary, roles.clean & ~primary)

    def joins(self, roles: BlockRoles, z: Array) -> Array:
        """Blocks that join, the others 0, ``(*, D)``."""
        xp, others = get_backend(z).xp, self.others(roles)
        return xp.where(self.blocks.spread(others.diffused | others.clean), z, xp.zeros_like(z))

    def diffuse(self, z: Array, roles: BlockRoles, t: Array, noise: Array, shift: Array | None = None) -> Array:
        """Primary blocks at times ``t`` ``(*, 1)``, the others as they are, ``(*, D)``; absent ones do not join.

        No gradient passes through what joins, ``shift`` if it is not that of :meth:`shift`.
        """
        backend = get_backend(z)
        xp = backend.xp
        shift = backend.stop_gradient(self.shift(self.joins(roles, z)) if shift is None else shift)
        moved = self.blocks.spread(self.moved(roles))
        return xp.where(moved, self.sde.diffuse(z, t, noise) + self.weight(t) * shift, z)


class _Frozen(dict):
    """A dictionary that counts as the one it is: both hosts keep settings by their hashes."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple((name, _key(value)) for name, value in self.items()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, dict) or list(self) != list(other):
            return False
        return all(_key(value) == _key(other[name]) for name, value in self.items())

    __ne__ = object.__ne__


def _key(value: Any) -> Any:
    return _Matrix(value) if isinstance(value, np.ndarray) else value


class _Matrix:
    """An array that can be a key."""

    def __init__(self, value: Any) -> None:
        self.value = np.asarray(value)
        self.bytes = (self.value.shape, self.value.tobytes())

    def __hash__(self) -> int:
        return hash(self.bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Matrix) and self.bytes == other.bytes


@lru_cache(maxsize=32)
def _maps(
    blocks: Blocks, places: tuple[int, ...], matrices: tuple[tuple[str, _Matrix], ...], skip: tuple[str, ...]
) -> np.ndarray:
    """The maps into the primary blocks, one below the other, ``(D, D)``: identities where sizes agree.

    Others are parts of random rotations, the same at every run, or matrices that are given; blocks of ``skip`` have
    none.
    """
    given = dict(matrices)

    def part(i: int, name: str, size: int) -> np.ndarray:
        """Share of one block in the sum, which a primary one has not."""
        if i in places or name in skip:
            return np.zeros((size, own))
        if name in given:
            return given[name].value
        if size in sizes:
            return np.eye(size, own, sum(sizes[: sizes.index(size)]))
        if size == own:
            return np.eye(own)
        most = max(size, own)
        turn = np.linalg.qr(np.random.default_rng([i, most]).standard_normal((most, most)))[0]
        return turn[:size, :own]

    sizes = [blocks.sizes[i] for i in places]
    own, diffused = sum(sizes), np.repeat(np.isin(np.arange(len(blocks)), places), blocks.sizes)
    maps = np.concatenate([part(i, name, size) for i, (name, size) in enumerate(blocks.items())])
    return np.where(diffused, maps[:, np.cumsum(diffused) - 1], 0.0)
