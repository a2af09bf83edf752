"""Langevin chains that begin on a flattened density and cool down in warm-up."""

import math
from typing import Any

from mmppl._backend import get_backend
from mmppl.checks import at_least, checked
from mmppl.inference.kernels.base import KernelState, LogDensity
from mmppl.inference.kernels.langevin import AdjustedLangevin
from mmppl.mcmc.langevin import LangevinInfo

Array = Any

__all__ = ["AnnealedLangevin"]

COOLING = 0.75


@checked(hottest=at_least(1))
class AnnealedLangevin(AdjustedLangevin):
    r"""Metropolis-adjusted Langevin steps on :math:`p(z, x)^{1 / T}`, with a temperature T that falls to 1 in warm-up.

    .. math:: T_t = T_0^{\max(0,\; 1 - t / t_1)}, \qquad t_1 = \tfrac34 \text{ of the warm-up}

    A hot chain crosses between modes that a cold one cannot leave, so that chains are spread over the modes when they
    have cooled down. After warm-up it is :class:`MALA`, exact, and stays within the mode it is in: R-hat still tells
    of modes that no chain crosses between. The log densities it reports are those of the posterior, at T = 1.

    References:
        | Optimization by simulated annealing (Kirkpatrick, Gelatt & Vecchi, 1983)
        | https://doi.org/10.1126/science.220.4598.671

    Arguments:
        model: A host program, whose posterior is the target.
        hottest: :math:`T_0 \ge 1`.
        step_size: First step size s, in units of the unconstrained latent.
        adapt_step_size: Whether each chain learns its step size in warm-up, by dual averaging.
        target_accept_prob: The acceptance probability that adaptation aims at.
        clip: Bound on each coordinate of the score; exact for any bound.
        init_strategy: The host's, for example its ``init_to_sample``; by default its ``init_to_uniform``.

    Raises:
        OptionError: If an option is out of range, or a latent is discrete.

    Example:
        >>> import pyro, torch
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> def model():
        ...     return pyro.sample("z", pyro.distributions.Normal(torch.zeros(3), 1.0).to_event(1))
        >>> mcmc = pyro.infer.MCMC(mm.AnnealedLangevin(model), num_samples=4, warmup_steps=4, disable_progbar=True)
        >>> mcmc.run()
        >>> mcmc.get_samples()["z"].shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        model: Any,
        *,
        hottest: float = 10.0,
        step_size: float = 0.1,
        adapt_step_size: bool = True,
        target_accept_prob: float = 0.574,
        clip: float | None = None,
        init_strategy: Any = None,
    ):
        self.hottest = float(hottest)
        super().__init__(
            model,
            step_size=step_size,
            adapt_step_size=adapt_step_size,
            target_accept_prob=target_accept_prob,
            clip=clip,
            init_strategy=init_strategy,
        )

    def step(
        self, log_density: LogDensity, state: KernelState, noise: tuple[Array, ...], num_warmup: int
    ) -> tuple[KernelState, LangevinInfo]:
        chains = state.chains
        xp = get_backend(chains.position).xp
        t = xp.astype(state.i, chains.log_density.dtype)
        left = xp.where(state.i >= num_warmup, 1.0, xp.clip(t / max(1, int(COOLING * num_warmup)), max=1.0))
        beta = xp.exp(-math.log(self.hottest) * (1.0 - left))
        hot = chains._replace(log_density=beta * chains.log_density, score=beta * chains.score)
        state, info = super().step(lambda z: beta * log_density(z), state._replace(chains=hot), noise, num_warmup)
        moved = state.chains
        cold = moved._replace(log_density=moved.log_density / beta, score=moved.score / beta)
        return state._replace(chains=cold), info
