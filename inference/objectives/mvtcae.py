"""MVTCAE's bound on the total correlation."""

from typing import Any

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.checks import checked, within
from mmppl.inference.objectives.base import Objective
from mmppl.inference.objectives.terms import References, Terms
from mmppl.subsets import inside, present_table, singles

Array = Any

__all__ = ["MVTCAE"]


@checked(alpha=within(0, 1))
class MVTCAE(Objective):
    r"""A convex combination of the ELBO and of conditional bounds.

    .. math:: L = \frac{n - \alpha}{n} \mathbb{E}_{q(z \mid x_P)}[\log p(x_P \mid z)]
        - \beta \Big( (1 - \alpha)\, \mathrm{KL}(q(z \mid x_P) \,\|\, p(z))
        + \frac{\alpha}{n} \sum_{m \in P} \mathrm{KL}(q(z \mid x_P) \,\|\, q(z \mid x_m)) \Big), \qquad n = |P|

    With :math:`\beta = 1` it is :math:`(1 - \alpha)` times the ELBO plus :math:`\alpha` times the mean over m of bounds
    on :math:`\log \int q(z \mid x_m)\, p(x_{P \setminus m} \mid z)\, dz`; so with exact posteriors it is
    :math:`\log p(x_P) - \frac{\alpha}{n} \sum_m \log p(x_m)`, and no bound on the evidence itself. A datum with one
    modality counts :math:`1 - \alpha` times its ELBO.

    References:
        | Multi-View Representation Learning via Total Correlation Objective (Hwang et al., 2021), section 3
        | https://proceedings.neurips.cc/paper/2021/hash/65a99bb7a3115fdede20da98b08a370f-Abstract.html

    Arguments:
        particles: Draws K of the guide for each datum.
        alpha: :math:`\alpha` in [0, 1]; 0 is the ELBO.
        options: Those of :class:`~mmppl.inference.objectives.base.Objective`.

    Raises:
        ObjectiveError: If a batch has fewer than two modalities.

    Example:
        >>> round(MVTCAE().alpha, 3)
        0.833
    """

    least, shared = 2, True

    def __init__(self, particles: int = 1, *, alpha: float = 5 / 6, **options: Any):
        self.alpha = float(alpha)
        super().__init__(particles, **options)

    def terms(self, backend: Backend, batch: Batch, rng: Any, like: Array) -> Terms:
        xp = backend.xp
        present = present_table(backend, batch)
        subsets = singles(backend, present, like)
        valid = xp.astype(inside(backend, subsets, present), like.dtype)
        number = xp.sum(valid, axis=0)
        number = xp.where(number > 0, number, xp.ones_like(number))
        weight = xp.astype(xp.any(present, axis=-1), like.dtype)[None, :]
        reference = References(
            subsets, (self.alpha * valid / number)[None, ...], (1.0 - self.alpha) * xp.ones_like(weight)
        )
        score = ((number - self.alpha) / number)[:, None] * xp.astype(present, like.dtype)
        return Terms(present[None, ...], score[None, ...], weight, reference)
