"""MoPoE's mean over every subset."""

from typing import Any

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.inference.objectives.stratified import Stratified
from mmppl.inference.objectives.terms import Terms
from mmppl.subsets import MAX_SUBSETS, all_subsets, present_table, random_subsets, table

Array = Any

__all__ = ["MoPoE"]


class MoPoE(Stratified):
    r"""The mean over subsets of bounds that encode the subset and score everything.

    .. math:: L = \frac{1}{|\mathcal{S}_P|} \sum_{S \in \mathcal{S}_P} \mathbb{E}_{q_S(z)}
        [\log p(x_P \mid z) + \beta(\log p(z) - \log q_S(z))]

    over the non-empty subsets of what is present. With ``density="mixture"`` the density is that of the mixture over
    subsets, which is tighter. With ``strata="one"`` each datum has one subset a step, as in the published code, which
    deals a batch out to the subsets: one draw is decoded in place of one for every subset. More than 32 subsets are
    sampled for each datum and step, not enumerated.

    References:
        | Generalized Multimodal ELBO (Sutter et al., 2021), section 3
        | https://arxiv.org/abs/2105.02470

    Arguments:
        particles: Draws K of the guide for each datum.
        options: ``strata``, and those of :class:`~mmppl.inference.objectives.base.Objective`.

    Example:
        >>> MoPoE(beta=2.5).beta
        2.5
    """

    def strata_of(self, modalities: int) -> int:
        return min(2**modalities - 1, MAX_SUBSETS)

    def terms(self, backend: Backend, batch: Batch, rng: Any, like: Array) -> Terms:
        present, num = present_table(backend, batch), len(batch.modalities)
        if 2**num - 1 > MAX_SUBSETS:
            pick, rng = backend.split(rng, 2)
            encode = random_subsets(backend, pick, MAX_SUBSETS, present, like)
        else:
            encode = table(backend, all_subsets(num), like)
            encode = backend.xp.broadcast_to(encode, (encode.shape[0], *present.shape))
        return self.stratified(backend, rng, encode, present, like)
