"""The predictor-corrector solver."""

from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.checks import above, at_least, checked, within
from mmppl.sde.base import SDE
from mmppl.sde.solvers.ancestral import posterior
from mmppl.sde.solvers.base import Noise, Score, Solver, count, keep, predict, table, uniform_grid

Array = Any

__all__ = ["PredictorCorrector"]


@checked(steps=at_least(1), corrections=at_least(1), ratio=above(0), last=within(0, 1, open_ends="()"))
class PredictorCorrector(Solver):
    r"""Ancestral steps from t to u, each followed by Langevin steps at u.

    .. math:: z \leftarrow z + e\, s + \sqrt{2 e}\, \xi, \qquad
        e = 2 \Big(\frac{a_t}{a_u}\Big)^2 (r \sigma_u)^2

    The source has :math:`\lVert \xi \rVert / \lVert s \rVert`, averaged over the batch, where this has its value
    :math:`\sigma_u` under noise alone: the average makes one datum's draw depend on the others of its batch.

    References:
        | Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2021), appendix G
        | https://arxiv.org/abs/2011.13456

    Arguments:
        steps: Number of steps.
        corrections: Langevin steps after each.
        ratio: r, the signal-to-noise ratio of a Langevin step.
        last: The time of the last Langevin steps; data are then predicted from it.

    Raises:
        OptionError: If an option is out of range.

    Example:
        >>> PredictorCorrector(100).evaluations
        201
    """

    def __init__(self, steps: int = 250, corrections: int = 1, ratio: float = 0.16, last: float = 1e-3):
        self.grid, self.corrections, self.ratio = uniform_grid(steps, last), corrections, float(ratio)

    @property
    def evaluations(self) -> int:
        return (len(self.grid) - 1) * (1 + self.corrections) + 1

    @property
    def draws(self) -> int:
        return (len(self.grid) - 1) * (1 + self.corrections)

    def run(
        self, backend: Backend, sde: SDE, score: Score, start: Array, noise: Noise, free: Array | None = None
    ) -> Array:
        times, after = self.grid[:-1], self.grid[1:]
        damp = (sde.mean_factor(times) / sde.mean_factor(after)) ** 2
        size = 2.0 * damp * (self.ratio * sde.scale(after)) ** 2

        def step(z: Array, xs: tuple) -> tuple[Array, None]:
            i, t, u, own, gain, spread, size, jolt = xs
            xi = noise(i)
            z = keep(backend, own * z + gain * score(z, t, xi) + spread * xi, z, free)
            for j in range(1, 1 + self.corrections):
                xi = noise(i + j)
                z = keep(backend, z + size * score(z, u, xi) + jolt * xi, z, free)
            return z, None

        columns = table(backend, start, times, after, *posterior(sde, times, after), size, np.sqrt(2.0 * size))
        z = backend.scan(step, start, (count(backend, len(times), 1 + self.corrections), *columns))[0]
        return predict(backend, sde, score, z, self.grid[-1], free)
