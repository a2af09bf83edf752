"""Underdamped Langevin steps: a chain keeps most of its momentum from step to step."""

from typing import Any, NamedTuple

from mmppl._backend import Backend, get_backend
from mmppl.checks import above, checked
from mmppl.inference.kernels import integrators
from mmppl.inference.kernels.base import Kernel, KernelState, LogDensity
from mmppl.mcmc.langevin import LangevinInfo, LangevinState, init, metropolis

Array = Any

__all__ = ["MomentumState", "UnderdampedLangevin"]


class MomentumState(NamedTuple):
    """State of chains with momentum.

    Arguments:
        position: ``(*chains, D)``.
        log_density: ``(*chains,)``.
        score: Gradient of the log density, ``(*chains, D)``.
        momentum: v, ``(*chains, D)``, in units of the learned scale.
    """

    position: Array
    log_density: Array
    score: Array
    momentum: Array


@checked(friction=above(0))
class UnderdampedLangevin(Kernel):
    r"""Metropolis-adjusted underdamped Langevin steps, accepted or rejected per datum of the plate.

    A step of the equation :math:`dz = v\,dt,\ dv = \nabla \log p\,dt - \gamma v\,dt + \sqrt{2 \gamma}\,dW`, split as
    O B A B O: O is friction and noise for half a step, exact,

    .. math:: v \leftarrow e^{-\gamma s / 2}\, v + \sqrt{1 - e^{-\gamma s}}\; \epsilon

    and B A B, kicks and drifts, is a step of the ``integrator``, taken with probability
    :math:`\min(1, e^{H - H'})`; the momentum is negated on rejection. So the chain is exact at any step size. It is
    also known as generalised HMC of one step. The initial momentum is zero. See :class:`MALA` for the target density.

    References:
        | A generalized guided Monte Carlo algorithm (Horowitz, 1991), https://doi.org/10.1016/0370-2693(91)90812-5
        | Accurate sampling using Langevin dynamics (Bussi & Parrinello, 2007): the splitting O B A B O
        | https://doi.org/10.1103/PhysRevE.75.056707

    Arguments:
        model: A host program, whose posterior is the target.
        friction: :math:`\gamma > 0`, over the unit of time in which a unit momentum crosses a unit scale.
        step_size: First step size s, in units of the unconstrained latent.
        integrator: ``"leapfrog"``, or ``"fourth_order"``, which takes four gradients a step and much longer steps.
        adapt_step_size: Whether each chain learns its step size in warm-up, by dual averaging.
        adapt_mass_matrix: Whether each chain learns the scale of its coordinates in warm-up, and steps in units of it.
        dense_mass: Whether it learns their covariance too, ``(D, D)`` a chain: worth it where they go together.
        target_accept_prob: The acceptance probability that adaptation aims at; a refusal turns the chain round, so it
            should be rare.
        init_strategy: The host's, for example its ``init_to_sample``; by default its ``init_to_uniform``.

    Raises:
        OptionError: If an option is out of range, or a latent is discrete.

    Example:
        >>> import pyro, torch
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> def model():
        ...     return pyro.sample("z", pyro.distributions.Normal(torch.zeros(3), 1.0).to_event(1))
        >>> mcmc = pyro.infer.MCMC(mm.UnderdampedLangevin(model), num_samples=4, warmup_steps=4, disable_progbar=True)
        >>> mcmc.run()
        >>> mcmc.get_samples()["z"].shape
        torch.Size([4, 3])
    """

    chain_type = MomentumState

    def __init__(
        self,
        model: Any,
        *,
        friction: float = 1.0,
        step_size: float = 0.1,
        integrator: str = "leapfrog",
        adapt_step_size: bool = True,
        adapt_mass_matrix: bool = True,
        dense_mass: bool = False,
        target_accept_prob: float = 0.9,
        init_strategy: Any = None,
    ):
        self.friction, self.integrator = float(friction), integrators.find(integrator)
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
        shape = tuple(position.shape)
        both = backend.normal(first, (*shape, 2), position)
        return both[..., 0], both[..., 1], backend.uniform(second, tuple(log_density.shape), log_density)

    def place(self, log_density: LogDensity, position: Array) -> MomentumState:
        return MomentumState(*init(log_density, position), get_backend(position).xp.zeros_like(position))

    def transition(
        self, log_density: LogDensity, chains: MomentumState, noise: tuple[Array, ...], step_size: Array
    ) -> tuple[MomentumState, LangevinInfo]:
        first, second, uniform = noise
        xp = get_backend(first).xp
        decay = xp.exp(-0.5 * self.friction * step_size)[..., None]
        added = xp.sqrt(1.0 - decay * decay)
        v = decay * chains.momentum + added * first
        there, arrived = integrators.trajectory(
            log_density, LangevinState(*chains[:3]), v, step_size, self.integrator, 1
        )
        before = 0.5 * xp.sum(v * v, axis=-1) - chains.log_density
        after = 0.5 * xp.sum(arrived * arrived, axis=-1) - there.log_density
        stay = chains._replace(momentum=-v)
        chains, info = metropolis(stay, MomentumState(*there, arrived), before, after, uniform)
        return chains._replace(momentum=decay * chains.momentum + added * second), info
