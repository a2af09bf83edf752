r"""Families of experts and the exact product of each.

A normal product is normal (precisions add), also of experts with correlations, see
:mod:`mmppl.aggregation.correlated`. A Laplace product is not Laplace: its log density is concave and
piecewise linear, so its normaliser, its distribution function and the inverse of it are closed forms, used here.
"""

from typing import Any, NamedTuple

from mmppl._backend import Backend, get_backend
from mmppl.aggregation.correlated import Correlated, correlated_product
from mmppl.aggregation.triangular import identity
from mmppl.numerics import normal_log_density

Array = Any

__all__ = [
    "CORRELATED",
    "Component",
    "Factorised",
    "LaplaceProduct",
    "component",
    "picked",
    "product",
    "shown",
    "unit_scale",
]

CORRELATED = "multivariate_normal"


class Factorised(NamedTuple):
    r"""Independent normal or Laplace coordinates; ``loc`` and ``scale`` have shape ``(*, D)``."""

    loc: Array
    scale: Array
    family: str

    def log_prob(self, z: Array) -> Array:
        """The log density of ``z`` (``(*, D)``), summed over D."""
        xp = get_backend(z).xp
        unit = (z - self.loc) / self.scale
        if self.family == "laplace":
            terms = -xp.abs(unit) - xp.log(2.0 * self.scale)
        else:
            terms = normal_log_density(unit, xp.log(self.scale))
        return xp.sum(terms, axis=-1)

    def draw(self, backend: Backend, rng: Any, shape: tuple[int, ...]) -> Array:
        """The noise of :meth:`sample`: standard normal, or uniform for Laplace."""
        draw = backend.uniform if self.family == "laplace" else backend.normal
        return draw(rng, shape, self.loc)

    def sample(self, noise: Array) -> Array:
        """A reparametrised sample from noise of shape ``(*, D)``."""
        if self.family == "laplace":
            xp = get_backend(noise).xp
            centred = _open(noise, xp) - 0.5
            noise = -xp.sign(centred) * xp.log1p(-2.0 * xp.abs(centred))
        return self.loc + self.scale * noise


