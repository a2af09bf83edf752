"""Hamiltonian Monte Carlo, each datum with its own acceptance, step size and mass matrix."""

from typing import Any

from mmppl._backend import Backend, get_backend
from mmppl.checks import at_least, checked
from mmppl.inference.kernels import integrators
from mmppl.inference.kernels.base import Kernel, KernelState, LogDensity
from mmppl.mcmc.langevin import LangevinInfo, LangevinState, metropolis

Array = Any

__all__ = ["HMC"]

SHORTEST, LONGEST = 0.4, 1.2
# Scales are learned from few draws: a step in units of them keeps away from the limit of the integrator.
STABLE = 0.75


@checked(num_steps=at_least(1))
class HMC(Kernel):
    r"""Hamiltonian Monte Carlo with a fixed number of steps, accepted or rejected per datum of the plate.

    .. math::
        v \sim N(0, I), \qquad (z', v') = \Phi^L_s(z, v), \qquad a = \min\big(1, e^{H(z, v) - H(z', v')}\big)

    with :math:`H(z, v) = -\log p(z, x) + |v|^2 / 2`. The step size of a transition is drawn from 0.4 to 1.2 times the
    learned one: over so wide a range of lengths :math:`L s` no coordinate comes back to where it was, of whatever
    period, where a range of 20% leaves an autocorrelation of 0.75 to one of period :math:`L s`. In units of a learned
    scale the longest of them is at most three quarters of what is stable in a standard normal: in one or two dimensions
    acceptance alone would go up to that limit, and past it for some data. All data take the same number of steps at
    once, where the host's HMC and NUTS move the whole batch as one joint target. See :class:`MALA` for the target
    density.

    References:
        | MCMC using Hamiltonian dynamics (Neal, 2011), sections 3 and 4.2 (a random step size)
        | https://arxiv.org/abs/1206.1901

    Arguments:
        model: A host program, whose posterior is the target.
        num_steps: L, steps of the integrator in a transition.
        step_size: First step size s, in units of the unconstrained latent.
        integrator: ``"leapfrog"``, or ``"fourth_order"``, which takes four gradients a step.
        adapt_step_size: Whether each chain learns its step size in warm-up, by dual averaging.
        adapt_mass_matrix: Whether each chain learns the scale of its coordinates in warm-up, and steps in units of it.
        dense_mass: Whether it learns their covariance too, ``(D, D)`` a chain; None for where D is at most 128.
        target_accept_prob: The acceptance probability that adaptation aims at.
        init_strategy: The host's, for example its ``init_to_sample``; by default its ``init_to_uniform``.

    Raises:
        OptionError: If an option is out of range, or a latent is discrete.

    Example:
        >>> import pyro, torch
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> def model():
        ...     return pyro.sample("z", pyro.distributions.Normal(torch.zeros(3), 1.0).to_event(1))
        >>> mcmc = pyro.infer.MCMC(mm.HMC(model), num_samples=4, warmup_steps=4, disable_progbar=True)
        >>> mcmc.run()
        >>> mcmc.get_samples()["z"].shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        model: Any,
        *,
        num_steps: int = 4,
        step_size: float = 0.1,
        integrator: str = "leapfrog",
        adapt_step_size: bool = True,
        adapt_mass_matrix: bool = True,
        dense_mass: bool | None = None,
        target_accept_prob: float = 0.8,
        init_strategy: Any = None,
    ):
        self.num_steps, self.integrator = num_steps, integrators.find(integrator)
        self.longest = STABLE * self.integrator.limit / LONGEST
        super().__init__(
            model,
            step_size=step_size,
            adapt_step_size=adapt_step_size,
            adapt_mass_matrix=adapt_mass_matrix,
            dense_mass=dense_mass,
            target_accept_prob=target_accept_prob,
            init_strategy=init_strategy,
        )

    def noise(self, backend: Backend, rng: Any, state: KernelState) -> tuple[Array, ...]:
        first, second = backend.split(rng, 2)
        position, log_density = state.chains[:2]
        # Both uniforms of a chain, side by side.
        pair = backend.uniform(second, (*log_density.shape, 2), log_density)
        return backend.normal(first, tuple(position.shape), position), pair

    def transition(
        self, log_density: LogDensity, chains: LangevinState, noise: tuple[Array, ...], step_size: Array
    ) -> tuple[LangevinState, LangevinInfo]:
        momentum, pair = noise
        xp = get_backend(momentum).xp
        step = step_size * (SHORTEST + (LONGEST - SHORTEST) * pair[..., 1])
        proposal, arrived = integrators.trajectory(log_density, chains, momentum, step, self.integrator, self.num_steps)
        before = 0.5 * xp.sum(momentum * momentum, axis=-1) - chains.log_density
        after = 0.5 * xp.sum(arrived * arrived, axis=-1) - proposal.log_density
        return metropolis(chains, proposal, before, after, pair[..., 0])
