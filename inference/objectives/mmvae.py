"""MMVAE's stratified mixture bound."""

from typing import Any

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.inference.objectives.stratified import Stratified
from mmppl.inference.objectives.terms import Terms
from mmppl.subsets import present_table, singles

Array = Any

__all__ = ["MMVAE"]


class MMVAE(Stratified):
    r"""The mean over experts of bounds that score everything, with the mixture's density.

    .. math:: L = \frac{1}{|P|} \sum_{m \in P} \mathbb{E}_{z^{1:K} \sim q(z \mid x_m)}
        \log \frac{1}{K} \sum_k \frac{p(x_P \mid z^k)\, p(z^k)^\beta}{q_\mathrm{mix}(z^k)^\beta}

    Every expert present is a stratum (``strata="all"``), or one is drawn for each datum (``strata="one"``): unbiased
    as well, and M times cheaper in decoders.

    References:
        | Variational Mixture-of-Experts Autoencoders for Multi-Modal Deep Generative Models (Shi et al., 2019)
        | https://arxiv.org/abs/1911.03393

    Arguments:
        particles: Draws K of the guide for each datum.
        options: ``strata``, and those of :class:`~mmppl.inference.objectives.base.Objective`; ``density`` is
            ``"mixture"`` by default.

    Example:
        >>> MMVAE(particles=4, gradient="dreg").density
        'mixture'
    """

    def __init__(self, particles: int = 1, **options: Any):
        super().__init__(particles, **{"density": "mixture", **options})

    def terms(self, backend: Backend, batch: Batch, rng: Any, like: Array) -> Terms:
        present = present_table(backend, batch)
        return self.stratified(backend, rng, singles(backend, present, like), present, like)