class LaplaceProduct(NamedTuple):
    r"""The normalised product of Laplace densities, coordinate by coordinate.

    .. math:: p(z) \propto \exp\Big(-\sum_m r_m |z - \mu_m|\Big)

    Arguments:
        knots: Sorted :math:`\mu_m`, shape ``(*, D, J)``.
        rates: :math:`r_m = 1 / b_m` in the order of the knots, 0 for experts that are absent, shape ``(*, D, J)``.
    """

    knots: Array
    rates: Array

    def _pieces(self) -> tuple[Array, Array, Array, Array]:
        """Log density at the knots, slopes of the J + 1 segments, widths of the J - 1 inner ones, log masses."""
        xp = get_backend(self.knots).xp
        # 1. The log density at each knot.
        total = xp.sum(self.rates, axis=-1, keepdims=True)
        height = -xp.sum(
            self.rates[..., None, :] * xp.abs(self.knots[..., :, None] - self.knots[..., None, :]), axis=-1
        )
        # 2. Its slope on each segment: from +total on the far left it falls by 2 r_m at each knot.
        below = xp.cumulative_sum(self.rates, axis=-1)
        slopes = xp.concat([total, total - 2.0 * below], axis=-1)
        width = self.knots[..., 1:] - self.knots[..., :-1]
        # 3. The mass of each segment, from its higher end down; the two tails are exponential.
        peak = xp.maximum(height[..., 1:], height[..., :-1])
        inner = peak + _log_integral(xp.abs(slopes[..., 1:-1]), width, xp)
        tail = -xp.log(total)
        masses = xp.concat([height[..., :1] + tail, inner, height[..., -1:] + tail], axis=-1)
        return height, slopes, width, masses

    def log_prob(self, z: Array) -> Array:
        """The log density of ``z`` (``(*, D)``), summed over D."""
        backend = get_backend(z)
        *_, masses = self._pieces()
        energy = backend.xp.sum(self.rates * backend.xp.abs(z[..., None] - self.knots), axis=-1)
        return backend.xp.sum(-energy - backend.logsumexp(masses, axis=-1), axis=-1)

    def draw(self, backend: Backend, rng: Any, shape: tuple[int, ...]) -> Array:
        """The noise of :meth:`sample`: uniform."""
        return backend.uniform(rng, shape, self.knots)

    def sample(self, noise: Array) -> Array:
        """A reparametrised sample, by the inverse distribution function at ``noise`` of shape ``(*, D)``."""
        backend = get_backend(noise)
        xp = backend.xp
        height, slopes, width, masses = self._pieces()
        # 1. Find the segment in whose share of [0, 1) the noise lies, one-hot.
        mass = xp.exp(backend.log_softmax(masses, axis=-1))
        upper = xp.cumulative_sum(mass, axis=-1)
        noise = _open(noise, xp)[..., None]
        before = xp.concat([xp.zeros_like(upper[..., :1]), upper[..., :-1]], axis=-1)
        last = xp.concat([upper[..., :-1], xp.ones_like(upper[..., -1:]) + 1.0], axis=-1)
        chosen = xp.astype((noise >= before) & (noise < last), mass.dtype)
        # 2. Find how far into that segment's mass it lies, v.
        # Only the chosen segment's v lies in (0, 1); the others are moved to 1/2 so that no gradient is NaN.
        v = xp.where(
            chosen > 0, (noise - before) / xp.where(mass > 0, mass, xp.ones_like(mass)), 0.5 * xp.ones_like(mass)
        )
        tiny = 1e-7
        v = xp.clip(v, tiny, 1.0 - tiny)
        # 3. Invert the distribution function within: of the tails, of the segments between knots.
        total = slopes[..., :1]
        left = self.knots[..., :1] + xp.log(v[..., :1]) / total
        right = self.knots[..., -1:] - xp.log1p(-v[..., -1:]) / total
        inner = _inverse_segment(v[..., 1:-1], slopes[..., 1:-1], self.knots[..., :-1], self.knots[..., 1:], width, xp)
        return xp.sum(chosen * xp.concat([left, inner, right], axis=-1), axis=-1)


Component = Factorised | LaplaceProduct | Correlated


def component(loc: Array, scale: Array, family: str) -> Factorised | Correlated:
    """One distribution of a family: a scale is ``(*, D)``, or the factor ``(*, D, D)`` of a precision."""
    return Correlated(loc, scale) if family == CORRELATED else Factorised(loc, scale, family)


def unit_scale(loc: Array, family: str) -> Array:
    """The scale of the standard density of a family, for locations ``(*, D)``."""
    xp = get_backend(loc).xp
    if family != CORRELATED:
        return xp.ones_like(loc)
    return xp.zeros_like(loc)[..., None] + identity(loc)


def shown(loc: Array, scale: Array, live: Array, family: str) -> Factorised | Correlated:
    """Components side by side, ``(*, S, D)``, standard where they are not ``live``, ``(*, S)``."""
    xp = get_backend(loc).xp
    more = live[..., None, None] if family == CORRELATED else live[..., None]
    scale = xp.where(more, scale, unit_scale(loc, family))
    return component(xp.where(live[..., None], loc, xp.zeros_like(loc)), scale, family)


def picked(parts: Component, weight: Array) -> Component:
    """The component that a one-hot ``weight``, ``(*, S)``, selects of components side by side."""
    if isinstance(parts, LaplaceProduct):
        return LaplaceProduct(_pick(parts.knots, weight, 2), _pick(parts.rates, weight, 2))
    if isinstance(parts, Correlated):
        unfactor = None if parts.unfactor is None else _pick(parts.unfactor, weight, 2)
        return Correlated(_pick(parts.loc, weight), _pick(parts.factor, weight, 2), unfactor)
    return Factorised(_pick(parts.loc, weight), _pick(parts.scale, weight), parts.family)


