r"""A Laplace density whose kink at the centre is rounded.

.. math:: p(x) \propto \exp(-h(x - \mu) / b), \qquad
    h(u) = \begin{cases} u^2 / (2\delta) & |u| \le \delta \\ |u| - \delta / 2 & |u| > \delta \end{cases}

Langevin chains chatter at the kink of a Laplace density; here the score is continuous. The normaliser and the
quantile function are closed forms. All functions work coordinate by coordinate on ``u = x - mu``.
"""

import math
from typing import Any

from mmppl._backend import get_backend

Array = Any

__all__ = ["log_prob", "quantile"]


def log_prob(u: Array, scale: Array, delta: float) -> Array:
    """The log density at ``u`` for scale b and width delta, in the units of u."""
    backend = get_backend(u, scale)
    xp = backend.xp
    # abs is written so that it has a derivative of zero at zero.
    inside = u * u <= delta * delta
    size = xp.sqrt(xp.where(inside, xp.ones_like(u), u * u))
    h = xp.where(inside, u * u / (2.0 * delta), size - delta / 2.0)
    core, tail = _masses(backend, scale, delta)
    return -h / scale - xp.log(core + 2.0 * tail)


def quantile(p: Array, scale: Array, delta: float) -> Array:
    """The point ``u`` with probability ``p`` below it."""
    backend = get_backend(p, scale)
    xp = backend.xp
    core, tail = _masses(backend, scale, delta)
    total = core + 2.0 * tail
    mass = xp.clip(p, 1e-7, 1.0 - 1e-7) * total
    low, high = mass < tail, mass > total - tail
    left = scale * xp.log(xp.where(low, mass, tail) / tail) - delta
    right = delta - scale * xp.log(xp.where(high, total - mass, tail) / tail)
    sigma = xp.sqrt(scale * delta)
    start = backend.ndtr(-delta / sigma)
    share = xp.clip((mass - tail) / core, 0.0, 1.0)
    middle = sigma * backend.ndtri(start + share * (1.0 - 2.0 * start))
    return xp.where(low, left, xp.where(high, right, middle))


def _masses(backend: Any, scale: Array, delta: float) -> tuple[Array, Array]:
    """Unnormalised masses of the core and of one tail."""
    sigma = backend.xp.sqrt(scale * delta)
    core = math.sqrt(2.0 * math.pi) * sigma * (1.0 - 2.0 * backend.ndtr(-delta / sigma))
    return core, scale * backend.xp.exp(-delta / (2.0 * scale))
