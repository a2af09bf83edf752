r"""The density of a mixture over subsets: that of all its sites together, with what the host puts on them outside.

.. math:: \log q(z) = s \log \sum_u \pi_u \prod_i q_i(z_i \mid x_{R_u})

where s is the scale that all sites of the mixture have in common.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mmppl._backend import Backend
from mmppl.errors import ObjectiveError
from mmppl.inference.objectives.terms import Draws, Terms
from mmppl.sites import Site, in_plate, plate_scale

if TYPE_CHECKING:
    from mmppl.inference.objectives.evaluation import Evaluation

Array = Any

__all__ = ["factors_of", "mixed", "own_share"]


def factors_of(sites: Mapping[str, Site], plate: str | None, scale: float) -> dict[str, Any]:
    """Scales other than 1 of sites in the plate of the data, by name, that plate's own left out.

    One that is a number, or has a value for each row, can be taken out of a sum over other plates; None stands for
    others, and for that of a plate of which only some rows are drawn.
    """
    out = {}
    for name, site in sites.items():
        factor, frame = site.factor(scale), in_plate(site, plate)
        number = isinstance(factor, float | int)
        if number and factor == 1.0:
            continue
        others = [other for other in site.frames if other != frame]
        by_row = not others and frame is not None and frame.dim == -1
        whole = all(plate_scale(other) == 1.0 for other in others)
        out[name] = factor if whole and (number or getattr(factor, "ndim", 2) == 0 or by_row) else None
    return out


def mixed(run: "Evaluation", draws: Draws, across: Mapping[str, Array], weight: Array) -> Array:
    """The log density of the mixture over subsets by weight ``(U, N)``, ``(K, T, N)``.

    Arguments:
        run: The evaluation.
        draws: The draws.
        across: Log densities by site, ``(K, T, U, N)``.
        weight: Weights of the subsets.

    Raises:
        ObjectiveError: If the sites have no scale in common.
    """
    backend, xp = run.backend, run.backend.xp
    total = xp.sum(weight, axis=0, keepdims=True)
    # A datum without a term gets even shares: its density is not used, but must be finite.
    share = xp.where(total > 0, weight / xp.where(total > 0, total, xp.ones_like(total)), 1.0 / weight.shape[0])
    log_share = xp.where(share > 0, xp.log(xp.where(share > 0, share, xp.ones_like(share))), -xp.inf)
    none = xp.broadcast_to(run.like, (*draws.shape[:2], 1, draws.shape[2]))
    joint = sum(across.values(), start=none)
    scale = _in_common(backend, draws, tuple(across))
    if scale is None:
        return backend.logsumexp(joint + log_share, axis=2)
    return scale * backend.logsumexp(joint / scale + log_share, axis=2)


def own_share(xp: Any, terms: Terms) -> Array:
    """The share in the mixture of the component that each term encodes with, ``(T, N)``."""
    subsets, weight = terms.mixture or (terms.encode, terms.weight)
    total = xp.sum(weight, axis=0)
    share = weight / xp.where(total > 0, total, xp.ones_like(total))
    same = xp.all(terms.encode[:, None, ...] == subsets[None, ...], axis=-1)
    return xp.sum(xp.where(same, share[None, ...], xp.zeros_like(share)[None, ...]), axis=1)


def _in_common(backend: Backend, draws: Draws, sites: tuple[str, ...]) -> Any:
    """The scale that sites have in common; None where they have none."""
    if not any(site in draws.factors for site in sites):
        return None
    first, *others = (draws.factors.get(site, 1.0) for site in sites)

    def same(x: Any) -> bool:
        if x is first:
            return True
        arrays = [y for y in (x, first) if not isinstance(y, float | int)]
        return all(map(backend.is_concrete, arrays)) and np.array_equal(_numbers(x), _numbers(first))

    if first is None or not all(x is not None and same(x) for x in others):
        raise ObjectiveError(
            f"The density of a mixture over subsets is of the latents {list(sites)} together; got scales that they do "
            "not share, or a plate of which only some rows are drawn. Put one scale around all of them, or use an "
            "objective with density='own', such as ELBO or MVAE."
        )
    return first


def _numbers(x: Any) -> np.ndarray:
    return np.asarray(x.detach() if hasattr(x, "detach") else x)
