"""Annealed importance sampling from the guide to the posterior."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.inference.kernels import Kernel

Array = Any

__all__ = ["annealed_log_weights", "inverse_temperatures"]

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


def annealed_log_weights(
    backend: Backend,
    kernel: Kernel,
    log_start: Callable[[Array], Array],
    log_target: Callable[[Array], Array],
    position: Array,
    noise: tuple[Array, ...],
    step_sizes: Array | None = None,
) -> tuple[Array, Array]:
    r"""Log weights of annealed importance sampling, K chains for each of N data.

    .. math:: p_j(z) \propto q(z)^{1 - \beta_j} p(z)^{\beta_j}, \qquad
        \log w = \sum_{j=1}^{J} (\beta_j - \beta_{j-1}) \log \frac{p(z_{j-1})}{q(z_{j-1})}

    with a transition that leaves :math:`p_j` as it is between the terms; the mean of w is the integral of p. Step sizes
    that adapt to the chains they move would spoil that, so they come from a run of their own.

    References:
        | Annealed importance sampling (Neal, 2001)
        | https://arxiv.org/abs/physics/9803008

    Arguments:
        backend: The backend of the arrays.
        kernel: Its transitions are those of the chains.
        log_start: log q, ``(K, N, D)`` to ``(K, N)``.
        log_target: log p, not normalised.
        position: Draws from q, ``(K, N, D)``.
        noise: That of all transitions, stacked.
        step_sizes: Those of a former run, ``(J, N)``; None for a run that finds them, by the mean acceptance over the
            chains of a datum.

    Returns:
        log w, ``(K, N)``, and the step sizes, ``(J, N)``.
    """
    xp = backend.xp
    grid = inverse_temperatures(noise[0].shape[0])
    betas, increments = (backend.asarray(x, like=position) for x in (grid[1:], np.diff(grid)))
    zero = xp.zeros_like(position[..., 0])
    adapt = step_sizes is None
    sizes = xp.zeros_like(betas)[:, None] + zero[0] if step_sizes is None else step_sizes

    def step(carry: tuple, xs: tuple) -> tuple[tuple, Array]:
        position, log_weight, size = carry
        beta, increment, given, eps = xs
        size = size if adapt else given
        ratio = log_target(position) - log_start(position)
        log_weight = log_weight + increment * backend.stop_gradient(ratio)

        def density(z: Array) -> Array:
            return (1.0 - beta) * log_start(z) + beta * log_target(z)

        chains, info = kernel.transition(density, kernel.place(density, position), eps, zero + size)
        accept = xp.mean(xp.where(xp.isfinite(info.accept_prob), info.accept_prob, 0.0 * zero), axis=0)
        moved = size * xp.exp(GAIN * (accept - kernel.target_accept_prob))
        return (backend.stop_gradient(chains.position), log_weight, moved), size

    start = (position, zero, zero[0] + kernel.step_size)
    (_, log_weight, _), used = backend.scan(step, start, (betas, increments, sizes, noise))
    return log_weight, used
