"""The Euler-Maruyama solver."""

from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.checks import at_least, checked, within
from mmppl.sde.base import SDE
from mmppl.sde.solvers.base import Noise, Score, Solver, count, keep, table, uniform_grid

Array = Any

__all__ = ["EulerMaruyama"]


@checked(steps=at_least(1), last=within(0, 1, open_ends="()"))
class EulerMaruyama(Solver):
    r"""The reverse diffusion by Euler-Maruyama steps on an even grid; the last step adds no noise.

    .. math:: z \leftarrow z - (f z - g^2 s)\, \Delta + g \sqrt{\Delta}\, \xi

    References:
        | Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2021), section 4
        | https://arxiv.org/abs/2011.13456

    Arguments:
        steps: Number of steps.
        last: The time at which it ends.

    Raises:
        OptionError: If an option is out of range.

    Example:
        >>> from mmppl._backend.numpy import BACKEND
        >>> from mmppl.sde.vp import VP
        >>> rng = np.random.default_rng(0)
        >>> z = EulerMaruyama(200).sample(BACKEND, rng, VP(), lambda z, t, xi: -z, np.zeros((2000, 1)))
        >>> bool(abs(z.std() - 1.0) < 0.05)  # standard normal data have the score -z at every time
        True
    """

    def __init__(self, steps: int = 250, last: float = 1e-3):
        self.grid = uniform_grid(steps, last)

    @property
    def evaluations(self) -> int:
        return len(self.grid) - 1

    @property
    def draws(self) -> int:
        return self.evaluations

    def run(
        self, backend: Backend, sde: SDE, score: Score, start: Array, noise: Noise, free: Array | None = None
    ) -> Array:
        times, width = self.grid[:-1], -np.diff(self.grid)
        rate, power = sde.rate(times), sde.noise_rate(times)
        spread = np.sqrt(power * width) * (times > times[-1])

        def step(z: Array, xs: tuple) -> tuple[Array, None]:
            i, t, shrink, gain, spread = xs
            xi = noise(i)
            new = z - shrink * z + gain * score(z, t, xi) + spread * xi
            return keep(backend, new, z, free), None

        columns = table(backend, start, times, rate * width, power * width, spread)
        return backend.scan(step, start, (count(backend, self.draws), *columns))[0]
