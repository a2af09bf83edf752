"""Joint densities of blocks, as the hosts use them, whatever they are learned by."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from mmppl._backend import Backend
from mmppl.numerics import normal_log_density
from mmppl.priors.blocks import Blocks
from mmppl.priors.condition import BlockRoles, Condition
from mmppl.priors.coordinates import Coordinates
from mmppl.priors.score.matching import Net
from mmppl.priors.score.smc import TwistedSMC
from mmppl.sde.solvers import Solver

Array = Any

__all__ = ["JointModel"]


class JointModel(ABC):
    """Base: a subclass gives :meth:`guided`, :meth:`draw`, :meth:`density` and :meth:`bound`.

    Latents are brought into a :class:`~mmppl.priors.coordinates.Standardization` or a
    :class:`~mmppl.priors.Whitening` before anything is done with them.
    """

    blocks: Blocks
    particles: TwistedSMC | None = None

    def check(self, coordinates: Coordinates | None) -> None:
        """Raises :class:`OptionError` if the model cannot work in these coordinates; by default it can."""
        return None

    def check_states(self, backend: Backend, states: BlockRoles) -> None:
        """Raises :class:`OptionError` if some row has no density, as far as values may be looked at."""
        return None

    @abstractmethod
    def guided(
        self,
        guidance: float | None,
        solver: Solver | None,
        particles: int | TwistedSMC | None,
        given: Mapping[str, bool],
    ) -> "JointModel":
        """With another strength of guidance, solver or number of particles, where they are not None.

        Arguments:
            guidance: The strength.
            solver: The solver.
            particles: The particles, or their number.
            given: The blocks that are known, and whether everywhere.
        """

    @abstractmethod
    def draw(
        self,
        backend: Backend,
        rng: Any,
        net: Net,
        states: BlockRoles,
        observed: Array,
        coordinates: Coordinates,
        energy: Any,
    ) -> tuple[Array, Array | None]:
        """Draws ``(*, D)``, in these coordinates, of diffused blocks given clean ones; absent ones are 0.

        The second is that of :meth:`sample`.
        """

    @abstractmethod
    def density(
        self,
        backend: Backend,
        net: Net,
        value: Array,
        states: BlockRoles,
        coordinates: Coordinates,
        check: bool,
    ) -> tuple[Array, Array]:
        """The log density of the diffused blocks given the clean ones, and its error, ``(*,)`` each."""

    @abstractmethod
    def bound(
        self, backend: Backend, rng: Any, net: Net, value: Array, present: Array, coordinates: Coordinates
    ) -> Array:
        """Stochastic training objective of each datum, ``(*,)``, of the latents as they are."""

    def sample(
        self,
        backend: Backend,
        rng: Any,
        net: Net,
        known: Condition,
        coordinates: Coordinates,
        energy: Any = None,
    ) -> tuple[Array, Array | None]:
        """Draws ``(*, D)``: known blocks as they are, absent ones at their mean, the others from the model.

        With particles, also the smallest effective number of them on the way of each draw, ``(*,)``.
        """
        xp = backend.xp
        first, second = backend.split(rng, 2)
        exact = known.loc
        if known.scale is not None:
            exact = exact + known.scale * backend.normal(first, tuple(exact.shape), exact)
        clean = self.blocks.spread(known.states.clean)
        exact = xp.where(clean, exact, xp.zeros_like(exact))
        z, size = self.draw(backend, second, net, known.states, coordinates.forward(exact), coordinates, energy)
        return xp.where(clean, exact, coordinates.inverse(z)), size

    def log_density(
        self,
        backend: Backend,
        net: Net,
        value: Array,
        known: Condition,
        coordinates: Coordinates,
        check: bool = False,
    ) -> tuple[Array, Array]:
        """The log density of the blocks asked for given those known, and its error.

        With ``check`` the error knows the integrator's beside that of the probes. With draws of Normals for known
        blocks, their own density is added.
        """
        xp = backend.xp
        out, error = self.density(backend, net, value, known.states, coordinates, check)
        if known.scale is not None:
            clean = self.blocks.spread(known.states.clean)
            width = xp.where(clean, known.scale, xp.ones_like(known.scale))
            normal = normal_log_density((value - known.loc) / width, xp.log(width))
            out = out + xp.sum(xp.where(clean, normal, xp.zeros_like(normal)), axis=-1)
        return out, error
