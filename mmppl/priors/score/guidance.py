r"""Coherence guidance: an energy that tells pairs of latents that belong together from pairs that do not.

With :math:`E(z_i, z_j, t)` trained on diffused latents, by

.. math:: \mathrm{softplus}(E_\text{real}) + \tfrac12 \big[\mathrm{softplus}(-E_\text{mismatched})
    + \mathrm{softplus}(-E_\text{noise})\big]

where both halves of a real or mismatched pair are diffused to the time that the energy is given, and noise is that of
the diffusion's end at every time. The energy that minimises it is

.. math:: E^*(z_i, z_j, t) = \log \frac{\tfrac12 \big[p_t(z_i)\, p_t(z_j) + \mathcal{N}(z_i)\, \mathcal{N}(z_j)\big]}
    {p_t(z_i, z_j)}

With it the score of missing blocks is shifted by :math:`-\lambda \nabla_z \sum E` over pairs of a known and a missing
block. The gradient is each datum's own, so that :math:`\lambda` means the same whatever the size of the batch.

References:
    | Score-Based Multimodal Autoencoder (Wesego & Rooshenas, 2024), https://arxiv.org/abs/2305.15708
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from mmppl._backend import Backend
from mmppl.checks import at_least, checked
from mmppl.errors import OptionError
from mmppl.priors.blocks import Blocks
from mmppl.priors.condition import BlockRoles
from mmppl.sde import SDE, VP

Array = Any

__all__ = ["PairwiseGuidance", "pair_name"]

FIRST = 1e-3


def pair_name(first: str, second: str) -> str:
    """The name of the energy of a pair, where every pair has its own."""
    return f"{first}.{second}"


@checked(strength=at_least(0))
@dataclass(frozen=True)
class PairwiseGuidance:
    r"""Guidance by energies of pairs of blocks.

    Arguments:
        blocks: The blocks of the latent.
        strength: :math:`\lambda`.
        sde: The diffusion, the same as the score's.

    Raises:
        OptionError: If the strength is negative, or there is but one block.

    Example:
        >>> PairwiseGuidance(Blocks.of({"a": 2, "b": 3, "c": 1})).pairs
        [(0, 1), (0, 2), (1, 2)]
    """

    blocks: Blocks
    strength: float = 1.0
    sde: SDE = field(default_factory=VP)

    def __post_init__(self) -> None:
        if self.strength < 0.0 or len(self.blocks) < 2:
            raise OptionError(
                f"Expected a strength >= 0 and two blocks or more; got {self.strength} and {list(self.blocks.names)}."
            )

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every pair of blocks, by place."""
        return list(combinations(range(len(self.blocks)), 2))

    def energies(self, backend: Backend, energy: Any, z: Array, other: Array, t: Array) -> list[Array]:
        """The energy of every pair, ``(*,)`` each: the first block of ``z`` with the second of ``other``.

        Arguments:
            backend: The backend of the arrays.
            energy: A network ``(*, 2 S + 2 M + 1)`` to ``(*,)``, or one for each pair by :func:`pair_name`.
            z: Latents, ``(*, D)``.
            other: Latents, ``(*, D)``.
            t: Times, ``(*, 1)``.
        """
        xp, names = backend.xp, self.blocks.names
        left, right = self._padded(backend, z), self._padded(backend, other)
        zero = xp.zeros_like(t)

        def one(place: int) -> list[Array]:
            return [zero + float(place == i) for i in range(len(names))]

        out = []
        for i, j in self.pairs:
            own = energy[pair_name(names[i], names[j])] if isinstance(energy, Mapping) else energy
            out.append(own(xp.concat([left[i], right[j], *one(i), *one(j), t], axis=-1)))
        return out

    def losses(self, backend: Backend, rng: Any, energy: Any, z: Array, present: Array) -> Array:
        """The contrastive loss of each row, ``(N,)``, over the pairs that it has.

        Of a mismatched pair the first half is the row before's, which lends it also where this row has it not. Where
        blocks are missing, these count for as much in all as the real pairs do.

        Arguments:
            backend: The backend of the arrays.
            rng: A random handle.
            energy: See :meth:`energies`.
            z: Standardised latents, ``(N, D)``, in a random order.
            present: ``(N, M)``.

        Raises:
            OptionError: If there is but one row, which cannot be mismatched.
        """
        xp = backend.xp
        if z.shape[-2] < 2:
            raise OptionError("Expected two rows or more, to mismatch pairs; got one. Use larger minibatches.")
        keys = backend.split(rng, 5)
        shape = tuple(z.shape)
        real, mixed, nothing = (backend.normal(key, shape, z) for key in keys[:3])
        times = [FIRST + (1.0 - FIRST) * backend.uniform(key, (*shape[:-1], 1), z) for key in keys[3:]]
        at = self.sde.diffuse(z, times[0], real)
        # Rows come shuffled, so the row before is a random one. It is diffused to this row's time.
        before, there = xp.roll(z, 1, axis=-2), xp.roll(present, 1, axis=-2)
        left, right = (self.sde.diffuse(half, times[1], mixed) for half in (before, z))
        noise = self.sde.prior_scale * nothing
        total = xp.zeros_like(z[..., 0])
        together = self.energies(backend, energy, at, at, times[0])
        apart = self.energies(backend, energy, left, right, times[1])
        blank = self.energies(backend, energy, noise, noise, times[1])
        for (i, j), good, bad, none in zip(self.pairs, together, apart, blank, strict=True):
            has, pair = present[..., i] & present[..., j], there[..., i] & present[..., j]
            real_ones, mismatched = (xp.where(x, xp.ones_like(good), xp.zeros_like(good)) for x in (has, pair))
            number = xp.sum(mismatched, axis=-1, keepdims=True)
            share = xp.sum(real_ones, axis=-1, keepdims=True) / xp.where(number > 0, number, xp.ones_like(number))
            known = backend.softplus(good) + 0.5 * backend.softplus(-none)
            match = 0.5 * share * backend.softplus(-bad)
            zero = xp.zeros_like(known)
            total = total + xp.where(has, known, zero) + xp.where(pair, match, zero)
        return total / len(self.pairs)

    def score(self, backend: Backend, energy: Any, roles: BlockRoles) -> Callable[[Array, Array], Array]:
        """Term added to the score at ``(z, t)``: minus the gradient over pairs of a clean and a diffused block."""
        xp = backend.xp

        def score(z: Array, t: Array) -> Array:
            def total(x: Array) -> Array:
                out = xp.zeros_like(x[..., 0])
                values = self.energies(backend, energy, x, x, t + xp.zeros_like(x[..., :1]))
                for (i, j), value in zip(self.pairs, values, strict=True):
                    clean, diffused = roles.clean, roles.diffused
                    across = (clean[..., i] & diffused[..., j]) | (clean[..., j] & diffused[..., i])
                    out = out + xp.where(across, value, xp.zeros_like(value))
                return out

            return -self.strength * backend.value_and_grad(total, z)[1]

        return score

    def _padded(self, backend: Backend, z: Array) -> list[Array]:
        xp, widest = backend.xp, max(self.blocks.sizes)
        parts = []
        for part in self.blocks.split(z).values():
            missing = widest - part.shape[-1]
            blank = xp.zeros((*part.shape[:-1], missing), dtype=part.dtype)
            parts.append(xp.concat([part, blank], axis=-1) if missing else part)
        return parts
