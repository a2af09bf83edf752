"""The evidence lower bound."""

from typing import Any

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.inference.objectives.base import Objective
from mmppl.inference.objectives.terms import Terms
from mmppl.subsets import present_table

Array = Any

__all__ = ["ELBO"]


class ELBO(Objective):
    r"""Encode what is present, score what is present.

    .. math:: L = \mathbb{E}_{q(z \mid x_P)}[\log p(x_P \mid z) + \beta(\log p(z) - \log q(z \mid x_P))]

    With ``particles`` K > 1 it is the importance-weighted bound (IWAE), unless ``average=True``.

    References:
        | Auto-Encoding Variational Bayes (Kingma & Welling, 2014), https://arxiv.org/abs/1312.6114

    Example:
        >>> ELBO(particles=8).particles
        8
    """

    def terms(self, backend: Backend, batch: Batch, rng: Any, like: Array) -> Terms:
        present = present_table(backend, batch)[None, ...]
        weight = backend.xp.astype(backend.xp.any(present, axis=-1), like.dtype)
        return Terms(present, present, weight)
