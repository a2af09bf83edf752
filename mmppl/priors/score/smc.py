r"""Exact conditionals of a joint score, by twisted sequential Monte Carlo.

Replacement only approximates the conditional of an unconditional score. Here P particles of all coordinates run the
reverse diffusion, guided by what the score already predicts of the observed coordinates,

.. math:: \tilde p_t(z) = \mathcal{N}\big(z_o;\ \hat z_{0,o}(z, t),\ \tau_t^2 I\big), \qquad
    \tau_t^2 = \frac{\sigma_t^2}{a_t^2 + \sigma_t^2}

weighed by what the twist changed, and resampled where few of them still count. As P grows the particles have the
conditional's distribution, for any observed subset and any density that the score describes, up to the noise of the
last time.

References:
    | Practical and Asymptotically Exact Conditional Sampling in Diffusion Models (Wu et al., 2023), algorithm 1
    | https://arxiv.org/abs/2306.17775
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mmppl._backend import Backend
from mmppl.checks import at_least, checked, within
from mmppl.numerics import systematic
from mmppl.sde import SDE
from mmppl.sde.solvers.ancestral import posterior
from mmppl.sde.solvers.base import count, table
from mmppl.sde.solvers.signal import signal_grid

Array = Any

__all__ = ["TwistedSMC", "Twist"]

BEND = 0.2


class Twist(NamedTuple):
    """Twisting function at P particles, which lie along the first axis.

    Arguments:
        score: The score without conditions, ``(P, *, D)``.
        value: Log of the twisting function, ``(P, *)``.
        slope: Its gradient, ``(P, *, D)``; 0 where nothing moves.
        joined: What is in the positions beside diffused data, before its factor, ``(P, *, D)``.
    """

    score: Array
    value: Array
    slope: Array
    joined: Array


@checked(number=at_least(2), steps=at_least(2), last=within(0, 1, open_ends="()"), threshold=within(0, 1))
@dataclass(frozen=True)
class TwistedSMC:
    r"""Settings of the twisted SMC sampler of :math:`p(z \mid z_o)`, o being the observed coordinates.

    P particles run down a grid of the reverse diffusion :math:`p_t(z_t \mid z_{t + 1})`. Each step proposes from it
    with the mean shifted by the slope of the twisting function, and weighs by

    .. math:: w_t \propto \frac{p_t(z_t \mid z_{t + 1})\, \tilde p_t(z_t)}
        {\tilde p_{t + 1}(z_{t + 1})\, q_t(z_t \mid z_{t + 1})}, \qquad
        \tilde p_t(z) = \mathcal{N}\big(z_o;\ \hat z_{0,o}(z, t),\ \tau_t^2 I\big)

    with :math:`\hat z_0` what the score predicts of the data.

    Arguments:
        number: P, for each draw.
        steps: Steps of the reverse diffusion.
        last: The last time before 0; observed coordinates are matched to within its noise.
        threshold: Particles are resampled where their effective number falls below this share of P.

    References:
        | Practical and Asymptotically Exact Conditional Sampling in Diffusion Models (Wu et al., 2023), algorithm 1
        | https://arxiv.org/abs/2306.17775

    Raises:
        OptionError: If a number is out of range.

    Example:
        >>> TwistedSMC(64).steps
        100
    """

    number: int = 32
    steps: int = 100
    last: float = 2e-3
    threshold: float = 0.5

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
        live = xp.astype(known, observed.dtype)

        def twist(z: Array, t: Array, xi: Array) -> Twist:
            tau = sde.scale(t) / (sde.mean_factor(t) ** 2 + sde.scale(t) ** 2) ** 0.5

            def log_twist(x: Array) -> Array:
                data = sde.denoise(x, t, -noise_of(x, t) / sde.scale(t))
                return xp.sum(live * (-0.5 * ((observed - data) / tau) ** 2 - xp.log(tau)), axis=-1)

            value, slope = backend.value_and_grad(log_twist, z)
            return Twist(-noise_of(z, t) / sde.scale(t), value, slope, xp.zeros_like(z))

        start = xp.zeros_like(observed)
        z, at, size = self.run(backend, rng, sde, twist, start, xp.ones_like(known))
        t = backend.asarray(np.asarray(self.last), like=observed)
        return xp.where(known, observed, sde.denoise(z, t, at.score)), size

    def run(
        self,
        backend: Backend,
        rng: Any,
        sde: SDE,
        twist: Callable[[Array, Array, Array], Twist],
        start: Array,
        free: Array,
        joins: Callable[[np.ndarray], np.ndarray] = np.zeros_like,
        unit: bool = False,
    ) -> tuple[Array, Twist, Array]:
        """One particle for each row at the last time, with its twist, and as :meth:`sample`.

        Arguments:
            backend: The backend of the arrays.
            rng: A random handle.
            sde: The diffusion.
            twist: From positions ``(P, *, D)``, a time and standard normal noise like the positions.
            start: Values of the coordinates that do not move, ``(*, D)``.
            free: Which do, boolean ``(*, D)``.
            joins: The factor of what joins at times.
            unit: Whether steps have the noise that is right for data of unit variance, so that fewer do; else that for
                data which the score predicts exactly.
        """
        xp = backend.xp
        shape = (self.number, *start.shape)
        grid = signal_grid(sde, self.steps + 1, self.last, BEND)
        first, second, third, fourth = backend.split(rng, 4)
        begin = xp.where(free, sde.prior_scale * backend.normal(first, shape, start), start)

        def step(carry: tuple, xs: tuple) -> tuple[tuple, None]:
            (z, log_weight, least), (i, t, own, gain, spread, now, then) = carry, xs
            xi = backend.normal(backend.fold_in(second, i), shape, start)
            u = backend.uniform(backend.fold_in(third, i), tuple(start.shape[:-1]), start)
            # 1. Weigh: the twisting function here, over the one of the step before, which is taken off in 2.
            at = twist(z, t, xi)
            log_weight = log_weight + at.value
            # 2. Resample, where few particles still count; else everyone stays.
            size = self._size(backend, log_weight)
            poor = size < self.threshold * self.number
            order = xp.where(poor, self._resample(backend, log_weight, u), self._stay(backend, log_weight))
            z, at = self._take(backend, order, z), Twist(*(self._take(backend, order, x) for x in at))
            log_weight = xp.where(poor, xp.zeros_like(log_weight), log_weight) - at.value
            # 3. Propose: a step of the reverse diffusion, its mean shifted by the slope of the twisting function.
            shift = gain * at.slope / spread
            new = own * (z - now * at.joined) + then * at.joined + gain * (at.score + at.slope) + spread * xi
            # 4. Weigh by the density of the reverse step over that of the proposal.
            log_weight = log_weight - xp.sum(shift * (0.5 * shift + xi), axis=-1)
            return (xp.where(free, new, z), log_weight, xp.where(size < least, size, least)), None

        t, u = grid[:-1], grid[1:]
        own, gain, spread = posterior(sde, t, u)
        if unit:
            now, ahead = (sde.mean_factor(x) ** 2 + sde.scale(x) ** 2 for x in (t, u))
            spread = np.sqrt(ahead - (own - gain / now) ** 2 * now)
        columns = table(backend, start, t, own, gain, spread, joins(t), joins(u))
        zero = xp.zeros_like(begin[..., 0])
        carry = (begin, zero, xp.zeros_like(start[..., 0]) + float(self.number))
        (z, log_weight, least), _ = backend.scan(step, carry, (count(backend, self.steps), *columns))
        # The last weights, and one particle drawn by them.
        end = backend.asarray(np.asarray(self.last), like=start)
        at = twist(z, end, backend.normal(backend.fold_in(second, self.steps), shape, start))
        log_weight = log_weight + at.value
        size = self._size(backend, log_weight)
        chosen = self._resample(backend, log_weight, backend.uniform(fourth, tuple(start.shape[:-1]), start))
        # Any of the particles resampled will do; which one must not depend on their order.
        pick = chosen[:1, ...]
        z, *parts = (self._take(backend, pick, x)[0, ...] for x in (z, *at))
        return z, Twist(*parts), xp.where(size < least, size, least)

    def _take(self, backend: Backend, order: Array, x: Array) -> Array:
        """Particles of an order, of an array with or without coordinates."""
        order = order if x.ndim == order.ndim else order[..., None]
        return backend.xp.take_along_axis(x, order, axis=0)

    def _size(self, backend: Backend, log_weight: Array) -> Array:
        """The effective number of particles, ``(*,)``."""
        log_share = backend.log_softmax(log_weight, axis=0)
        return backend.xp.exp(-backend.logsumexp(2.0 * log_share, axis=0))

    def _resample(self, backend: Backend, log_weight: Array, u: Array) -> Array:
        """Ancestors of the particles, ``(P, *)``, by systematic resampling in an order turned at random."""
        places = backend.asarray((np.arange(self.number) / self.number).tolist(), like=u)
        points = backend.xp.reshape(places, (self.number, *(1,) * u.ndim)) + u
        return systematic(log_weight, points - backend.xp.floor(points))

    def _stay(self, backend: Backend, log_weight: Array) -> Array:
        xp = backend.xp
        order = xp.sum(xp.tril(xp.ones((self.number, self.number), dtype=log_weight.dtype)) > 0.5, axis=1) - 1
        return xp.broadcast_to(xp.reshape(order, (self.number, *(1,) * (log_weight.ndim - 1))), log_weight.shape)
