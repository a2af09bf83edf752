"""Langevin refinement of draws from the guide."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmppl._backend import Backend
from mmppl.sde.langevin import LangevinState, init, mala_step, ula_step

Array = Any

__all__ = ["Langevin"]


@dataclass(frozen=True)
class Langevin:
    r"""Short chains on :math:`\log p(z, x_S)`, started at the guide's draws, one for each draw of each datum.

    Adjusted chains adapt their step size, each its own, over the first half of the steps, towards the acceptance
    0.574, by stochastic approximation of its logarithm:

    .. math:: \log s_{t+1} = \log s_t + t^{-0.6} (a_t - 0.574)

    References:
        | Optimal scaling of discrete approximations to Langevin diffusions (Roberts & Rosenthal, 1998)
        | https://doi.org/10.1111/1467-9868.00123

    Arguments:
        adjusted: MALA if True, ULA if False.
        steps: Number of steps.
        step_size: s, the first one for MALA.
    """

    adjusted: bool = True
    steps: int = 200
    step_size: float = 0.1

    def refine(
        self, backend: Backend, rng: Any, log_density: Callable[[dict], Array], hidden: dict[str, Array]
    ) -> dict[str, Array]:
        """The draws after the chains' last step.

        Arguments:
            backend: The backend of the arrays.
            rng: A random handle.
            log_density: log p(z, x_S) of latents by site, ``(K, N, D)`` each, to ``(K, N)``.
            hidden: Where the chains start, by site.
        """
        xp = backend.xp
        sizes = [z.shape[-1] for z in hidden.values()]

        def parts(z: Array) -> dict[str, Array]:
            out, start = {}, 0
            for name, size in zip(hidden, sizes, strict=True):
                out[name] = z[..., start : start + size]
                start += size
            return out

        def target(z: Array) -> Array:
            return log_density(parts(z))

        start = init(target, xp.concat(list(hidden.values()), axis=-1))
        first, second = backend.split(rng, 2)
        noise = backend.normal(first, (self.steps, *start.position.shape), start.position)
        uniform = backend.uniform(second, (self.steps, *start.log_density.shape), start.position)
        log_size = xp.zeros_like(start.log_density) + math.log(self.step_size)
        gains = [(t + 1) ** -0.6 if t < self.steps // 2 else 0.0 for t in range(self.steps)]
        gain = backend.asarray(gains, like=start.position)

        def step(carry: tuple[LangevinState, Array], xs: tuple) -> tuple[tuple[LangevinState, Array], None]:
            state, size = carry
            if not self.adjusted:
                return (ula_step(target, state, xs[0], self.step_size)[0], size), None
            state, info = mala_step(target, state, xs[0], xs[1], xp.exp(size))
            return (state, size + xs[2] * (info.accept_prob - 0.574)), None

        (state, _), _ = backend.scan(step, (start, log_size), (noise, uniform, gain))
        return parts(state.position)
