r"""The space of one block that the others join: the forward half of a multi-task diffusion.

With :math:`z_0` the primary block, :math:`x_i` the others and :math:`E_i` fixed maps into its space,

.. math:: q(z_t \mid z_0, x) = \mathcal{N}\Big(a(t) z_0 + \sum_i \tilde a(t) E_i x_i,\ \sigma(t)^2 I\Big), \qquad
    \tilde a(t) = k\, a(t) (1 - a(t))

which leaves both ends as they are: :math:`\tilde a(0) = 0` and :math:`\tilde a(1) \approx 0`. The weights of single
steps, :math:`w = \tilde a_t a_u / a_t - \tilde a_u` from u to t, follow.

References:
    | Diffusion Models For Multi-Modal Generative Modeling (Chen et al., 2024), section 3.1
    | https://openreview.net/forum?id=cbv0sBIZh9
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.checks import at_least, checked
from mmppl.errors import ModalityError, OptionError
from mmppl.priors.blocks import Blocks
from mmppl.priors.condition import BlockRoles
from mmppl.sde import VP

Array = Any

__all__ = ["SharedSpace"]


@checked(strength=at_least(0))
@dataclass(frozen=True)
class SharedSpace:
    r"""One block diffuses, and the others join it on the way.

    :math:`E_i` is the identity where dimensions agree, else a part of a rotation, the same at every run.

    Arguments:
        blocks: The blocks of the latent, one for each modality.
        primary: Name of the one that diffuses; None for the first.
        strength: k.
        sde: The diffusion.

    Raises:
        ModalityError: If there is no such block.
        OptionError: If there is one block alone, or k is negative.

    Example:
        >>> space = SharedSpace(Blocks.of({"ink": 2, "word": 2}))
        >>> space.shift(np.array([[0.0, 0.0, 3.0, 4.0]])).tolist()
        [[3.0, 4.0, 0.0, 0.0]]
    """

    blocks: Blocks
    primary: str | None = None
    strength: float = 1.0
    sde: VP = field(default_factory=VP)

    def __post_init__(self) -> None:
        if len(self.blocks) < 2:
            raise OptionError(f"Expected two blocks or more; got {list(self.blocks.names)}. Use Diffusion for one.")
        if self.primary is not None and self.primary not in self.blocks.names:
            raise ModalityError(f"Expected a primary block among {list(self.blocks.names)}; got {self.primary!r}.")
        if not 0.0 <= self.strength < math.inf:
            raise OptionError(f"Expected strength >= 0; got {self.strength}.")

    @property
    def place(self) -> int:
        """Index of the block that diffuses."""
        return 0 if self.primary is None else self.blocks.names.index(self.primary)

    def weight(self, t: Array) -> Array:
        r""":math:`\tilde a(t)`, ``(*,)`` to ``(*,)``."""
        factor = self.sde.mean_factor(t)
        return self.strength * factor * (1.0 - factor)

    def flow_weight(self, t: Array) -> Array:
        r""":math:`2 c / g^2 = k a^2`, with :math:`c = \tilde a' - f \tilde a` the drift's factor of :math:`E_i x_i`."""
        return self.strength * self.sde.mean_factor(t) ** 2

    def shift(self, x: Array) -> Array:
        r""":math:`\sum_i E_i x_i`, ``(*, D)``: in the place of the primary block, 0 elsewhere."""
        return x @ get_backend(x).asarray(_maps(self.blocks.sizes, self.place), like=x)

    def is_primary(self, states: BlockRoles) -> Array:
        """Boolean ``(M,)``: which block diffuses."""
        return get_backend(states.clean).asarray(np.arange(len(self.blocks)) == self.place)

    def others(self, states: BlockRoles) -> BlockRoles:
        """The states with the primary block neither asked for nor known."""
        primary = self.is_primary(states)
        return BlockRoles(states.diffused & ~primary, states.clean & ~primary)

    def diffuse(self, z: Array, states: BlockRoles, t: Array, noise: Array) -> Array:
        """The primary block at times ``t`` ``(*, 1)``, the others as they are, ``(*, D)``; absent ones do not join.

        No gradient passes through what joins.
        """
        backend = get_backend(z)
        xp, others = backend.xp, self.others(states)
        joins = self.blocks.spread(others.diffused | others.clean)
        shift = backend.stop_gradient(self.shift(xp.where(joins, z, xp.zeros_like(z))))
        primary = self.blocks.spread(self.is_primary(states))
        return xp.where(primary, self.sde.diffuse(z, t, noise) + self.weight(t) * shift, z)


@lru_cache(maxsize=32)
def _maps(sizes: tuple[int, ...], place: int) -> np.ndarray:
    """The maps into the primary block, one below the other, ``(D, D)``: identities where sizes agree.

    Others are parts of random rotations, the same at every run.
    """

    def part(i: int, size: int) -> np.ndarray:
        """Share of one block in the sum: its map where that is the primary one, nothing elsewhere."""
        if i == place:
            return np.zeros((size, own))
        if size == own:
            return np.eye(own)
        most = max(size, own)
        turn = np.linalg.qr(np.random.default_rng([i, most]).standard_normal((most, most)))[0]
        return turn[:size, :own]

    own = sizes[place]
    maps = np.concatenate([part(i, size) for i, size in enumerate(sizes)])
    before = sum(sizes[:place])
    return np.pad(maps, ((0, 0), (before, sum(sizes) - before - own)))
