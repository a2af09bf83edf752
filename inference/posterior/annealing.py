"""Chains in the coordinates of a normal, and annealed importance sampling from it to the posterior."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.inference.kernels import Kernel
from mmppl.numerics import normal_log_density

Array = Any

__all__ = ["annealed_log_weights", "explore", "inverse_temperatures"]

STEEPNESS = 4.0
GAIN = 0.5


def inverse_temperatures(steps: int) -> np.ndarray:
    r"""A sigmoid path :math:`\beta_0 = 0 < \dots < \beta_J = 1`, slow at both ends.

    References:
        | On the quantitative analysis of decoder-based generative models (Wu et al., 2017), appendix
        | https://arxiv.org/abs/1611.04273

    Arguments:
        steps: J.

    Example:
        >>> inverse_temperatures(4).round(3).tolist()
        [0.0, 0.105, 0.5, 0.895, 1.0]
    """
    raw = 1.0 / (1.0 + np.exp(-STEEPNESS * np.linspace(-1.0, 1.0, steps + 1)))
    return (raw - raw[0]) / (raw[-1] - raw[0])


def explore(
    backend: Backend,
    kernel: Kernel,
    log_target: Callable[[Array], Array],
    noise: Callable[[Any], Any],
    start: Array,
    mean: Array,
    scale: Array,
    step_size: Array,
) -> tuple[Array, Array, Array]:
    r"""Chains of the target in coordinates y, where :math:`z = m + L y`; K chains for each of N data.

    Arguments:
        backend: The backend of the arrays.
        kernel: Its transitions are those of the chains.
        log_target: log p, not normalised, ``(K, N, D)`` to ``(K, N)``.
        noise: From the first state to that of all transitions, stacked.
        start: Where the chains are, y, ``(K, N, D)``.
        mean: m, ``(N, D)``.
        scale: L, ``(N, D, D)``.
        step_size: The first step size, ``(N,)``; it follows the mean acceptance over the chains of a datum.

    Returns:
        y and its scores after every transition, ``(T, K, N, D)``, and the last step size, ``(N,)``.
    """
    xp = backend.xp

    def density(y: Array) -> Array:
        return log_target(_out(xp, y, mean, scale))

    state = kernel.init_chains(density, start)
    zero = xp.zeros_like(start[..., 0])

    def step(carry: tuple, eps: tuple) -> tuple[tuple, tuple]:
        chains, size = carry
        chains, info = kernel.transition(density, chains, eps, zero + size)
        accept = xp.mean(xp.where(xp.isfinite(info.accept_prob), info.accept_prob, 0.0 * zero), axis=0)
        moved = size * xp.exp(GAIN * (accept - kernel.target_accept_prob))
        return (chains, moved), (chains.position, chains.score)

    (_, size), (position, score) = backend.scan(step, (state.chains, zero[0] + step_size), noise(state))
    return position, score, size


def annealed_log_weights(
    backend: Backend,
    kernel: Kernel,
    log_target: Callable[[Array], Array],
    noise: Callable[[Any], Any],
    start: Array,
    mean: Array,
    scale: Array,
    step_size: Array,
    betas: Array,
    increments: Array,
) -> Array:
    r"""Log weights of annealed importance sampling, K chains for each of N data.

    .. math:: p_j(z) \propto q(z)^{1 - \beta_j} p(z)^{\beta_j}, \qquad
        \log w = \sum_{j=1}^{J} (\beta_j - \beta_{j-1}) \log \frac{p(z_{j-1})}{q(z_{j-1})}

    with :math:`q = N(m, L L^T)` and a transition that leaves :math:`p_j` as it is between the terms, in coordinates
    y, :math:`z = m + L y`; the mean of w is the integral of p. Without transitions, J = 1, it is importance sampling.

    References:
        | Annealed importance sampling (Neal, 2001)
        | https://arxiv.org/abs/physics/9803008

    Arguments:
        backend: The backend of the arrays.
        kernel: Its transitions are those of the chains.
        log_target: log p, not normalised, ``(K, N, D)`` to ``(K, N)``.
        noise: From the first state to that of all J - 1 transitions, stacked.
        start: Standard normal draws y, ``(K, N, D)``.
        mean: m, ``(N, D)``.
        scale: L, ``(N, D, D)``.
        step_size: That of all transitions, ``(N,)``; sizes that adapt to the chains they move would spoil the weights.
        betas: :math:`\beta_1` to :math:`\beta_{J-1}`.
        increments: :math:`\beta_j - \beta_{j-1}`, J of them.

    Returns:
        log w, ``(K, N)``.
    """
    xp = backend.xp
    log_volume = xp.sum(xp.log(xp.linalg.diagonal(scale)), axis=-1)
    zero = xp.zeros_like(start[..., 0])

    def log_start(y: Array) -> Array:
        return xp.sum(normal_log_density(y, 0.0), axis=-1)

    def log_end(y: Array) -> Array:
        return log_target(_out(xp, y, mean, scale)) + log_volume

    def weigh(position: Array, increment: Array) -> Array:
        return backend.stop_gradient(increment * (log_end(position) - log_start(position)))

    def step(carry: tuple, xs: tuple) -> tuple[tuple, None]:
        position, log_weight = carry
        beta, increment, eps = xs
        log_weight = log_weight + weigh(position, increment)

        def density(y: Array) -> Array:
            return (1.0 - beta) * log_start(y) + beta * log_end(y)

        chains, _ = kernel.transition(density, kernel.place(density, position), eps, zero + step_size)
        return (backend.stop_gradient(chains.position), log_weight), None

    carry = (start, zero)
    if betas.shape[0]:
        eps = noise(kernel.init_chains(log_end, start))
        carry, _ = backend.scan(step, carry, (betas, increments[:-1], eps))
    position, log_weight = carry
    return log_weight + weigh(position, increments[-1])


def _out(xp: Any, y: Array, mean: Array, scale: Array) -> Array:
    """Latents of coordinates y, ``(K, N, D)``."""
    turned = xp.matmul(xp.moveaxis(y, 0, 1), xp.moveaxis(scale, -1, -2))
    return mean + xp.moveaxis(turned, 0, 1)
