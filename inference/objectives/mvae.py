"""MVAE's sub-sampled sum of ELBOs."""

from typing import Any

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.checks import at_least, checked
from mmppl.inference.objectives.base import Objective
from mmppl.inference.objectives.terms import Terms
from mmppl.subsets import inside, present_table, random_subsets, singles

Array = Any

__all__ = ["MVAE"]


@checked(random=at_least(0))
class MVAE(Objective):
    r"""The sum of the ELBOs of everything present, of each single modality, and of random subsets.

    .. math:: L = \mathrm{ELBO}(x_P) + \sum_{m \in P} \mathrm{ELBO}(x_m) + \sum_{r=1}^{R} \mathrm{ELBO}(x_{S_r})

    Each term encodes and scores the same subset, drawn anew for each datum within what it has.

    References:
        | Multimodal Generative Models for Scalable Weakly-Supervised Learning (Wu & Goodman, 2018), section 2.2
        | https://arxiv.org/abs/1802.05335

    Arguments:
        particles: Draws K of the guide for each datum.
        random: R, the number of random subsets.
        options: Those of :class:`~mmppl.inference.objectives.base.Objective`.

    Example:
        >>> MVAE(random=2).random
        2
    """

    def __init__(self, particles: int = 1, *, random: int = 1, **options: Any):
        self.random = random
        super().__init__(particles, **options)

    def terms(self, backend: Backend, batch: Batch, rng: Any, like: Array) -> Terms:
        xp = backend.xp
        present = present_table(backend, batch)
        alone = singles(backend, present, like)
        groups, valid = [present[None, ...], alone], [xp.any(present, axis=-1)[None, :]]
        valid.append(inside(backend, alone, present))
        if self.random:
            groups.append(random_subsets(backend, rng, self.random, present, like))
            valid.append(xp.any(groups[-1], axis=-1))
        encode, number = xp.concat(groups, axis=0), len(batch.modalities)
        # All but its own of the single modalities leave a modality out.
        drawn = range(1 + number, encode.shape[0])
        scored = tuple((0, 1 + i, *drawn) for i in range(number))
        return Terms(encode, encode, xp.astype(xp.concat(valid, axis=0), like.dtype), scored=scored)
