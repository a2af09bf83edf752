r"""The density of a diffusion model, by its probability flow.

.. math:: \frac{dz}{dt} = f(t) z - \tfrac12 g(t)^2 s(z, t), \qquad
    \log p(z_0) = \log \mathcal{N}(z_1; 0, \sigma_1^2 I) + \int_0^1 \nabla \cdot \frac{dz}{dt} \, dt

References:
    | Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2021), section 4.3
    | https://arxiv.org/abs/2011.13456
"""

import math
from dataclasses import dataclass
from typing import Any

from mmppl._backend import Backend
from mmppl.checks import above, at_least, checked, within
from mmppl.numerics import normal_log_density, random_signs
from mmppl.sde import SDE
from mmppl.sde.solvers.base import Score

Array = Any

__all__ = ["ProbabilityFlow"]

SLACK = 10.0
# Rows times directions that a network takes at once.
STATES = 1024


@checked(rtol=above(0), atol=above(0), probes=at_least(1), first=within(0, 1, open_ends="()"))
@dataclass(frozen=True)
class ProbabilityFlow:
    r"""Integration of the probability flow, for the log density of latents :math:`z_0`, ``(*, D)``.

    .. math:: \frac{dz}{dt} = f(t) z - \tfrac12 g(t)^2 s(z, t), \qquad
        \log p(z_0) = \log \mathcal{N}(z_1; 0, \sigma_1^2 I) + \int_0^1 \nabla \cdot \frac{dz}{dt} \, dt

    The divergence is exact, one derivative for each coordinate, or its trace is estimated by Rademacher probes
    (Hutchinson); probes are drawn from a fixed seed, so that a density is a function of its argument.

    Arguments:
        rtol: Relative tolerance of the integration.
        atol: Absolute tolerance.
        probes: Number of probes; None for the exact divergence.
        first: The time that stands for 0.
        seed: Random seed, of the probes.

    References:
        | Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2021), section 4.3
        | https://arxiv.org/abs/2011.13456
        | FFJORD (Grathwohl et al., 2019), for the probes, https://arxiv.org/abs/1810.01367

    Raises:
        OptionError: If a number is out of range.

    Example:
        >>> ProbabilityFlow(probes=8).first
        1e-05
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    probes: int | None = None
    first: float = 1e-5
    seed: int = 0

    def log_density(
        self, backend: Backend, sde: SDE, score: Score, z: Array, free: Array, check: bool = False
    ) -> tuple[Array, Array]:
        """The log density of the coordinates that move, ``(*,)``, and its error.

        The error is the standard error of the probes; with ``check`` the flow is integrated once more, at ten times
        the tolerances, and the difference joins it in quadrature.

        Arguments:
            backend: The backend of the arrays.
            sde: The diffusion.
            score: The score of the coordinates that move.
            z: Latents, ``(*, D)``.
            free: Boolean, ``(*, D)``; the others are conditions, or not there.
            check: Whether the integrator's error is estimated too.
        """
        xp = backend.xp
        live = xp.astype(free, z.dtype)
        directions = self._directions(backend, z)
        number = directions.shape[0]
        together = _most_together(number, math.prod(z.shape[:-1]))
        groups = xp.reshape(directions, (number // together, together, *directions.shape[1:]))

        def drift(z: Array, t: Array) -> Array:
            return live * (sde.rate(t) * z - 0.5 * sde.noise_rate(t) * score(z, t, None))

        def slope(t: Array, state: Array) -> Array:
            at = state[..., : z.shape[-1]]

            def along(carry: Array, v: Array) -> tuple[Array, Array]:
                v = live * v
                _, pulled = backend.value_and_grad(lambda x: xp.sum(drift(x, t) * v, axis=-1), at + xp.zeros_like(v))
                return carry, xp.sum(pulled * v, axis=-1)

            _, parts = backend.scan(along, backend.asarray(0.0, like=z), groups)
            parts = xp.reshape(parts, (number, *at.shape[:-1]))
            return xp.concat([backend.stop_gradient(drift(at, t)), xp.moveaxis(parts, 0, -1)], axis=-1)

        state = xp.concat([z, xp.zeros((*z.shape[:-1], number), dtype=z.dtype) + 0.0 * z[..., :1]], axis=-1)
        scale = sde.prior_scale

        def integrated(slack: float) -> tuple[Array, Array]:
            """The log density, and the parts of its divergence."""
            tolerance = slack * self.rtol, slack * self.atol
            end = backend.odeint(slope, backend.stop_gradient(state), self.first, 1.0, *tolerance)
            noise, parts = end[..., : z.shape[-1]], end[..., z.shape[-1] :]
            normal = normal_log_density(noise / scale, math.log(scale))
            total = xp.sum(parts, axis=-1) / (1 if self.probes is None else number)
            return xp.sum(live * normal, axis=-1) + total, parts

        out, parts = integrated(1.0)
        square = xp.zeros_like(out)
        if self.probes is not None:
            mean = xp.mean(parts, axis=-1, keepdims=True)
            square = xp.mean((parts - mean) ** 2, axis=-1) / max(number - 1, 1)
        if check:
            square = square + (integrated(SLACK)[0] - out) ** 2
        return out, xp.sqrt(square)

    def _directions(self, backend: Backend, z: Array) -> Array:
        xp = backend.xp
        if self.probes is None:
            shape = (z.shape[-1], *(1,) * (z.ndim - 1), z.shape[-1])
            return xp.reshape(xp.eye(z.shape[-1], dtype=z.dtype), shape)
        return random_signs(backend, backend.rng(self.seed), self.probes, z)


def _most_together(number: int, rows: int) -> int:
    """Most of ``number`` directions that are taken at once: a divisor, so that groups are alike.

    Example:
        >>> _most_together(64, 4), _most_together(64, 100), _most_together(64, 5000)
        (64, 8, 1)
    """
    return max(n for n in range(1, number + 1) if number % n == 0 and (n == 1 or n * rows <= STATES))
