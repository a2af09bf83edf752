"""Bounds that are a mean over subsets, all of them in each step or one for each datum."""

from typing import Any

from mmppl._backend import Backend
from mmppl.checks import checked
from mmppl.errors import OptionError
from mmppl.inference.objectives.algebra import shares
from mmppl.inference.objectives.base import Objective
from mmppl.inference.objectives.terms import Terms
from mmppl.numerics import choose
from mmppl.subsets import inside

Array = Any

__all__ = ["Stratified"]


@checked()
class Stratified(Objective):
    """Base of objectives whose terms are subsets of what is present, of equal weight, that score everything.

    Arguments:
        particles: Draws K of the guide for each datum.
        strata: ``"all"`` subsets in each step, or ``"one"`` drawn for each datum: unbiased as well, and cheaper in
            decoders by their number.
        options: Those of :class:`~mmppl.inference.objectives.base.Objective`.

    Raises:
        OptionError: If ``strata`` is unknown.
    """

    def __init__(self, particles: int = 1, *, strata: str = "all", **options: Any):
        if strata not in ("all", "one"):
            raise OptionError(f"Expected strata 'all' or 'one'; got {strata!r}.")
        self.strata = strata
        super().__init__(particles, **options)

    def strata_of(self, modalities: int) -> int:
        """The number of strata for so many modalities, all of which ``strata="all"`` decodes."""
        return modalities

    def stratified(self, backend: Backend, rng: Any, encode: Array, present: Array, like: Array) -> Terms:
        """The terms for subsets ``(T, N, M)``, of which those count that are present and not empty."""
        xp = backend.xp
        valid = xp.astype(inside(backend, encode, present) & xp.any(encode, axis=-1), like.dtype)
        weight = shares(valid)
        if self.strata == "all":
            return Terms(encode, present[None, ...], weight)
        one = choose(backend.uniform(rng, (present.shape[0],), like), xp.moveaxis(weight, 0, -1)) > 0.5
        chosen = xp.any(xp.moveaxis(one, -1, 0)[..., None] & encode, axis=0)
        drawn = xp.astype(xp.any(chosen, axis=-1), like.dtype)
        return Terms(chosen[None, ...], present[None, ...], drawn[None, :], mixture=(encode, weight))
