"""Random-walk Metropolis: the kernel that needs no gradient."""

from typing import Any

from mmppl._backend import get_backend
from mmppl.checks import checked
from mmppl.inference.kernels.base import Kernel, LogDensity
from mmppl.mcmc.langevin import LangevinInfo, LangevinState, metropolis

Array = Any

__all__ = ["RandomWalk"]


@checked()
class RandomWalk(Kernel):
    r"""Random-walk Metropolis steps, accepted or rejected per datum of the plate.

    .. math:: z' = z + s\,\epsilon, \qquad a = \min\Big(1, \frac{p(z', x)}{p(z, x)}\Big)

    For likelihoods that cannot be differentiated; slow beside the others where they can. See :class:`MALA` for the
    target density; the score it reports is zero.

    References:
        | Weak convergence and optimal scaling of random walk Metropolis algorithms (Roberts, Gelman & Gilks, 1997):
        | the target 0.234, https://doi.org/10.1214/aoap/1034625254

    Arguments:
        model: A host program, whose posterior is the target.
        step_size: First step size s, in units of the unconstrained latent.
        adapt_step_size: Whether each chain learns its step size in warm-up, by dual averaging.
        adapt_mass_matrix: Whether each chain learns the scale of its coordinates in warm-up, and steps in units of it.
        target_accept_prob: The acceptance probability that adaptation aims at.
        init_strategy: The host's, for example its ``init_to_sample``; by default its ``init_to_uniform``.

    Raises:
        OptionError: If an option is out of range, or a latent is discrete.

    Example:
        >>> import pyro, torch
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> def model():
        ...     return pyro.sample("z", pyro.distributions.Normal(torch.zeros(3), 1.0).to_event(1))
        >>> mcmc = pyro.infer.MCMC(mm.RandomWalk(model), num_samples=4, warmup_steps=4, disable_progbar=True)
        >>> mcmc.run()
        >>> mcmc.get_samples()["z"].shape
        torch.Size([4, 3])
    """

    gradient = False

    def __init__(
        self,
        model: Any,
        *,
        step_size: float = 0.5,
        adapt_step_size: bool = True,
        adapt_mass_matrix: bool = True,
        target_accept_prob: float = 0.234,
        init_strategy: Any = None,
    ):
        super().__init__(
            model,
            step_size=step_size,
            adapt_step_size=adapt_step_size,
            adapt_mass_matrix=adapt_mass_matrix,
            target_accept_prob=target_accept_prob,
            init_strategy=init_strategy,
        )

    def place(self, log_density: LogDensity, position: Array) -> LangevinState:
        return LangevinState(position, log_density(position), get_backend(position).xp.zeros_like(position))

    def transition(
        self, log_density: LogDensity, chains: LangevinState, noise: tuple[Array, ...], step_size: Array
    ) -> tuple[LangevinState, LangevinInfo]:
        normal, uniform = noise
        proposal = self.place(log_density, chains.position + step_size[..., None] * normal)
        # The walk is as likely one way as the other, so the energy is that of the position alone.
        chains, info = metropolis(chains, proposal, -chains.log_density, -proposal.log_density, uniform)
        # A proposal far away is no divergence here.
        return chains, info._replace(diverging=get_backend(normal).xp.isnan(proposal.log_density))
