"""Stochastic-gradient Langevin steps, for latents shared by a data set too large to be scored at every step."""

from typing import Any

from mmppl._backend import get_backend
from mmppl.checks import above, at_least, checked
from mmppl.inference.kernels.base import KernelState, LogDensity
from mmppl.inference.kernels.langevin import UnadjustedLangevin
from mmppl.mcmc.langevin import LangevinInfo

Array = Any

__all__ = ["SGLD"]


@checked(decay=at_least(0), delay=above(0))
class SGLD(UnadjustedLangevin):
    r"""Langevin steps whose score is that of other rows at every step, scaled to the whole data set.

    .. math::
        z' = z + \frac{s_t^2}{2} \Big( \nabla \log p(z) + \frac{N}{n} \sum_{i \in B_t} \nabla \log p(x_i \mid z) \Big)
        + s_t \epsilon, \qquad s_t^2 = s_0^2 (1 + t / \tau)^{-\kappa}

    for a program that draws its own rows, n of N, by the host's ``plate(name, N, subsample_size=n)``: the latents
    outside that plate are the state. Nothing is refused, so the draws have a bias, of the steps and of the rows' noise,
    that vanishes as :math:`s_t` does. For latents of each datum take :class:`MALA`, which needs no other rows.

    References:
        | Bayesian learning via stochastic gradient Langevin dynamics (Welling & Teh, 2011)
        | https://www.stats.ox.ac.uk/~teh/research/compstats/WelTeh2011a.pdf
        | Consistency and fluctuations for stochastic gradient Langevin dynamics (Teh, Thiery & Vollmer, 2016):
        | :math:`\kappa = 1/3` is best for means, https://jmlr.org/papers/v17/teh16a.html

    Arguments:
        model: A host program, whose posterior is the target.
        step_size: First step size :math:`s_0`, in units of the unconstrained latent.
        decay: :math:`\kappa`, at least 0; 0 keeps the step size.
        delay: :math:`\tau > 0`, in steps.
        clip: Bound on each coordinate of the score.
        init_strategy: The host's, for example its ``init_to_sample``; by default its ``init_to_uniform``.

    Raises:
        OptionError: If an option is out of range, or a latent is discrete.
    """

    stochastic = True

    def __init__(
        self,
        model: Any,
        *,
        step_size: float = 0.01,
        decay: float = 1.0 / 3.0,
        delay: float = 100.0,
        clip: float | None = None,
        init_strategy: Any = None,
    ):
        self.decay, self.delay = float(decay), float(delay)
        super().__init__(model, step_size=step_size, clip=clip, init_strategy=init_strategy)

    def step(
        self, log_density: LogDensity, state: KernelState, noise: tuple[Array, ...], num_warmup: int
    ) -> tuple[KernelState, LangevinInfo]:
        xp = get_backend(state.step_size).xp
        t = xp.astype(state.i, state.step_size.dtype)
        size = xp.zeros_like(state.step_size) + self.step_size * (1.0 + t / self.delay) ** (-0.5 * self.decay)
        return super().step(log_density, state._replace(step_size=size), noise, num_warmup)
