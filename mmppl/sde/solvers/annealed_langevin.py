"""Annealed Langevin dynamics."""

from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.checks import at_least, checked, within
from mmppl.sde.base import SDE
from mmppl.sde.solvers.base import Noise, Score, Solver, count, keep, predict, table
from mmppl.sde.solvers.signal import check_grid, signal_grid

Array = Any

__all__ = ["AnnealedLangevin"]

BEND = 0.2


@checked(levels=at_least(2), repeats=at_least(1), ratio=within(0, 1, open_ends="()"), last=within(0, 1, open_ends="()"))
class AnnealedLangevin(Solver):
    r"""Langevin steps at ever smaller noise: no diffusion is solved, each level only starts from the one before.

    .. math:: z \leftarrow z + e_t\, s + \sqrt{2 e_t}\, \xi, \qquad e_t = r\, \sigma_t^2

    Between levels z is rescaled by the quotient of their mean factors. After the last level the data are predicted.

    References:
        | Generative Modeling by Estimating Gradients of the Data Distribution (Song & Ermon, 2019), algorithm 1
        | https://arxiv.org/abs/1907.05600

    Arguments:
        levels: Number of noise levels.
        repeats: Langevin steps at each.
        ratio: r, the step in units of the level's variance.
        last: The time of the last level.

    Raises:
        OptionError: If an option is out of range.

    Example:
        >>> AnnealedLangevin(50, 4).evaluations
        201
    """

    def __init__(self, levels: int = 100, repeats: int = 10, ratio: float = 0.2, last: float = 1e-3):
        check_grid(levels, last)
        self.levels, self.repeats, self.ratio, self.last = levels, repeats, float(ratio), last

    @property
    def evaluations(self) -> int:
        return self.levels * self.repeats + 1

    @property
    def draws(self) -> int:
        return self.levels * self.repeats

    def run(
        self, backend: Backend, sde: SDE, score: Score, start: Array, noise: Noise, free: Array | None = None
    ) -> Array:
        grid = signal_grid(sde, self.levels, self.last, BEND)
        times = np.repeat(grid, self.repeats)
        factor = sde.mean_factor(times)
        rescale = factor / np.concatenate([factor[:1], factor[:-1]])
        size = self.ratio * sde.scale(times) ** 2

        def step(z: Array, xs: tuple) -> tuple[Array, None]:
            i, t, rescale, size, spread = xs
            xi = noise(i)
            at = keep(backend, rescale * z, z, free)
            return keep(backend, at + size * score(at, t, xi) + spread * xi, z, free), None

        columns = table(backend, start, times, rescale, size, np.sqrt(2.0 * size))
        z = backend.scan(step, start, (count(backend, self.draws), *columns))[0]
        return predict(backend, sde, score, z, grid[-1], free)
