"""Solvers of the reverse diffusion: noise in, sample out, observed coordinates untouched."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.by_value import ByValue
from mmppl.errors import OptionError
from mmppl.sde.base import SDE

Array = Any
Score = Callable[[Array, Array, Array | None], Array]
Noise = Callable[[Array], Array]

__all__ = ["Noise", "Score", "Solver", "count", "keep", "predict", "table", "uniform_grid"]


class Solver(ByValue, ABC):
    """Base of the solvers: a subclass says how much noise it takes and how it goes from noise to data.

    A score is a function ``(z, t, xi)`` of positions ``(*, D)``, one time (a 0-d array) and noise, to ``(*, D)``: the
    gradient of the log density of the diffused coordinates at that time. The noise ``(*, D)`` is that of the step, None
    in a solver that adds none; a score that noises what is observed may use it there, where nothing moves.

    Noise is drawn where it is used, and not before: long schedules would need gigabytes for it.
    """

    @property
    @abstractmethod
    def evaluations(self) -> int:
        """Number of evaluations of the score in a run."""

    @property
    def draws(self) -> int:
        """Number of draws of noise in a run."""
        return 0

    @abstractmethod
    def run(
        self, backend: Backend, sde: SDE, score: Score, start: Array, noise: Noise, free: Array | None = None
    ) -> Array:
        """Goes from noise to data.

        Arguments:
            backend: The backend of the arrays.
            sde: The diffusion.
            score: The score of the diffused coordinates.
            start: ``(*, D)``: draws of N(0, prior_scale^2) where it moves, and what is observed elsewhere.
            noise: The i-th standard normal draw ``(*, D)`` of a run, for i below :attr:`draws`, a 0-d integer array.
            free: Boolean, broadcasts against ``start``: where False, a coordinate keeps its value bit for bit. None
                moves all.
        """

    def sample(
        self, backend: Backend, rng: Any, sde: SDE, score: Score, observed: Array, free: Array | None = None
    ) -> Array:
        """A run from fresh noise; ``observed`` ``(*, D)`` gives the shape, and the values that do not move."""
        first, second = backend.split(rng, 2)
        start = sde.prior_scale * backend.normal(first, tuple(observed.shape), observed)
        start = keep(backend, start, observed, free)

        def noise(i: Array) -> Array:
            return backend.normal(backend.fold_in(second, i), tuple(observed.shape), observed)

        return self.run(backend, sde, score, start, noise, free)


def keep(backend: Backend, new: Array, old: Array, free: Array | None) -> Array:
    """``new`` where it moves, ``old`` elsewhere."""
    return new if free is None else backend.xp.where(free, new, old)


def predict(backend: Backend, sde: SDE, score: Score, z: Array, time: float, free: Array | None) -> Array:
    """The end of a run: the data that the score predicts from the last time."""
    t = backend.asarray(np.asarray(time), like=z)
    return keep(backend, sde.denoise(z, t, score(z, t, None)), z, free)


def uniform_grid(steps: int, last: float) -> np.ndarray:
    """``steps + 1`` times from 1 down to ``last``, evenly spaced."""
    if steps < 1 or not 0.0 < last < 1.0:
        raise OptionError(f"Expected steps >= 1 and 0 < last < 1; got {steps} and {last}.")
    return np.linspace(1.0, last, steps + 1)


def count(backend: Backend, number: int, each: int = 1) -> Array:
    """The first draw of noise of every step, for a scan over steps that take ``each`` draws."""
    return backend.asarray(each * np.arange(number))


def table(backend: Backend, like: Array, *columns: np.ndarray) -> tuple[Array, ...]:
    """Columns of numbers for a scan, in the precision of ``like``."""
    return tuple(backend.asarray(np.asarray(column, dtype=np.float64), like=like) for column in columns)
