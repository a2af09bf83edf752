r"""Exact conditionals of a joint score, by twisted sequential Monte Carlo.

Replacement only approximates the conditional of an unconditional score. Here P particles of all coordinates run the
reverse diffusion, pulled by what the score already predicts of the observed coordinates,

.. math:: \tilde p_t(z) = \mathcal{N}\big(z_o;\ \hat z_{0,o}(z, t),\ \tau_t^2 I\big), \qquad
    \tau_t^2 = \frac{\sigma_t^2}{a_t^2 + \sigma_t^2}

weighed by what the pull changed, and resampled where few of them still count. As P grows the particles have the
conditional's distribution, for any observed subset and any density that the score describes, up to the noise of the
last time.

References:
    | Practical and Asymptotically Exact Conditional Sampling in Diffusion Models (Wu et al., 2023), algorithm 1
    | https://arxiv.org/abs/2306.17775
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.errors import OptionError
from mmppl.sde import SDE
from mmppl.sde.solvers.ancestral import posterior
from mmppl.sde.solvers.base import count, table
from mmppl.sde.solvers.signal import signal_grid

Array = Any

__all__ = ["Particles"]

BEND = 0.2


@dataclass(frozen=True)
class Particles:
    """How many particles a conditional takes, and how they go.

    Arguments:
        number: P, for each draw.
        steps: Steps of the reverse diffusion.
        last: The last time before 0; observed coordinates are matched to within its noise.
        threshold: Particles are resampled where their effective number falls below this share of P.

    Raises:
        OptionError: If a number is out of range.

    Example:
        >>> Particles(64).steps
        100
    """

    number: int = 32
    steps: int = 100
    last: float = 2e-3
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.number < 2 or self.steps < 2 or not 0.0 < self.last < 1.0 or not 0.0 <= self.threshold <= 1.0:
            raise OptionError(
                "Expected particles >= 2, steps >= 2, 0 < last < 1 and a threshold in [0, 1]; got "
                f"{self.number}, {self.steps}, {self.last} and {self.threshold}."
            )

    def sample(
        self,
        backend: Backend,
        rng: Any,
        sde: SDE,
        noise_of: Callable[[Array, Array], Array],
        observed: Array,
        known: Array,
    ) -> tuple[Array, Array]:
        """One draw for each row, and the smallest effective number of its particles on the way.

        Arguments:
            backend: The backend of the arrays.
            rng: A random handle.
            sde: The diffusion.
            noise_of: The noise predicted for all coordinates, from positions ``(*, D)`` and a time.
            observed: ``(*, D)``.
            known: Which coordinates are observed, boolean ``(*, D)``.

        Returns:
            Draws ``(*, D)`` with observed coordinates as they are, and effective numbers ``(*,)``.
        """
        xp = backend.xp
        shape = (self.number, *observed.shape)
        grid = signal_grid(sde, self.steps + 1, self.last, BEND)
        first, second, third, fourth = backend.split(rng, 4)
        start = sde.prior_scale * backend.normal(first, shape, observed)
        live = xp.astype(known, observed.dtype)

        def twist(z: Array, t: Array) -> tuple[Array, Array, Array]:
            """The score, log of the twisting function and its gradient."""
            tau = sde.scale(t) / (sde.mean_factor(t) ** 2 + sde.scale(t) ** 2) ** 0.5

            def log_twist(x: Array) -> Array:
                data = sde.denoise(x, t, -noise_of(x, t) / sde.scale(t))
                return xp.sum(live * (-0.5 * ((observed - data) / tau) ** 2 - xp.log(tau)), axis=-1)

            value, slope = backend.value_and_grad(log_twist, z)
            return -noise_of(z, t) / sde.scale(t), value, slope

        def step(carry: tuple, xs: tuple) -> tuple[tuple, None]:
            (z, log_weight, least), (i, t, own, pull, spread) = carry, xs
            xi = backend.normal(backend.fold_in(second, i), shape, observed)
            u = backend.uniform(backend.fold_in(third, i), tuple(observed.shape[:-1]), observed)
            score, value, slope = twist(z, t)
            log_weight = log_weight + value
            size = self._size(backend, log_weight)
            poor = size < self.threshold * self.number
            order = xp.where(poor, self._resample(backend, log_weight, u), self._stay(backend, log_weight))
            z, score, slope = (xp.take_along_axis(x, order[..., None], axis=0) for x in (z, score, slope))
            value = xp.take_along_axis(value, order, axis=0)
            log_weight = xp.where(poor, xp.zeros_like(log_weight), log_weight) - value
            shift = pull * slope / spread
            z = own * z + pull * (score + slope) + spread * xi
            log_weight = log_weight - xp.sum(shift * (0.5 * shift + xi), axis=-1)
            return (z, log_weight, xp.where(size < least, size, least)), None

        columns = table(backend, observed, grid[:-1], *posterior(sde, grid[:-1], grid[1:]))
        zero = xp.zeros_like(start[..., 0])
        carry = (start, zero, xp.zeros_like(observed[..., 0]) + float(self.number))
        (z, log_weight, least), _ = backend.scan(step, carry, (count(backend, self.steps), *columns))
        t = backend.asarray(np.asarray(self.last), like=observed)
        score, value, _ = twist(z, t)
        log_weight = log_weight + value
        size = self._size(backend, log_weight)
        chosen = self._resample(backend, log_weight, backend.uniform(fourth, tuple(observed.shape[:-1]), observed))
        # Any of the particles resampled will do; which one must not depend on their order.
        pick = chosen[:1, ...]
        data = xp.take_along_axis(sde.denoise(z, t, score), pick[..., None], axis=0)[0, ...]
        return xp.where(known, observed, data), xp.where(size < least, size, least)

    def _size(self, backend: Backend, log_weight: Array) -> Array:
        """The effective number of particles, ``(*,)``."""
        log_share = backend.log_softmax(log_weight, axis=0)
        return backend.xp.exp(-backend.logsumexp(2.0 * log_share, axis=0))

    def _resample(self, backend: Backend, log_weight: Array, u: Array) -> Array:
        """Which particles go on, ``(P, *)``, by systematic resampling in an order turned at random."""
        xp = backend.xp
        upper = xp.cumulative_sum(xp.exp(backend.log_softmax(log_weight, axis=0)), axis=0)
        places = backend.asarray((np.arange(self.number) / self.number).tolist(), like=u)
        points = xp.reshape(places, (self.number, *(1,) * u.ndim)) + u
        points = points - xp.floor(points)
        place = xp.sum(upper[None, ...] < points[:, None, ...], axis=1)
        # Rounding may leave the last sum a little below 1.
        return xp.where(place < self.number, place, self.number - 1)

    def _stay(self, backend: Backend, log_weight: Array) -> Array:
        xp = backend.xp
        order = xp.sum(xp.tril(xp.ones((self.number, self.number), dtype=log_weight.dtype)) > 0.5, axis=1) - 1
        return xp.broadcast_to(xp.reshape(order, (self.number, *(1,) * (log_weight.ndim - 1))), log_weight.shape)
