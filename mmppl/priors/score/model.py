r"""A joint density of the latents of all modalities, by a score learned for every subset of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mmppl.checks import checked
from mmppl.errors import OptionError
from mmppl.priors.blocks import Blocks
from mmppl.priors.condition import BlockRoles, Query
from mmppl.priors.coordinates import Coordinates, Whitening, restrict_network
from mmppl.priors.score.base import JointModel, Overrides
from mmppl.priors.score.conditioning import Conditioning
from mmppl.priors.score.guidance import PairwiseGuidance
from mmppl.priors.score.matching import MultiTimeScoreMatching
from mmppl.priors.score.probability_flow import ProbabilityFlow
from mmppl.priors.score.smc import TwistedSMC
from mmppl.sde.solvers import DPMSolver, Solver

Array = Any

__all__ = ["ScoreModel"]


@checked()
@dataclass(frozen=True)
class ScoreModel(JointModel):
    r"""Settings of a joint score :math:`s(z_\tau, \tau)`, ``(*, D)``: all but its network and its data.

    One network gives the score of every block given any others, with a time for each block: t where it is diffused,
    0 where it is known, -1 where it is absent; see :class:`MultiTimeScoreMatching`. The settings are the same on every
    backend.

    Arguments:
        blocks: The blocks of the latent, one for each modality.
        learning: How the score is learned.
        solver: How it is sampled.
        conditioning: How it is conditioned.
        flow: How its density is integrated.
        pairwise: Guides conditionals by an energy of pairs; None for none.
        particles: Draws conditionals by twisted sequential Monte Carlo; None by the solver.

    Example:
        >>> ScoreModel(Blocks.of({"ink": 2, "word": 1}), solver=DPMSolver(50)).blocks.dim
        3
    """

    blocks: Blocks
    learning: MultiTimeScoreMatching = field(default_factory=MultiTimeScoreMatching)
    solver: Solver = field(default_factory=lambda: DPMSolver(20))
    conditioning: Conditioning = field(default_factory=Conditioning)
    flow: ProbabilityFlow = field(default_factory=ProbabilityFlow)
    pairwise: PairwiseGuidance | None = None
    particles: TwistedSMC | None = None

    def guided(self, by: Overrides, given: Mapping[str, bool]) -> "ScoreModel":
        new = self
        if by.particles is not None:
            exact = by.particles if isinstance(by.particles, TwistedSMC) else TwistedSMC(by.particles)
            new = replace(new, particles=exact)
        if by.guidance is not None:
            new = replace(new, conditioning=replace(new.conditioning, guidance=by.guidance))
        return new if by.solver is None else replace(new, solver=by.solver)

    def check(self, coordinates: Coordinates | None) -> None:
        if isinstance(coordinates, Whitening) and self.learning.predict != "velocity":
            raise OptionError(
                f"Expected predict='velocity' with a whitening, where dropped coordinates stand still; got "
                f"{self.learning.predict!r}."
            )

    def draw(self, rng: Any, query: Query, observed: Array) -> tuple[Array, Array | None]:
        backend, xp, roles = query.backend, query.backend.xp, query.roles
        sde, predict = self.learning.sde, self._predict(query)
        if self.particles is None:
            guidance = None
            if self.pairwise is not None and query.energy is not None:
                guidance = self.pairwise.score(backend, query.energy, roles)
            args = (self.solver, sde, self.blocks, predict, roles, observed, guidance)
            return self.conditioning.sample(backend, rng, *args), None

        def noise_of(z: Array, t: Array) -> Array:
            everything = xp.ones_like(roles.clean)
            return predict(BlockRoles(everything, ~everything), z, t)

        known = self.blocks.spread(roles.clean)
        z, size = self.particles.sample(backend, rng, sde, noise_of, observed, known)
        return xp.where(self.blocks.spread(query.present), z, xp.zeros_like(z)), size

    def density(self, query: Query, value: Array, check: bool) -> tuple[Array, Array]:
        """By the probability flow; the gradient with respect to the value is the score at the flow's first time."""
        backend, xp, stop_gradient = query.backend, query.backend.xp, query.backend.stop_gradient
        roles = self.conditioning.diffused(backend, query.roles)
        free, z, predict = self.blocks.spread(roles.diffused), query.coordinates.forward(value), self._predict(query)
        score = self.conditioning.score(backend, self.learning.sde, self.blocks, predict, roles, xp.zeros_like(z))
        frozen, free = stop_gradient(z), xp.broadcast_to(free, z.shape)
        out, error = self.flow.log_density(backend, self.learning.sde, score, frozen, free, check)
        t = backend.asarray(np.asarray(self.flow.first), like=z)
        slope = stop_gradient(score(frozen, t, None))
        out = stop_gradient(out) + xp.sum(slope * (z - frozen), axis=-1)
        return out + _log_volume(query, z, free), stop_gradient(error)

    def bound(self, rng: Any, query: Query, value: Array) -> Array:
        """The random denoising bound of :class:`MultiTimeScoreMatching`, ``(*,)``, of the latents as they are."""
        backend, present = query.backend, query.present
        net = restrict_network(query.net, query.coordinates.kept)
        z = query.coordinates.forward(value)
        noise = self.learning.draw(backend, rng, z, len(self.blocks))
        out = self.learning.bound(backend, self.blocks, net, z, present, noise)
        there = backend.xp.broadcast_to(present, (*z.shape[:-1], len(self.blocks)))
        return out + _log_volume(query, z, self.blocks.spread(there))

    def _predict(self, query: Query) -> Any:
        """The noise predicted at one time for all diffused blocks."""
        backend, net = query.backend, restrict_network(query.net, query.coordinates.kept)

        def predict(roles: BlockRoles, z: Array, t: Array) -> Array:
            return self.learning.noise(backend, self.blocks, net, roles, z, t + backend.xp.zeros_like(z[..., :1]))

        return predict


def _log_volume(query: Query, z: Array, there: Array) -> Array:
    """Log volume of the change of coordinates, summed over some of them, ``(*,)``."""
    xp = query.backend.xp
    return xp.sum(xp.where(there, query.coordinates.log_abs_det(query.backend) + 0.0 * z, xp.zeros_like(z)), axis=-1)
