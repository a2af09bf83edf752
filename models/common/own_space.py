r"""Modalities in their own spaces, without an autoencoder: a code is the datum itself, and says it exactly.

Numbers and counts are their own codes; ids of tokens and classes are one-hot vectors, one for each id. Pixels of 256
levels are made continuous by noise that is a third of a level wide, and a draw is a level next to it:

.. math:: q(z \mid x) = \mathcal{N}\big(x, (0.34\, \delta)^2\big), \qquad \delta = 1 / 255

so that a density of codes bounds the probability of pixels. Ids that are diffused get noise too, and are read by

.. math:: q(z \mid x) = \mathcal{N}\big(e_x, s^2 I\big), \qquad p(x \mid z) \propto \exp(z_x / s^2), \qquad s = 0.15

which are each other's inverse. Zeros and ones of Bernoulli, and counts, have heads alone.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.errors import DataError, ModalityError
from mmppl.inference.host import PPL
from mmppl.likelihoods.discretized_logistic import LEVELS
from mmppl.priors import BernoulliHead, CategoricalHead, NormalHead, PoissonHead
from mmppl.priors.coordinates import FLOOR
from mmppl.priors.multi_task.heads import Head

__all__ = ["OwnSpace"]

Array = Any

# Deviation of the codes of pixels and scale of their likelihood, in pixels.
# The two are close to each other's inverse, so that importance weights hardly vary.
SPREAD, WIDTH = 0.34 / LEVELS, 0.1 / LEVELS
SURE = 1e3  # logit of what a code says
LEAST = 0.01  # least scale of a head of numbers, in their standard deviations
BLURRED = 0.15  # deviation of the codes of ids that are diffused


@dataclass(frozen=True)
class OwnSpace:
    """A modality in its own space.

    Arguments:
        name: Its name.
        modality: What it is.
        diffused: Whether it is diffused, and not read off by a head.

    Raises:
        ModalityError: If it cannot be diffused.

    Example:
        >>> OwnSpace("word", Modality((5,), kind="tokens", vocabulary=27)).size
        135
    """

    name: str
    modality: Modality
    diffused: bool = False

    def __post_init__(self) -> None:
        if self.diffused and (self._binary or self.modality.scoring.values == "counts" and not self.modality.ids):
            raise ModalityError(
                f"Expected a primary modality of numbers or ids, which can be diffused in their own space; got "
                f"'{self.name}', of kind '{self.modality.kind}' and likelihood '{self.modality.likelihood}'. Take "
                "primary=, or space='latent'."
            )

    @property
    def size(self) -> int:
        """Dimension of a code."""
        return prod(self.modality.shape) * (self.modality.ids or 1)

    @property
    def pixels(self) -> bool:
        """Tells whether its values are levels of pixels."""
        return self.modality.scoring.levels and not self.modality.ids

    @property
    def numbers(self) -> bool:
        """Tells whether its values are numbers."""
        return not self.modality.ids and self.modality.scoring.values != "counts" and not self._binary

    @property
    def _blurred(self) -> bool:
        return self.diffused and bool(self.modality.ids)

    @property
    def _binary(self) -> bool:
        return self.modality.likelihood == "bernoulli" and not self.modality.ids

    def check_whole(self) -> None:
        """Raises :class:`ModalityError` if single elements may be missing."""
        if self.modality.partial:
            raise ModalityError(
                f"Modality '{self.name}': expected whole events in its own space; got partial=True. Give what is "
                "visible as a modality of its own, see mmppl.data.with_masks, or take space='latent'."
            )

    def encode(self, value: Array, like: Array) -> tuple[Array, Array]:
        """The code of data ``(N, *event)`` and its standard deviation, 0 where it is exact, ``(N, D)`` each."""
        backend = get_backend(like)
        xp, modality = backend.xp, self.modality
        if modality.ids:
            ids = backend.asarray(np.arange(modality.ids))
            value = xp.where(value[..., None] == ids, xp.ones_like(like[0]), xp.zeros_like(like[0]))
        code = xp.astype(xp.reshape(value, (value.shape[0], self.size)), like.dtype)
        spread = BLURRED if self._blurred else SPREAD if self.pixels else 0.0
        return code, xp.zeros_like(code) + spread

    def likelihood(self, ppl: PPL, z: Array) -> Any:
        """The distribution of data given codes ``(*, D)``."""
        modality, dist, xp = self.modality, ppl.host.dist, get_backend(z).xp
        rank, shape = len(modality.shape), (*z.shape[:-1], *modality.shape)
        if modality.ids:
            sure = BLURRED**-2 if self._blurred else SURE
            logits = sure * xp.reshape(z, (*shape, modality.ids))
            return dist.Categorical(logits=logits).to_event(rank)
        z = xp.reshape(z, shape)
        if self._binary:
            return ppl.likelihood(modality, SURE * (2.0 * z - 1.0))
        if self.pixels:
            return ppl.likelihood(replace(modality, scale=WIDTH), z)
        return dist.Delta(z, event_dim=rank)

    def statistics(self, codes: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation that standardise codes: common ones of an image or of ids, of each number else.

        Ids that are not diffused have none, nor has what no row has.

        Raises:
            DataError: If no row has what is diffused.
        """
        loc, scale = np.zeros(self.size), np.ones(self.size)
        there = np.asarray(codes.present[self.name])
        if self.diffused and not there.any():
            raise DataError(
                f"Expected rows with '{self.name}', which is diffused; got {len(there)} without it. Take primary= of a "
                "modality that there is."
            )
        if not (self.numbers or self._blurred) or not there.any():
            return loc, scale
        rows = np.asarray(codes[self.name], dtype=np.float64)[there]
        axis = None if self.modality.kind == "image" or self._blurred else 0
        spread = rows.std(axis=axis)
        return loc + rows.mean(axis=axis), np.maximum(scale * spread, FLOOR * max(float(spread.max()), 1e-12))

    @property
    def head(self) -> Head:
        """The head that reads it off the diffused modality."""
        if self.modality.ids:
            return CategoricalHead(self.modality.ids)
        if self._binary:
            return BernoulliHead()
        return NormalHead(LEAST) if self.numbers else PoissonHead()
