"""Joint densities of blocks, as the hosts use them, whatever they are learned by."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

from mmppl._backend import Backend
from mmppl.errors import OptionError
from mmppl.numerics import normal_log_density
from mmppl.priors.blocks import Blocks
from mmppl.priors.condition import BlockRoles, Query
from mmppl.priors.coordinates import Coordinates
from mmppl.priors.score.smc import TwistedSMC
from mmppl.sde.solvers import Solver

Array = Any

__all__ = ["JointModel", "Overrides"]


class Overrides(NamedTuple):
    """Settings of a conditional in place of the model's, where they are not None.

    Arguments:
        guidance: Strength of the guidance.
        solver: The solver.
        particles: The particles, or their number.
    """

    guidance: float | None = None
    solver: Solver | None = None
    particles: int | TwistedSMC | None = None


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

    def check_roles(self, backend: Backend, roles: BlockRoles) -> None:
        """Raises :class:`OptionError` if some row has no density, as far as values may be looked at."""
        return None

    @abstractmethod
    def guided(self, by: Overrides, given: Mapping[str, bool]) -> "JointModel":
        """The model of a conditional, with other settings.

        Arguments:
            by: Those settings.
            given: The blocks that are known, and whether everywhere.
        """

    @abstractmethod
    def draw(self, rng: Any, query: Query, observed: Array) -> tuple[Array, Array | None]:
        """Draws ``(*, D)`` of diffused blocks given clean ones ``observed``, in the query's coordinates.

        Absent blocks are 0. The second is that of :meth:`sample`.
        """

    @abstractmethod
    def density(self, query: Query, value: Array, check: bool) -> tuple[Array, Array]:
        """The log density of the diffused blocks given the clean ones, and its error, ``(*,)`` each."""

    @abstractmethod
    def bound(self, rng: Any, query: Query, value: Array) -> Array:
        """Stochastic training objective of each datum, ``(*,)``, over the blocks that are there."""

    def lower_bound(self, rng: Any, query: Query, value: Array) -> Array:
        """Stochastic lower bound of the log density of each datum, ``(*,)``, of the blocks that are there.

        Raises:
            OptionError: If there is none.
        """
        raise OptionError("Expected a MultiTaskModel for density='bound'; got another, whose bound is 'denoising'.")

    def sample(self, rng: Any, query: Query) -> tuple[Array, Array | None]:
        """Draws ``(*, D)``: known blocks as they are, absent ones at their mean, the others from the model.

        With particles, also the smallest effective number of them on the way of each draw, ``(*,)``.
        """
        backend, xp, (exact, scale, roles) = query.backend, query.backend.xp, query.condition
        first, second = backend.split(rng, 2)
        if scale is not None:
            exact = exact + scale * backend.normal(first, tuple(exact.shape), exact)
        clean = self.blocks.spread(roles.clean)
        exact = xp.where(clean, exact, xp.zeros_like(exact))
        z, size = self.draw(second, query, query.coordinates.forward(exact))
        return xp.where(clean, exact, query.coordinates.inverse(z)), size

    def log_density(self, query: Query, value: Array, check: bool = False) -> tuple[Array, Array]:
        """The log density of the blocks asked for given those known, and its error.

        With ``check`` the error knows the integrator's beside that of the probes. With draws of Normals for known
        blocks, their own density is added; a scale of 0 is of what is known exactly.
        """
        xp, (loc, scale, roles) = query.backend.xp, query.condition
        out, error = self.density(query, value, check)
        if scale is not None:
            drawn = self.blocks.spread(roles.clean) & (scale > 0.0)
            width = xp.where(drawn, scale, xp.ones_like(scale))
            normal = normal_log_density((value - loc) / width, xp.log(width))
            out = out + xp.sum(xp.where(drawn, normal, xp.zeros_like(normal)), axis=-1)
        return out, error
