"""The unadjusted Langevin kernel."""

from typing import Any

from mmppl.inference.kernels.langevin import UnadjustedLangevin

__all__ = ["ULA"]


class ULA(UnadjustedLangevin):
    r"""Unadjusted Langevin steps: every proposal is taken, so the draws carry a bias that grows with the step.

    .. math:: z' = z + \tfrac{s^2}{2} \nabla \log p(z, x) + s\,\epsilon

    For a standard normal target the stationary variance is :math:`1 / (1 - s^2 / 4)`, not 1. The step size is kept:
    there is no acceptance to learn it from. See :class:`MALA` for the target density.

    References:
        | Exponential convergence of Langevin distributions and their discrete approximations
        | (Roberts & Tweedie, 1996), https://doi.org/10.2307/3318418

    Arguments:
        model: A host program, whose posterior is the target.
        step_size: Step size s, in units of the unconstrained latent.
        clip: Bound on each coordinate of the score.
        init_strategy: The host's, for example its ``init_to_sample``; by default its ``init_to_uniform``.

    Raises:
        OptionError: If an option is out of range, or a latent is discrete.

    Example:
        >>> import pyro, torch
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> def model():
        ...     return pyro.sample("z", pyro.distributions.Normal(torch.zeros(3), 1.0).to_event(1))
        >>> mcmc = pyro.infer.MCMC(mm.ULA(model), num_samples=4, warmup_steps=4, disable_progbar=True)
        >>> mcmc.run()
        >>> mcmc.get_samples()["z"].shape
        torch.Size([4, 3])
    """

    def __init__(self, model: Any, *, step_size: float = 0.1, clip: float | None = None, init_strategy: Any = None):
        super().__init__(model, step_size=step_size, adapt_step_size=False, clip=clip, init_strategy=init_strategy)
