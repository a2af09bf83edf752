"""Chains in the coordinates of a normal, and annealed importance sampling from it to the posterior."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mmppl._backend import Backend
from mmppl.inference.kernels import Kernel
from mmppl.mcmc.langevin import LangevinState
from mmppl.numerics import log_mean_exp, normal_log_density

Array = Any

__all__ = ["annealed_log_weights", "broad_draws", "explore", "inverse_temperatures"]

STEEPNESS = 4.0
GAIN = 0.5
# One draw in so many is of a mixture's broad part.
ONE_IN = 8


def inverse_temperatures(steps: int) -> np.ndarray:
    r"""A sigmoid path :math:`\beta_0 = 0 < \dots < \beta_J = 1`, slow at both ends.

    References:
        | On the quantitative analysis of decoder-based generative models (Wu et al., 2017), appendix
        | https://arxiv.org/abs/1611.04273

    Arguments:
        steps: Number J of steps.

    Example:
        >>> inverse_temperatures(4).round(3).tolist()
        [0.0, 0.105, 0.5, 0.895, 1.0]
    """
    raw = 1.0 / (1.0 + np.exp(-STEEPNESS * np.linspace(-1.0, 1.0, steps + 1)))
    return (raw - raw[0]) / (raw[-1] - raw[0])


def broad_draws(num: int) -> int:
    """Number of draws of the broad part of the mixture that annealing starts from, among so many in all."""
    return -(-num // ONE_IN)


def explore(
    backend: Backend,
    kernel: Kernel,
    log_target: Callable[[Array], Array],
    noise: Callable[[Any], Any],
    start: Array,
    mean: Array,
    scale: Array,
    step_size: Array,
    powers: Array,
) -> tuple[Array, Array, Array]:
    r"""Chains of powers of the target, :math:`p^\beta`, in coordinates y, :math:`z = m + L y`, K for each of N data.

    Arguments:
        backend: The backend of the arrays.
        kernel: Its transitions are those of the chains.
        log_target: log p, not normalised, ``(K, N, D)`` to ``(K, N)``.
        noise: From the first state to that of all transitions, stacked.
        start: Where the chains are, y, ``(K, N, D)``.
        mean: m, ``(N, D)``.
        scale: L, ``(N, D, D)``.
        step_size: The first step size, ``(N,)``; it follows the mean acceptance over the chains of a datum.
        powers: :math:`\beta` of each transition, ``(T,)``.

    Returns:
        y and the scores of :math:`p^\beta` after every transition, ``(T, K, N, D)``, and the last step size, ``(N,)``.
    """
    xp = backend.xp

    def density(y: Array) -> Array:
        return log_target(_out(xp, y, mean, scale))

    state = kernel.init_chains(density, start)
    zero = xp.zeros_like(start[..., 0])

    def step(carry: tuple, xs: tuple) -> tuple[tuple, tuple]:
        chains, size = carry
        beta, eps = xs
        hot, info = kernel.transition(lambda y: beta * density(y), _times(chains, beta), eps, zero + size)
        accept = xp.mean(xp.where(xp.isfinite(info.accept_prob), info.accept_prob, 0.0 * zero), axis=0)
        moved = size * xp.exp(GAIN * (accept - kernel.target_accept_prob))
        return (_times(hot, 1.0 / beta), moved), (hot.position, hot.score)

    (_, size), (position, score) = backend.scan(step, (state.chains, zero[0] + step_size), (powers, noise(state)))
    return position, score, size


class DefensiveMixture(NamedTuple):
    r"""Normals at the modes of a target, and a broad one that meets what they do not cover; densities of N data.

    .. math:: q(y) = \frac{1 - \alpha}{C} \sum_{c=1}^{C} N(y; \mu_c, I) + \alpha\, |W|\, N(W (y - b); 0, I)

    Arguments:
        backend: The backend of the arrays.
        centers: :math:`\mu_c`, ``(C, N, D)``.
        center: b, ``(N, D)``.
        whiten: W, lower triangular, ``(N, D, D)``.
        share: :math:`\alpha`.
    """

    backend: Backend
    centers: Array
    center: Array
    whiten: Array
    share: float

    def log_near(self, y: Array) -> Array:
        """Log density of the normals at the modes alone, of y ``(K, N, D)``, ``(K, N)``."""
        xp = self.backend.xp

        # One mode after the other, so that no array has C times the draws' coordinates; |y - mu|^2 as a sum of products
        # would lose what distances between modes have above their widths.
        def one(carry: Array, center: Array) -> tuple[Array, Array]:
            return carry, xp.sum(normal_log_density(y - center, 0.0), axis=-1)

        return log_mean_exp(self.backend.scan(one, xp.zeros_like(y[..., 0]), self.centers)[1])

    def log_prob(self, y: Array) -> Array:
        """Log density of the mixture, of y ``(K, N, D)``, ``(K, N)``."""
        xp = self.backend.xp
        log_share, log_rest = math.log(self.share), math.log1p(-self.share) if self.share < 1.0 else -math.inf
        log_whiten = xp.sum(xp.log(xp.linalg.diagonal(self.whiten)), axis=-1)
        broad = xp.sum(normal_log_density(_turned(xp, y - self.center, self.whiten), 0.0), axis=-1) + log_whiten
        return xp.logaddexp(self.log_near(y) + log_rest, broad + log_share)


def annealed_log_weights(
    backend: Backend,
    kernel: Kernel,
    log_target: Callable[[Array], Array],
    noise: Callable[[Any], Any],
    start: Array,
    mean: Array,
    scale: Array,
    step_size: Array,
    centers: Array,
    center: Array,
    whiten: Array,
    path: Array,
) -> tuple[Array, Array]:
    r"""Log weights of annealed importance sampling, K chains for each of N data.

    .. math:: p_j(z) \propto q(z)^{1 - \beta_j} p(z)^{\beta_j}, \qquad
        \log w = \sum_{j=1}^{J} (\beta_j - \beta_{j-1}) \log \frac{p(z_{j-1})}{q(z_{j-1})}

    with a transition that leaves :math:`p_j` as it is between the terms; the mean of w is the integral of p. Without
    transitions, J = 1, it is importance sampling. In coordinates y, :math:`z = m + L y`, q is a
    :class:`DefensiveMixture` of normals at the target's modes and a broad one.

    References:
        | Annealed importance sampling (Neal, 2001)
        | https://arxiv.org/abs/physics/9803008
        | Weighted average importance sampling and defensive mixture distributions (Hesterberg, 1995)

    Arguments:
        backend: The backend of the arrays.
        kernel: Its transitions are those of the chains.
        log_target: log p, not normalised, ``(K, N, D)`` to ``(K, N)``.
        noise: From the first state to that of all J - 1 transitions, stacked.
        start: Draws y of q, ``(K, N, D)``, as many of its broad part as :func:`broad_draws` says.
        mean: m, ``(N, D)``.
        scale: L, ``(N, D, D)``.
        step_size: That of all transitions, ``(N,)``; sizes that adapt to the chains they move would spoil the weights.
        centers: :math:`\mu_c`, ``(C, N, D)``.
        center: b, ``(N, D)``.
        whiten: W, lower triangular, ``(N, D, D)``.
        path: :math:`\beta_0 = 0` to :math:`\beta_J = 1`.

    Returns:
        log w and :math:`\log q_0(y_0) / q(y_0)` with :math:`q_0` the first part of q, ``(K, N)`` both.
    """
    xp = backend.xp
    log_volume = xp.sum(xp.log(xp.linalg.diagonal(scale)), axis=-1)
    zero = xp.zeros_like(start[..., 0])
    q = DefensiveMixture(backend, centers, center, whiten, broad_draws(start.shape[0]) / start.shape[0])
    betas, increments = path[1:-1], path[1:] - path[:-1]

    def log_end(y: Array) -> Array:
        return log_target(_out(xp, y, mean, scale)) + log_volume

    def weigh(position: Array, increment: Array) -> Array:
        return backend.stop_gradient(increment * (log_end(position) - q.log_prob(position)))

    def step(carry: tuple, xs: tuple) -> tuple[tuple, None]:
        position, log_weight = carry
        beta, increment, eps = xs
        log_weight = log_weight + weigh(position, increment)

        def density(y: Array) -> Array:
            return (1.0 - beta) * q.log_prob(y) + beta * log_end(y)

        chains, _ = kernel.transition(density, kernel.place(density, position), eps, zero + step_size)
        return (backend.stop_gradient(chains.position), log_weight), None

    carry = (start, zero)
    if betas.shape[0]:
        eps = noise(kernel.init_chains(log_end, start))
        carry, _ = backend.scan(step, carry, (betas, increments[:-1], eps))
    position, log_weight = carry
    return log_weight + weigh(position, increments[-1]), backend.stop_gradient(q.log_near(start) - q.log_prob(start))


def _out(xp: Any, y: Array, mean: Array, scale: Array) -> Array:
    """Latents of coordinates y, ``(K, N, D)``."""
    return mean + _turned(xp, y, scale)


def _turned(xp: Any, y: Array, matrix: Array) -> Array:
    """Products of matrices ``(N, D, D)`` with coordinates ``(K, N, D)``."""
    return xp.moveaxis(xp.matmul(xp.moveaxis(y, 0, 1), xp.moveaxis(matrix, -1, -2)), 0, 1)


def _times(chains: LangevinState, beta: Array) -> LangevinState:
    """Chains of a density's power."""
    return LangevinState(chains.position, beta * chains.log_density, beta * chains.score)
