r"""Normal experts whose coordinates are correlated, and their product.

An expert has a precision :math:`P = C C^\top` with a lower triangular C. Precisions add, so the product of experts is
a closed form,

.. math:: \prod_m N(\mu_m, P_m^{-1}) \propto N(\mu, P^{-1}), \qquad P = \sum_m P_m, \quad P \mu = \sum_m P_m \mu_m,

which is what a posterior of several modalities is where decoders are linear: with experts of independent coordinates
their product is not one, however long they are trained.
"""

from typing import Any, NamedTuple

from mmppl._backend import Backend, get_backend
from mmppl.aggregation.triangular import factor as factor_of
from mmppl.aggregation.triangular import identity, inverse
from mmppl.numerics import HALF_LOG_2_PI

Array = Any

__all__ = ["Correlated", "correlated_product"]


class Correlated(NamedTuple):
    r"""Normals :math:`N(\mu, (C C^\top)^{-1})`.

    Arguments:
        loc: :math:`\mu`, ``(*, D)``.
        factor: C, lower triangular with a positive diagonal, ``(*, D, D)``.
        unfactor: Its inverse; None where it is not known yet.
    """

    loc: Array
    factor: Array
    unfactor: Array | None = None

    def log_prob(self, z: Array) -> Array:
        """The log density of ``z``, ``(*, D)`` to ``(*,)``."""
        xp = get_backend(z).xp
        # A sum of products in place of a matrix product, whose many small matrices are slow.
        unit = xp.sum(self.factor * (z - self.loc)[..., :, None], axis=-2)
        terms = xp.log(xp.linalg.diagonal(self.factor)) - 0.5 * unit * unit
        return xp.sum(terms - HALF_LOG_2_PI, axis=-1)

    def draw(self, backend: Backend, rng: Any, shape: tuple[int, ...]) -> Array:
        """The noise of :meth:`sample`: standard normal."""
        return backend.normal(rng, shape, self.loc)

    def sample(self, noise: Array) -> Array:
        """A reparametrised sample from noise of shape ``(*, D)``."""
        xp = get_backend(noise).xp
        unfactor = inverse(self.factor) if self.unfactor is None else self.unfactor
        return self.loc + xp.sum(unfactor * noise[..., :, None], axis=-2)


def correlated_product(loc: Array, factor: Array, weight: Array, prior_expert: bool) -> Correlated:
    """The product of the experts that ``weight`` selects, with a standard one where wanted or where none is left.

    Arguments:
        loc: ``(*, M, D)``.
        factor: ``(*, M, D, D)``.
        weight: Exponents of the experts, 0 for those not in the product, ``(*, M)``; may have more leading axes.
        prior_expert: Whether the standard density is always a factor.
    """
    xp, dim = get_backend(loc).xp, loc.shape[-1]
    count = xp.sum(weight, axis=-1)
    standard = xp.ones_like(count) if prior_expert else xp.where(count > 0, xp.zeros_like(count), xp.ones_like(count))
    # Experts that are in no product are made standard, so that what they hold cannot matter, to the last bit.
    extra = max(weight.ndim - (loc.ndim - 1), 0)
    used = weight > 0
    used = xp.any(used, axis=tuple(range(extra))) if extra else used
    loc = xp.where(used[..., None], loc, xp.zeros_like(loc))
    factor = xp.where(used[..., None, None], factor, identity(loc))
    # Precisions P and shifts P mu side by side, summed over experts by one matrix product.
    precision = xp.matmul(factor, xp.matrix_transpose(factor))
    shift = xp.sum(precision * loc[..., None, :], axis=-1)
    parts = xp.concat([xp.reshape(precision, (*loc.shape[:-1], dim * dim)), shift], axis=-1)
    total = xp.matmul(weight[..., None, :], parts)[..., 0, :]
    summed = xp.reshape(total[..., : dim * dim], (*total.shape[:-1], dim, dim))
    root, inverse_root = factor_of(summed + standard[..., None, None] * identity(loc))
    half = xp.sum(inverse_root * total[..., None, dim * dim :], axis=-1)
    return Correlated(xp.sum(inverse_root * half[..., :, None], axis=-2), root, inverse_root)
