r"""The density of a mixture over subsets: that of all its sites together, with what the host puts on them outside.

Site i of the guide has the density of a mixture given the sites before it, and the host's scale :math:`s_i` around it:

.. math:: \log q(z) = \sum_i s_i \log q(z_i \mid z_{<i}), \qquad
    q(z_i \mid z_{<i}) = \frac{\sum_u \pi_u \prod_{j \le i} q_j(z_j \mid x_{R_u})}
    {\sum_u \pi_u \prod_{j < i} q_j(z_j \mid x_{R_u})}

Without scales this is :math:`\log \sum_u \pi_u \prod_i q_i(z_i \mid x_{R_u})`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmppl.errors import ObjectiveError
from mmppl.inference.objectives.terms import Draws, Terms

if TYPE_CHECKING:
    from mmppl.inference.objectives.evaluation import Evaluation

Array = Any

__all__ = ["mixed", "own_share"]


def mixed(run: "Evaluation", draws: Draws, across: Mapping[str, Array], weight: Array) -> Array:
    """The log density of the mixture over subsets by weight ``(U, N)``, ``(K, T, N)``.

    Arguments:
        run: The evaluation.
        draws: The draws.
        across: Log densities by site, ``(K, T, U, N)``.
        weight: Weights of the subsets.

    Raises:
        ObjectiveError: If a site's scale cannot be taken out of its density.
    """
    backend, xp = run.backend, run.backend.xp
    total = xp.sum(weight, axis=0, keepdims=True)
    # A datum without a term gets even shares: its density is not used, but must be finite.
    share = xp.where(total > 0, weight / xp.where(total > 0, total, xp.ones_like(total)), 1.0 / weight.shape[0])
    log_share = xp.where(share > 0, xp.log(xp.where(share > 0, share, xp.ones_like(share))), -xp.inf)
    joint = xp.broadcast_to(run.like, (*draws.shape[:2], 1, draws.shape[2]))
    if not any(site in draws.factors for site in across):
        return backend.logsumexp(sum(across.values(), start=joint) + log_share, axis=2)
    out = before = xp.broadcast_to(run.like, draws.shape)
    for site in draws.rows:  # in the order that the guide has them
        if site not in across:
            continue
        factor = draws.factors.get(site, 1.0)
        if factor is None:
            raise ObjectiveError(
                f"The density of a mixture over subsets is of whole rows; got '{site}' with scales that differ within "
                "a row, or in a plate of which only some rows are drawn. Scale whole rows, or use an objective with "
                "density='own', such as ELBO or MVAE."
            )
        joint = joint + across[site] / factor
        upto = backend.logsumexp(joint + log_share, axis=2)
        out, before = out + factor * (upto - before), upto
    return out


def own_share(xp: Any, terms: Terms) -> Array:
    """The share in the mixture of the component that each term encodes with, ``(T, N)``."""
    subsets, weight = terms.mixture or (terms.encode, terms.weight)
    total = xp.sum(weight, axis=0)
    share = weight / xp.where(total > 0, total, xp.ones_like(total))
    same = xp.all(terms.encode[:, None, ...] == subsets[None, ...], axis=-1)
    return xp.sum(xp.where(same, share[None, ...], xp.zeros_like(share)[None, ...]), axis=1)
