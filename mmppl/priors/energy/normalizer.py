"""The normaliser of an energy-tilted density, with its error."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mmppl._backend import Backend
from mmppl.mcmc.langevin import LangevinState, init, mala_step

Array = Any

__all__ = ["LEAST_ESS", "LogNormalizer", "annealed_importance_sampling"]

LEAST_ESS = 25.0


class LogNormalizer(NamedTuple):
    r"""An estimate of the log normaliser of an energy-tilted density.

    .. math:: \log Z = \log \int e^{f(z)} p_0(z) \, dz

    Arguments:
        value: log Z, in nats.
        error: Its standard error, in nats; NaN where the effective sample size is below 25, too few weights for one.
        ess: Effective sample size of the weights, out of the number of chains.
    """

    value: float
    error: float
    ess: float


def annealed_importance_sampling(
    backend: Backend,
    log_base: Callable[[Array], Array],
    energy: Callable[[Array], Array],
    start: Array,
    noise: Array,
    uniform: Array,
    step_size: float,
    clip: float | None = None,
) -> Array:
    r"""Log weights of annealed importance sampling from the base to the tilted density.

    .. math:: p_j(z) \propto p_0(z) \exp(\beta_j f(z)), \qquad
        \log w = \sum_{j=1}^{J} (\beta_j - \beta_{j-1}) f(z_{j-1}), \qquad Z = \mathbb{E}[w]

    with a MALA step that leaves :math:`p_j` invariant between the terms, and :math:`\beta_j = (j / J)^2`, slow where
    the base still rules.

    References:
        | Annealed importance sampling (Neal, 2001)
        | https://arxiv.org/abs/physics/9803008

    Arguments:
        backend: The backend of the arrays.
        log_base: log p_0, ``(C, D)`` to ``(C,)``.
        energy: f, ``(C, D)`` to ``(C,)``.
        start: Exact draws from the base, ``(C, D)``.
        noise: Standard normal, ``(J, C, D)``.
        uniform: On [0, 1), ``(J, C)``.
        step_size: s of the MALA steps.
        clip: Bound on each coordinate of the score in the proposals.

    Returns:
        log w, ``(C,)``.
    """
    num = noise.shape[0]
    grid = (np.arange(num + 1) / num) ** 2
    betas = backend.asarray(grid[1:], like=start)
    increments = backend.asarray(np.diff(grid), like=start)

    def step(carry: tuple, xs: tuple) -> tuple[tuple, None]:
        position, log_weight = carry
        beta, increment, eps, u = xs
        log_weight = log_weight + increment * backend.stop_gradient(energy(position))
        state: LangevinState = init(lambda z: log_base(z) + beta * energy(z), position)
        state, _ = mala_step(lambda z: log_base(z) + beta * energy(z), state, eps, u, step_size, clip)
        return (state.position, log_weight), None

    zero = backend.xp.zeros_like(start[:, 0])
    (_, log_weight), _ = backend.scan(step, (start, zero), (betas, increments, noise, uniform))
    return log_weight


def summarise(log_weight: np.ndarray) -> LogNormalizer:
    r"""log Z and its delta-method error from log weights ``(C,)``, NaN where too few of them carry the weight.

    Example:
        >>> import numpy as np
        >>> summarise(np.zeros(4)).value
        0.0
    """
    log_weight = np.asarray(log_weight, dtype=np.float64)
    peak = log_weight.max()
    weight = np.exp(log_weight - peak)
    mean = weight.mean()
    ess = weight.sum() ** 2 / (weight**2).sum()
    error = weight.std(ddof=1) / (np.sqrt(weight.size) * mean) if ess >= LEAST_ESS else np.nan
    return LogNormalizer(float(np.log(mean) + peak), float(error), float(ess))
