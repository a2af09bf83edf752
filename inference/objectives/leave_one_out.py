"""Bounds of each modality given the others, to look at; nothing is trained by them."""

from typing import Any

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.inference.objectives.base import Objective
from mmppl.inference.objectives.evaluation import Evaluation
from mmppl.inference.objectives.terms import Draws, References, Terms
from mmppl.subsets import present_table, singles

Array = Any

__all__ = ["CONDITIONAL", "LeaveOneOut"]

CONDITIONAL = "conditional."


class LeaveOneOut(Objective):
    r"""Bounds of the log density of each modality given the others, datum by datum.

    .. math:: \mathbb{E}_{q(z \mid x_P)}\big[ \log p(x_m \mid z) + \log q(z \mid x_{P \setminus m})
        - \log q(z \mid x_P) \big] \le \log \int p(x_m \mid z)\, q(z \mid x_{P \setminus m})\, dz

    which is :math:`\log p(x_m \mid x_{P \setminus m})` where the guide is exact. The record holds the mean of each over
    the rows that have m and something else, ``conditional.<m>``.

    References:
        | Hirt et al. (2024), section 3, the second term; https://arxiv.org/abs/2309.00380

    Example:
        >>> LeaveOneOut().least
        2
    """

    least = 2

    def terms(self, backend: Backend, batch: Batch, rng: Any, like: Array) -> Terms:
        xp = backend.xp
        present = present_table(backend, batch)
        alone = singles(backend, present, like)
        rest = present[None, ...] & ~alone
        valid = xp.any(alone & present[None, ...], axis=-1) & xp.any(rest, axis=-1)
        number = alone.shape[0]
        share = xp.stack(
            [
                xp.stack([xp.astype(valid[t, :], like.dtype) * float(t == u) for u in range(number)])
                for t in range(number)
            ]
        )
        encode = xp.broadcast_to(present[None, ...], alone.shape)
        reference = References(rest, share, 0.0 * share[:, 0, :])
        return Terms(encode, alone & present[None, ...], xp.astype(valid, like.dtype), reference)

    def admit(self, draws: Draws, modalities: tuple[str, ...]) -> None:
        """Admits every latent: no gradient is taken."""

    def evaluate(self, run: Evaluation, batch: Batch, rng: Any, step: Any = None) -> tuple[Array, dict[str, Array]]:
        """A loss of 0, and the record of the bounds."""
        self.check(batch.modalities)
        xp = run.backend.xp
        terms = self.terms(run.backend, batch, rng, run.like)
        draws = run.draw(terms, self.particles, average=self.average)
        parts = self._ingredients(run, batch, terms, draws, *self._log_q(run, batch, terms, draws))
        bound = xp.mean(parts.log_weights(1.0), axis=0)
        valid = terms.weight > 0
        total = xp.sum(xp.where(valid, bound, xp.zeros_like(bound)), axis=-1)
        number = xp.sum(terms.weight, axis=-1)
        mean = run.backend.stop_gradient(total / xp.where(number > 0, number, xp.ones_like(number)))
        return 0.0 * mean[0], {f"{CONDITIONAL}{name}": mean[i] for i, name in enumerate(batch.modalities)}
