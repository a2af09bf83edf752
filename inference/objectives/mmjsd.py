"""The multi-modal Jensen-Shannon objective."""

from typing import Any

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.inference.objectives.base import Objective
from mmppl.inference.objectives.terms import References, Terms
from mmppl.subsets import inside, present_table, singles

Array = Any

__all__ = ["MMJSD"]


class MMJSD(Objective):
    r"""Reconstruction from single posteriors, less a Jensen-Shannon divergence of them and the prior (mmJSD).

    .. math:: L = \frac{1}{n} \sum_{m \in P} \mathbb{E}_{q(z \mid x_m)}[\log p(x_P \mid z)]
        - \frac{\beta}{n + 1} \Big( \sum_{m \in P} \mathrm{KL}(q(z \mid x_m) \,\|\, q(z \mid x_P))
        + \mathrm{KL}(q(z \mid \emptyset) \,\|\, q(z \mid x_P)) \Big), \qquad n = |P|

    The guide says what the dynamic prior :math:`q(z \mid x_P)` is, by its answer to several modalities: the mean of
    their experts and the prior, geometric (:class:`~mmppl.aggregation.GeometricMean`) or arithmetic (a mixture). Its
    answer to nothing is the prior. A datum with one modality has its ELBO. As the dynamic prior follows the data, L may
    exceed the evidence.

    References:
        | Multimodal Generative Learning Utilizing Jensen-Shannon-Divergence (Sutter et al., 2020), section 3
        | https://arxiv.org/abs/2006.08242

    Arguments:
        particles: K, averaged.
        options: Those of :class:`~mmppl.inference.objectives.base.Objective`.

    Raises:
        ObjectiveError: If a batch has fewer than two modalities, or the program has private latents.

    Example:
        >>> MMJSD(beta=2.5).beta
        2.5
    """

    least, shared = 2, True

    def __init__(self, particles: int = 1, **options: Any):
        super().__init__(particles, **{"average": True, **options})

    def terms(self, backend: Backend, batch: Batch, rng: Any, like: Array) -> Terms:
        xp = backend.xp
        present = present_table(backend, batch)
        alone = singles(backend, present, like)
        valid = xp.astype(inside(backend, alone, present), like.dtype)
        number = xp.sum(valid, axis=0)
        several = xp.astype(number > 1.5, like.dtype)
        parts = several * number + 1.0
        weight = xp.concat([valid / parts, (several / parts)[None, :]], axis=0)
        encode = xp.concat([alone, xp.zeros_like(alone[:1, ...])], axis=0)
        # The likelihood has the share 1 / n, and is in a term of weight 1 / (n + 1).
        factor = xp.where(number > 0, parts / xp.where(number > 0, number, xp.ones_like(number)), number)
        scored = xp.where(xp.any(encode, axis=-1), factor, xp.zeros_like(factor))
        score = scored[..., None] * xp.astype(present, like.dtype)
        share = xp.broadcast_to(several, weight.shape)
        reference = References(present[None, ...], share[:, None, :], 1.0 - share)
        return Terms(encode, score, weight, reference, beside=scored)
