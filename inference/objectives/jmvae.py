"""JMVAE's joint bound that pulls the joint posterior towards those of single modalities."""

from typing import Any

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.checks import at_least, checked
from mmppl.inference.objectives.base import Objective
from mmppl.inference.objectives.terms import References, Terms
from mmppl.subsets import inside, present_table, singles

Array = Any

__all__ = ["JMVAE"]


@checked(alpha=at_least(0))
class JMVAE(Objective):
    r"""The ELBO of everything present, less the divergences from the single posteriors.

    .. math:: L = \mathbb{E}_{q(z \mid x_P)}[\log p(x_P \mid z)] - \mathrm{KL}(q(z \mid x_P) \,\|\, p(z))
        - \alpha \sum_{m \in P} \mathrm{KL}(q(z \mid x_P) \,\|\, q(z \mid x_m))

    :math:`\beta` is a factor on all divergences. A lower bound of the evidence for every :math:`\alpha`.

    References:
        | Joint Multimodal Learning with Deep Generative Models (Suzuki et al., 2016), section 3.3
        | https://arxiv.org/abs/1611.01891

    Arguments:
        particles: K, averaged.
        alpha: :math:`\alpha`.
        options: Those of :class:`~mmppl.inference.objectives.base.Objective`.

    Raises:
        ObjectiveError: If a batch has fewer than two modalities.

    Example:
        >>> JMVAE(alpha=0.01).alpha
        0.01
    """

    least, shared = 2, True

    def __init__(self, particles: int = 1, *, alpha: float = 0.1, **options: Any):
        self.alpha = float(alpha)
        super().__init__(particles, **{"average": True, **options})

    def terms(self, backend: Backend, batch: Batch, rng: Any, like: Array) -> Terms:
        xp = backend.xp
        present = present_table(backend, batch)
        subsets = singles(backend, present, like)
        valid = xp.astype(inside(backend, subsets, present), like.dtype)
        weight = xp.astype(xp.any(present, axis=-1), like.dtype)[None, :]
        reference = References(subsets, self.alpha * valid[None, ...], xp.ones_like(weight))
        return Terms(present[None, ...], present[None, ...], weight, reference)
