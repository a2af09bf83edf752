"""The multistep exponential solver DPM-Solver++."""

from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.checks import at_least, checked, within
from mmppl.errors import OptionError
from mmppl.sde.base import SDE
from mmppl.sde.solvers.base import Noise, Score, Solver, count, keep, predict, table
from mmppl.sde.solvers.signal import check_grid, linear_part, signal_grid

Array = Any

__all__ = ["DPMSolver"]

BEND = 0.2


@checked(evaluations=at_least(1), last=within(0, 1, open_ends="()"), eta=within(0, 1))
class DPMSolver(Solver):
    r"""DPM-Solver++, second-order multistep: the data predicted are taken as linear along each step.

    .. math::
        z_u = \frac{\sigma_u}{\sigma_t} e^{-\eta^2 h} z_t + a_u (1 - e^{-k h}) D_t
        + a_u \Big(h - \frac{1 - e^{-k h}}{k}\Big) \frac{D_t - D_{\text{before}}}{h_{\text{before}}}
        + \sigma_u \sqrt{1 - e^{-2 \eta^2 h}}\, \xi, \qquad
        h = \lambda_u - \lambda_t,\ \lambda = \log \frac{a}{\sigma},\ k = 1 + \eta^2

    With :math:`\eta = 0` it follows the probability flow, with 1 the reverse diffusion, whose noise makes good for
    errors of the score. The slope is that of the two predictions before, and its integral is exact (2M of the source
    takes it to second order in h, which costs accuracy where steps are few).
    One evaluation a step. The last step goes to the data predicted.

    References:
        | DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models (Lu et al., 2022), algorithm 2
        | https://arxiv.org/abs/2211.01095

    Arguments:
        evaluations: Evaluations of the score.
        last: The last time before 0.
        eta: :math:`\eta`, from 0 to 1.

    Raises:
        OptionError: If an option is out of range.

    Example:
        >>> DPMSolver(20).evaluations
        20
    """

    def __init__(self, evaluations: int = 20, last: float = 1e-2, eta: float = 0.0):
        check_grid(evaluations, last)
        if not 0.0 <= eta <= 1.0:
            raise OptionError(f"Expected eta in [0, 1]; got {eta}.")
        self.number, self.last, self.eta = evaluations, last, float(eta)

    @property
    def evaluations(self) -> int:
        return self.number

    @property
    def draws(self) -> int:
        return self.number - 1 if self.eta else 0

    def run(
        self, backend: Backend, sde: SDE, score: Score, start: Array, noise: Noise, free: Array | None = None
    ) -> Array:
        grid = signal_grid(sde, self.number, self.last, BEND)
        own, constant, rise, width, spread = linear_part(sde, grid, self.eta)
        # The first step knows no step before it, and is of first order.
        linear = np.concatenate([[0.0], rise[1:] / width[:-1]])

        def step(carry: tuple, xs: tuple) -> tuple[tuple, None]:
            (z, before), (i, t, own, constant, linear, spread) = carry, xs
            xi = noise(i) if self.eta else None
            data = sde.denoise(z, t, score(z, t, xi))
            new = own * z + constant * data + linear * (data - before)
            if xi is not None:
                new = new + spread * xi
            return (keep(backend, new, z, free), data), None

        columns = table(backend, start, grid[:-1], own, constant, linear, spread)
        xs = (count(backend, self.number - 1), *columns)
        (z, _), _ = backend.scan(step, (start, backend.xp.zeros_like(start)), xs)
        return predict(backend, sde, score, z, grid[-1], free)