def product(loc: Array, scale: Array, weight: Array, family: str, prior_expert: bool) -> Component:
    r"""The product of the experts that ``weight`` selects, with a standard expert where wanted or where none is left.

    Arguments:
        loc: :math:`\mu_m`, shape ``(*, M, D)``.
        scale: :math:`\sigma_m`, shape ``(*, M, D)``, or the factors of precisions, ``(*, M, D, D)``.
        weight: 1.0 for experts in the product, 0.0 for others, shape ``(*, M)``.
        family: ``"normal"``, ``"multivariate_normal"`` or ``"laplace"``.
        prior_expert: Whether the standard density of the family is always a factor.
    """
    if family == CORRELATED:
        return correlated_product(loc, scale, weight, prior_expert)
    xp = get_backend(loc).xp
    count = xp.sum(weight, axis=-1, keepdims=True)
    standard = xp.ones_like(count) if prior_expert else xp.where(count > 0, xp.zeros_like(count), xp.ones_like(count))
    weight = weight[..., None]
    # Experts outside the product are made standard, so that what they hold cannot matter, to the last bit.
    loc, scale = xp.where(weight > 0, loc, xp.zeros_like(loc)), xp.where(weight > 0, scale, xp.ones_like(scale))
    if family == "normal":
        precision = weight / (scale * scale)
        total = xp.sum(precision, axis=-2) + standard
        return Factorised(xp.sum(precision * loc, axis=-2) / total, 1.0 / xp.sqrt(total), family)
    rates = xp.concat([weight / scale, standard[..., None] * xp.ones_like(scale[..., :1, :])], axis=-2)
    knots = xp.concat([loc, xp.zeros_like(loc[..., :1, :])], axis=-2)
    knots = xp.broadcast_to(knots, rates.shape)
    rates, knots = xp.moveaxis(rates, -2, -1), xp.moveaxis(knots, -2, -1)
    order = xp.argsort(knots, axis=-1)
    return LaplaceProduct(xp.take_along_axis(knots, order, axis=-1), xp.take_along_axis(rates, order, axis=-1))


def _open(u: Array, xp: Any) -> Array:
    """Uniform noise kept inside (0, 1)."""
    return xp.clip(u, 1e-7, 1.0 - 1e-7)


def _pick(x: Array, weight: Array, trailing: int = 1) -> Array:
    """The entry that a one-hot ``weight`` selects along the axis before the trailing ones.

    A matrix product, and not a sum of products: XLA's CPU backend (jaxlib 0.10.2) returns garbage for two such sums
    fused with the comparison that made the weight, once a leading axis has size 1.
    """
    xp = get_backend(x).xp
    shape = tuple(x.shape[x.ndim - trailing :])
    flat = xp.reshape(x, (*x.shape[: x.ndim - trailing], -1))
    picked = xp.matmul(weight[..., None, :], flat)[..., 0, :]
    return xp.reshape(picked, (*picked.shape[:-1], *shape))


def _log_integral(slope: Array, width: Array, xp: Any) -> Array:
    """``log((1 - exp(-s w)) / s)`` for s, w >= 0; ``log w`` as s goes to 0 and -inf at w = 0."""
    x = slope * width
    small = x < 1e-4
    safe = xp.where(small, xp.ones_like(x), x)
    ratio = xp.where(small, 1.0 - 0.5 * x, -xp.expm1(-safe) / safe)
    positive = width > 0
    log_width = xp.log(xp.where(positive, width, xp.ones_like(width)))
    return xp.where(positive, log_width, -xp.inf * xp.ones_like(width)) + xp.log(ratio)


def _inverse_segment(v: Array, slope: Array, a: Array, b: Array, width: Array, xp: Any) -> Array:
    """The point of [a, b] below which a density proportional to ``exp(slope z)`` has the share ``v``."""
    steep = xp.abs(slope)
    flat = steep * width < 1e-4
    safe = xp.where(flat, xp.ones_like(steep), steep)
    gap = xp.exp(-safe * width)
    rising = b + xp.log(v + (1.0 - v) * gap) / safe
    falling = a - xp.log((1.0 - v) + v * gap) / safe
    return xp.where(flat, a + v * width, xp.where(slope > 0, rising, falling))
