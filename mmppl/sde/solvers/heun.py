"""The probability flow by Heun's method."""

from typing import Any

from mmppl._backend import Backend
from mmppl.checks import at_least, checked, within
from mmppl.errors import OptionError
from mmppl.sde.base import SDE
from mmppl.sde.solvers.base import Noise, Score, Solver, keep, predict, table
from mmppl.sde.solvers.signal import check_grid, linear_part, signal_grid

Array = Any

__all__ = ["Heun"]

BEND = 1.0


@checked(evaluations=at_least(3), last=within(0, 1, open_ends="()"))
class Heun(Solver):
    r"""The probability-flow ODE by Heun's second-order method, exact in its linear part; no noise is added.

    .. math::
        \frac{dz}{dt} = f z - \tfrac12 g^2 s \quad\Longleftrightarrow\quad
        \frac{d(z / \sigma)}{d\lambda} = e^{\lambda} D, \qquad \lambda = \log \frac{a}{\sigma}

    with D the data that the score predicts, held constant for a first guess and then linear in :math:`\lambda`
    between the two ends of the step. The last step goes to the data predicted.

    References:
        | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022), section 3
        | https://arxiv.org/abs/2206.00364
        | DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models (Lu et al., 2022), section 4
        | https://arxiv.org/abs/2211.01095

    Arguments:
        evaluations: Evaluations of the score, an odd number: two for each step, and one for the last.
        last: The last time before 0.

    Raises:
        OptionError: If an option is out of range.

    Example:
        >>> Heun(19).evaluations
        19
    """

    def __init__(self, evaluations: int = 39, last: float = 1e-2):
        if evaluations < 3 or evaluations % 2 == 0:
            raise OptionError(f"Expected an odd number of evaluations, at least 3; got {evaluations}.")
        check_grid((evaluations + 1) // 2, last)
        self.number, self.last = evaluations, last

    @property
    def evaluations(self) -> int:
        return self.number

    def run(
        self, backend: Backend, sde: SDE, score: Score, start: Array, noise: Noise, free: Array | None = None
    ) -> Array:
        grid = signal_grid(sde, (self.number + 1) // 2, self.last, BEND)
        own, constant, rise, width, _ = linear_part(sde, grid)
        linear = rise / width

        def step(z: Array, xs: tuple) -> tuple[Array, None]:
            t, u, own, constant, linear = xs
            data = sde.denoise(z, t, score(z, t, None))
            predicted = keep(backend, own * z + constant * data, z, free)
            change = sde.denoise(predicted, u, score(predicted, u, None)) - data
            return keep(backend, predicted + linear * change, z, free), None

        columns = table(backend, start, grid[:-1], grid[1:], own, constant, linear)
        z = backend.scan(step, start, columns)[0]
        return predict(backend, sde, score, z, grid[-1], free)
