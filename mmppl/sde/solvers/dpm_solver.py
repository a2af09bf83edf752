"""The multistep exponential solver DPM-Solver++."""

from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.sde.base import SDE
from mmppl.sde.solvers.base import Score, Solver, keep, predict, table
from mmppl.sde.solvers.signal import check_grid, linear_part, signal_grid

Array = Any

__all__ = ["DPMSolver"]

BEND = 0.2


class DPMSolver(Solver):
    r"""DPM-Solver++, second-order multistep: the probability flow with the data predicted linear along each step.

    .. math::
        z_u = \frac{\sigma_u}{\sigma_t} z_t + a_u (1 - e^{-h}) D_t + a_u (h - 1 + e^{-h})
        \frac{D_t - D_{\text{before}}}{h_{\text{before}}}, \qquad h = \lambda_u - \lambda_t,\
        \lambda = \log \frac{a}{\sigma}

    The slope is that of the two predictions before, and its integral is exact (2M of the source takes it to second
    order in h, which costs accuracy where steps are few).
    One evaluation a step. The last step goes to the data predicted.

    References:
        | DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models (Lu et al., 2022), algorithm 2
        | https://arxiv.org/abs/2211.01095

    Arguments:
        evaluations: Evaluations of the score.
        last: The last time before 0.

    Raises:
        OptionError: If an option is out of range.

    Example:
        >>> DPMSolver(20).evaluations
        20
    """

    def __init__(self, evaluations: int = 20, last: float = 1e-2):
        check_grid(evaluations, last)
        self.number, self.last = evaluations, last

    @property
    def evaluations(self) -> int:
        return self.number

    @property
    def noise_axes(self) -> tuple[int, ...]:
        return (0,)

    def run(
        self, backend: Backend, sde: SDE, score: Score, start: Array, noise: Array, moves: Array | None = None
    ) -> Array:
        grid = signal_grid(sde, self.number, self.last, BEND)
        own, constant, width = linear_part(sde, grid)
        rise = sde.mean_factor(grid[1:]) * (width + np.expm1(-width))
        # The first step knows no step before it, and is of first order.
        linear = np.concatenate([[0.0], rise[1:] / width[:-1]])

        def step(carry: tuple, xs: tuple) -> tuple[tuple, None]:
            (z, before), (t, own, constant, linear) = carry, xs
            data = sde.denoise(z, t, score(z, t, None))
            new = own * z + constant * data + linear * (data - before)
            return (keep(backend, new, z, moves), data), None

        columns = table(backend, start, grid[:-1], own, constant, linear)
        (z, _), _ = backend.scan(step, (start, backend.xp.zeros_like(start)), columns)
        return predict(backend, sde, score, z, grid[-1], moves)
