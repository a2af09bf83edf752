r"""Heads of a multi-task diffusion: what the diffused block says of another one, :math:`p(x_i \mid z_t)`.

A head of a block of size n reads two numbers for each coordinate, ``(*, 2 n)``; only a normal one takes the second.
Draws are made of standard normal noise, one number for each coordinate.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.errors import OptionError
from mmppl.numerics import normal_log_density

Array = Any

__all__ = ["BernoulliHead", "CategoricalHead", "Head", "NormalHead", "PoissonHead"]

EDGE = 1e-7
# A Poisson with a rate up to the first is drawn by inversion over as many values as the second.
SMALL_RATE, VALUES = 20.0, 64
LANCZOS = (
    0.99999999999980993,
    676.5203681218851,
    -1259.1392167224028,
    771.32342877765313,
    -176.61502916214059,
    12.507343278686905,
    -0.13857109526572012,
    9.9843695780195716e-6,
    1.5056327351493116e-7,
)


class Head(ABC):
    """Base of the heads. Arguments of the methods: a backend, and arrays ``(*, n)``, to ``(*, n)``."""

    discrete = True

    @abstractmethod
    def log_prob(self, backend: Backend, x: Array, out: Array, extra: Array) -> Array:
        """Log density or mass of ``x``, a share for each coordinate."""

    @abstractmethod
    def draw(self, backend: Backend, noise: Array, out: Array, extra: Array) -> Array:
        """A draw by standard normal noise."""

    @abstractmethod
    def mean(self, backend: Backend, out: Array) -> Array:
        """The mean."""

    def pieces(self, size: int) -> int:
        """Number of independent parts of a block of ``size`` coordinates."""
        return size

    def any_law(self, size: int) -> bool:
        """Tells whether a block of ``size`` coordinates has no law but those of the head; by default it has."""
        return False

    def check(self, name: str, size: int) -> None:
        """Raises :class:`OptionError` if the head cannot be that of block ``name``; by default it can."""
        return None

    def seen(self, backend: Backend, x: Array) -> Array:
        """The block as the network sees it and as it joins the diffusion."""
        return x


@dataclass(frozen=True)
class NormalHead(Head):
    r"""A normal with a mean and a log scale for each coordinate.

    .. math:: p(x \mid o, e) = \prod_i \mathcal{N}(x_i; o_i, (e^{e_i} + \mathrm{least})^2)

    Arguments:
        least: Added to every scale, so that data without noise have a density that is bounded.

    Raises:
        OptionError: If it is negative.

    Example:
        >>> NormalHead(0.01).least
        0.01
    """

    least: float = 0.0

    discrete = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.least < math.inf:
            raise OptionError(f"Expected least >= 0; got {self.least}.")

    def _scale(self, backend: Backend, extra: Array) -> Array:
        return backend.xp.exp(extra) + self.least

    def log_prob(self, backend: Backend, x: Array, out: Array, extra: Array) -> Array:
        if not self.least:
            return normal_log_density((x - out) * backend.xp.exp(-extra), extra)
        scale = self._scale(backend, extra)
        return normal_log_density((x - out) / scale, backend.xp.log(scale))

    def draw(self, backend: Backend, noise: Array, out: Array, extra: Array) -> Array:
        return out + self._scale(backend, extra) * noise

    def mean(self, backend: Backend, out: Array) -> Array:
        return out


@dataclass(frozen=True)
class CategoricalHead(Head):
    r"""Categories by logits: a label, or a text's tokens one after the other, as one-hot vectors side by side.

    .. math:: \log p(x \mid o) = \sum_j \sum_k x_{jk} \Big(o_{jk} - \log \sum_l e^{o_{jl}}\Big)

    Arguments:
        classes: K, the number of classes of each.

    Raises:
        OptionError: If K < 2, or, of a block, if its size is no multiple of K.

    Example:
        >>> CategoricalHead(10).pieces(30)
        3
    """

    classes: int

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise OptionError(f"Expected two classes or more; got {self.classes}.")

    def check(self, name: str, size: int) -> None:
        if size % self.classes:
            raise OptionError(
                f"Block '{name}': expected one-hot vectors of {self.classes} classes side by side; got size {size}."
            )

    def pieces(self, size: int) -> int:
        return size // self.classes

    def any_law(self, size: int) -> bool:
        return size == self.classes

    def _each(self, x: Array, f: Callable[[Array], Array]) -> Array:
        """Applies ``f`` to the logits of each category, along the last axis."""
        apart = (*x.shape[:-1], x.shape[-1] // self.classes, self.classes)
        return f(x.reshape(apart)).reshape(x.shape)

    def log_prob(self, backend: Backend, x: Array, out: Array, extra: Array) -> Array:
        return x * self._each(out, lambda logits: backend.log_softmax(logits, -1))

    def draw(self, backend: Backend, noise: Array, out: Array, extra: Array) -> Array:
        xp = backend.xp
        gumbel = -xp.log(-xp.log(xp.clip(backend.ndtr(noise), EDGE, 1.0 - EDGE)))

        def largest(total: Array) -> Array:
            top = xp.argmax(total, axis=-1)[..., None] == backend.asarray(np.arange(self.classes))
            return xp.where(top, xp.ones_like(total), xp.zeros_like(total))

        return self._each(out + gumbel, largest)

    def mean(self, backend: Backend, out: Array) -> Array:
        return self._each(out, lambda logits: backend.xp.exp(backend.log_softmax(logits, -1)))


@dataclass(frozen=True)
class BernoulliHead(Head):
    r"""Zeros and ones by logits, as of a mask.

    .. math:: \log p(x \mid o) = \sum_i x_i o_i - \log(1 + e^{o_i})

    Example:
        >>> from mmppl._backend import get_backend
        >>> x = np.array([1.0, 0.0])
        >>> BernoulliHead().log_prob(get_backend(x), x, np.zeros(2), np.zeros(2)).round(3).tolist()
        [-0.693, -0.693]
    """

    def any_law(self, size: int) -> bool:
        return size == 1

    def log_prob(self, backend: Backend, x: Array, out: Array, extra: Array) -> Array:
        return x * out - backend.softplus(out)

    def draw(self, backend: Backend, noise: Array, out: Array, extra: Array) -> Array:
        xp = backend.xp
        return xp.where(backend.ndtr(noise) < self.mean(backend, out), xp.ones_like(out), xp.zeros_like(out))

    def mean(self, backend: Backend, out: Array) -> Array:
        return backend.xp.exp(-backend.softplus(-out))


@dataclass(frozen=True)
class PoissonHead(Head):
    r"""Counts by log rates; the network sees ``log(1 + x)``.

    .. math:: \log p(x \mid o) = \sum_i x_i o_i - e^{o_i} - \log x_i!

    Draws of rates above 20 are normal ones, corrected for skewness and rounded.

    Example:
        >>> from mmppl._backend import get_backend
        >>> out = np.log([2.0, 50.0])
        >>> PoissonHead().draw(get_backend(out), np.zeros(2), out, out).tolist()
        [2.0, 50.0]
    """

    def log_prob(self, backend: Backend, x: Array, out: Array, extra: Array) -> Array:
        return x * out - backend.xp.exp(out) - _log_factorial(backend, x)

    def draw(self, backend: Backend, noise: Array, out: Array, extra: Array) -> Array:
        xp, rate = backend.xp, backend.xp.exp(out)
        large = rate + xp.sqrt(rate) * noise + (noise * noise - 1.0) / 6.0
        point, small = backend.ndtr(noise), xp.where(rate < SMALL_RATE, rate, xp.zeros_like(rate) + SMALL_RATE)

        def further(carry: tuple, k: Array) -> tuple[tuple, None]:
            mass, below, x = carry
            x = x + xp.where(point > below, xp.ones_like(x), xp.zeros_like(x))
            mass = mass * small / (k + 1.0)
            return (mass, below + mass, x), None

        start = xp.exp(-small)
        steps = backend.asarray(np.arange(float(VALUES)), like=rate)
        x = backend.scan(further, (start, start, xp.zeros_like(rate)), steps)[0][2]
        return xp.where(rate < SMALL_RATE, x, xp.floor(xp.where(large > 0.0, large, xp.zeros_like(large)) + 0.5))

    def mean(self, backend: Backend, out: Array) -> Array:
        return backend.xp.exp(out)

    def seen(self, backend: Backend, x: Array) -> Array:
        return backend.xp.log1p(x)


def _log_factorial(backend: Backend, x: Array) -> Array:
    """``log x!`` by Lanczos' series, to fifteen digits in double precision."""
    xp, total = backend.xp, LANCZOS[0] + 0.0 * x
    for i, factor in enumerate(LANCZOS[1:], 1):
        total = total + factor / (x + i)
    base = x + 7.5
    return 0.5 * math.log(2.0 * math.pi) + (x + 0.5) * xp.log(base) - base + xp.log(total)
