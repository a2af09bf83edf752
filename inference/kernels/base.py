"""A kernel is ``init_chains`` and ``step``, for many chains at once; each host's package joins it to its ``MCMC``."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from mmppl._backend import Backend, get_backend
from mmppl.checks import above, checked, within
from mmppl.display import plain_repr
from mmppl.errors import OptionError
from mmppl.inference.kernels import adaptation, mass
from mmppl.mcmc import langevin
from mmppl.mcmc.langevin import LangevinInfo, LangevinState

Array = Any
LogDensity = Callable[[Array], Array]

__all__ = ["Kernel", "KernelState"]

# The largest dimension whose covariance is learned where nothing is said: its memory and time grow with D^2 and D^3.
DENSE_DIM = 128


class KernelState(NamedTuple):
    """State of chains: their positions, and the step each will take next.

    Arguments:
        i: Steps taken so far, a 0-d integer array.
        chains: Position, log density and score, and what else the kernel keeps of each chain.
        step_size: s of the next step, ``(*chains,)``, in units of the (unconstrained) latent, or of its learned scale.
        adapt_state: What adaptation of the step size remembers, or None where step sizes are kept.
        mass: The learned scales of the coordinates, or None where the kernel learns none.
        accept_prob: Acceptance probability of the last step, ``(*chains,)``.
        mean_accept_prob: Its mean since the beginning of warm-up, or of sampling once that has begun, ``(*chains,)``.
        energy: Energy after the last step, ``(*chains,)``; see :class:`~mmppl.mcmc.langevin.LangevinInfo`.
        diverging: Whether the last step diverged, ``(*chains,)``.
    """

    i: Array
    chains: Any
    step_size: Array
    adapt_state: adaptation.DualAveraging | None
    mass: mass.Mass | None
    accept_prob: Array
    mean_accept_prob: Array
    energy: Array
    diverging: Array


@checked(step_size=above(0), clip=above(0), target_accept_prob=within(0, 1, open_ends="()"))
class Kernel(ABC):
    """Base of the kernels: a subclass says what noise a transition takes, and what the transition is.

    Every leading axis of a position is a chain of its own, with its own acceptance, its own step size and, where the
    mass matrix is adapted, its own scale of every coordinate.

    Arguments:
        model: A host program, whose posterior is the target.
        step_size: First step size, in units of the unconstrained latent.
        adapt_step_size: Whether each chain learns its step size in warm-up.
        adapt_mass_matrix: Whether each chain learns the scale of its coordinates in warm-up, and steps in units of it.
        dense_mass: Whether it learns their covariance too, ``(D, D)`` a chain: worth it where they go together. None
            for where D is at most 128.
        target_accept_prob: The acceptance probability that adaptation aims at.
        clip: Bound on each coordinate of the score; None for none.
        init_strategy: The host's, for example its ``init_to_sample``; by default its ``init_to_uniform``.

    Attributes:
        chain_type: The named tuple of what is kept of each chain; it begins with position, log density and score.
        gradient: Whether the kernel follows the score.
        stochastic: Whether a program that draws its own rows draws others at every step.
        longest: The longest step size that may be learned, in units of a learned scale.

    Raises:
        OptionError: If an option is out of range.
    """

    chain_type: Any = LangevinState
    gradient = True
    stochastic = False
    longest = math.inf

    def __init__(
        self,
        model: Any,
        *,
        step_size: float = 0.1,
        adapt_step_size: bool = True,
        adapt_mass_matrix: bool = False,
        dense_mass: bool | None = False,
        target_accept_prob: float = 0.574,
        clip: float | None = None,
        init_strategy: Any = None,
    ):
        if dense_mass and not adapt_mass_matrix:
            raise OptionError("A dense mass matrix is learned: pass adapt_mass_matrix=True with dense_mass=True.")
        self.step_size, self.adapt_step_size = float(step_size), adapt_step_size
        self.adapt_mass_matrix, self.dense_mass = adapt_mass_matrix, dense_mass
        self.target_accept_prob, self.clip = target_accept_prob, clip
        self.model, self.init_strategy = model, init_strategy

    def __repr__(self) -> str:
        return plain_repr(self)

    def noise(self, backend: Backend, rng: Any, state: KernelState) -> tuple[Array, ...]:
        """The noise of one transition; the first axis of every array is that of the chains.

        Arguments:
            backend: The backend of the arrays.
            rng: A random handle.
            state: Where the chains are.
        """
        first, second = backend.split(rng, 2)
        position, log_density = state.chains[:2]
        return (
            backend.normal(first, tuple(position.shape), position),
            backend.uniform(second, tuple(log_density.shape), log_density),
        )

    def place(self, log_density: LogDensity, position: Array) -> Any:
        """State of chains that stand at ``position``, ``(*chains, D)``."""
        return langevin.init(log_density, position)

    @abstractmethod
    def transition(
        self, log_density: LogDensity, chains: Any, noise: tuple[Array, ...], step_size: Array
    ) -> tuple[Any, LangevinInfo]:
        """One move of every chain, given its noise."""

    def init_chains(self, log_density: LogDensity, position: Array) -> KernelState:
        """The state of chains that stand at ``position``, ``(*chains, D)``."""
        chains = self.place(log_density, position)
        xp = get_backend(position).xp
        zeros = xp.zeros_like(chains.log_density)
        memory = adaptation.start(self.step_size, zeros) if self.adapt_step_size else None
        dense = position.shape[-1] <= DENSE_DIM if self.dense_mass is None else self.dense_mass
        scales = mass.start(position, dense) if self.adapt_mass_matrix else None
        i = xp.zeros_like(xp.sum(zeros), dtype=xp.int32)
        return KernelState(
            i, chains, zeros + self.step_size, memory, scales, zeros, zeros, -chains.log_density, zeros > 0.0
        )

    def step(
        self, log_density: LogDensity, state: KernelState, noise: tuple[Array, ...], num_warmup: int
    ) -> tuple[KernelState, LangevinInfo]:
        """One move of every chain; within the first ``num_warmup`` steps it also adapts.

        Arguments:
            log_density: Maps ``(*chains, D)`` to ``(*chains,)``.
            state: Where the chains are.
            noise: What :meth:`noise` returns.
            num_warmup: Number of steps of warm-up.
        """
        backend = get_backend(state.chains.position)
        if state.mass is None:
            chains, info = self.transition(log_density, state.chains, noise, state.step_size)
        else:
            chains, info = self._scaled(log_density, state.chains, noise, state.step_size, state.mass)
        warming = state.i < num_warmup
        since = backend.xp.where(warming, state.i, state.i - num_warmup) + 1
        # The first step after warm-up begins a new mean.
        mean = state.mean_accept_prob + (info.accept_prob - state.mean_accept_prob) / since
        learned = state.step_size, state.adapt_state, state.mass
        if num_warmup and (self.adapt_step_size or self.adapt_mass_matrix):

            def adapt(learned: tuple) -> tuple:
                return self._adapted(learned, chains, info.accept_prob, state.i, num_warmup)

            learned = backend.cond(warming, adapt, lambda same: same, learned)
        return KernelState(state.i + 1, chains, *learned, info.accept_prob, mean, info.energy, info.diverging), info

    def _adapted(self, learned: tuple, chains: Any, accept_prob: Array, i: Array, num_warmup: int) -> tuple:
        """Step size, and what is remembered of it and of the scales, after step ``i`` of warm-up."""
        (step_size, memory, scales), ended = learned, None
        if scales is not None:
            scales, ended = mass.update(scales, chains.position, chains.score, i, num_warmup)
        if memory is not None:
            xp = get_backend(step_size).xp
            memory = adaptation.update(memory, accept_prob, self.target_accept_prob)
            if ended is not None:
                memory = _choose(ended, adaptation.restart(memory), memory, xp)
            average = memory.log_average
            if scales is not None and mass.windows(num_warmup):
                average = xp.clip(average, max=math.log(self.longest))
            step_size = xp.exp(xp.where(i + 1 == num_warmup, average, memory.log_step))
        return step_size, memory, scales

    def _scaled(
        self, log_density: LogDensity, chains: Any, noise: tuple[Array, ...], step_size: Array, scales: mass.Mass
    ) -> tuple[Any, LangevinInfo]:
        """The transition in coordinates of unit scale, seen from where the chains are."""
        xp = get_backend(chains.position).xp
        origin = chains.position
        inside = chains._replace(position=xp.zeros_like(origin), score=scales.scale_score(chains.score))
        moved, info = self.transition(lambda y: log_density(origin + scales.out(y)), inside, noise, step_size)
        wide = info.accepted[..., None]
        # What stays is kept as it was, not scaled and scaled back.
        position = xp.where(wide, origin + scales.out(moved.position), origin)
        score = xp.where(wide, scales.unscale_score(moved.score), chains.score)
        return moved._replace(position=position, score=score), info


def _choose(where: Array, first: Any, second: Any, xp: Any) -> Any:
    return type(second)(*(xp.where(where, a, b) for a, b in zip(first, second, strict=True)))
