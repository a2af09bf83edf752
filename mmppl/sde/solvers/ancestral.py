"""The ancestral solver."""

from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.checks import at_least, checked, within
from mmppl.sde.base import SDE
from mmppl.sde.solvers.base import Noise, Score, Solver, count, keep, table, uniform_grid

Array = Any

__all__ = ["Ancestral", "posterior"]


@checked(steps=at_least(1), last=within(0, 1, open_ends="()"))
class Ancestral(Solver):
    r"""Draws :math:`z_u` given :math:`z_t` and the data that the score predicts, u < t, down to t = 0.

    .. math::
        q(z_u \mid z_t, z_0) = \mathcal{N}\Big( \frac{a_{t|u} \sigma_u^2}{\sigma_t^2} z_t +
        \frac{a_u \sigma_{t|u}^2}{\sigma_t^2} z_0,\ \frac{\sigma_u^2 \sigma_{t|u}^2}{\sigma_t^2} I \Big), \quad
        a_{t|u} = \frac{a_t}{a_u}, \quad \sigma_{t|u}^2 = \sigma_t^2 - a_{t|u}^2 \sigma_u^2

    References:
        | Denoising Diffusion Probabilistic Models (Ho et al., 2020), section 3.2
        | https://arxiv.org/abs/2006.11239

    Arguments:
        steps: Number of steps.
        last: The last time before 0.

    Raises:
        OptionError: If an option is out of range.

    Example:
        >>> Ancestral(100).evaluations
        101
    """

    def __init__(self, steps: int = 250, last: float = 1e-3):
        self.grid = np.append(uniform_grid(steps, last), 0.0)

    @property
    def evaluations(self) -> int:
        return len(self.grid) - 1

    @property
    def draws(self) -> int:
        return self.evaluations

    def run(
        self, backend: Backend, sde: SDE, score: Score, start: Array, noise: Noise, free: Array | None = None
    ) -> Array:
        def step(z: Array, xs: tuple) -> tuple[Array, None]:
            i, t, own, gain, spread = xs
            xi = noise(i)
            return keep(backend, own * z + gain * score(z, t, xi) + spread * xi, z, free), None

        columns = table(backend, start, self.grid[:-1], *posterior(sde, self.grid[:-1], self.grid[1:]))
        return backend.scan(step, start, (count(backend, self.draws), *columns))[0]


def posterior(sde: SDE, t: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Factors of z, of the score and of the noise in a draw of z at times ``u`` < ``t``."""
    ratio = sde.mean_factor(t) / sde.mean_factor(u)
    before, now = sde.scale(u) ** 2, sde.scale(t) ** 2
    between = now - ratio**2 * before
    # The data predicted are (z + now * score) / a_t, and a_u / a_t is 1 / ratio.
    own = ratio * before / now + between / (now * ratio)
    return own, between / ratio, np.sqrt(before * between / now)
