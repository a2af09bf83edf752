r"""A joint density of the latents of all modalities, by a score learned for every subset of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.errors import OptionError
from mmppl.priors.blocks import Blocks
from mmppl.priors.condition import BlockRoles
from mmppl.priors.coordinates import Coordinates, Whitening, restrict_network
from mmppl.priors.score.base import JointModel
from mmppl.priors.score.conditioning import Conditioning
from mmppl.priors.score.guidance import PairwiseGuidance
from mmppl.priors.score.matching import MultiTimeScoreMatching, Net
from mmppl.priors.score.probability_flow import ProbabilityFlow
from mmppl.priors.score.smc import TwistedSMC
from mmppl.sde.solvers import DPMSolver, Solver

Array = Any

__all__ = ["ScoreModel"]


@dataclass(frozen=True)
class ScoreModel(JointModel):
    r"""Settings of a joint score: all but its network and its data, the same on every backend.

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

    def guided(
        self,
        guidance: float | None,
        solver: Solver | None,
        particles: int | TwistedSMC | None,
        given: Mapping[str, bool],
    ) -> "ScoreModel":
        new = self
        if particles is not None:
            exact = particles if isinstance(particles, TwistedSMC) else TwistedSMC(particles)
            new = replace(new, particles=exact)
        if guidance is not None:
            new = replace(new, conditioning=replace(new.conditioning, guidance=guidance))
        return new if solver is None else replace(new, solver=solver)

    def check(self, coordinates: Coordinates | None) -> None:
        if isinstance(coordinates, Whitening) and self.learning.predict != "velocity":
            raise OptionError(
                f"Expected predict='velocity' with a whitening, where dropped coordinates stand still; got "
                f"{self.learning.predict!r}."
            )

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
        xp = backend.xp
        sde, predict = self.learning.sde, self._predict(backend, restrict_network(net, coordinates.kept))
        if self.particles is None:
            pull = None
            if self.pairwise is not None and energy is not None:
                pull = self.pairwise.pull(backend, energy, states)
            args = (self.solver, sde, self.blocks, predict, states, observed, pull)
            return self.conditioning.sample(backend, rng, *args), None

        def noise_of(z: Array, t: Array) -> Array:
            everything = xp.ones_like(states.clean)
            return predict(BlockRoles(everything, ~everything), z, t)

        clean = self.blocks.spread(states.clean)
        z, size = self.particles.sample(backend, rng, sde, noise_of, observed, clean)
        there = self.blocks.spread(states.diffused) | clean
        return xp.where(there, z, xp.zeros_like(z)), size

    def density(
        self,
        backend: Backend,
        net: Net,
        value: Array,
        states: BlockRoles,
        coordinates: Coordinates,
        check: bool,
    ) -> tuple[Array, Array]:
        """By the probability flow; the gradient with respect to the value is the score at the flow's first time."""
        xp, still = backend.xp, backend.stop_gradient
        states = self.conditioning.diffused(backend, states)
        moves = self.blocks.spread(states.diffused)
        z = coordinates.forward(value)
        predict = self._predict(backend, restrict_network(net, coordinates.kept))
        score = self.conditioning.score(backend, self.learning.sde, self.blocks, predict, states, xp.zeros_like(z))
        frozen, moves = still(z), xp.broadcast_to(moves, z.shape)
        out, error = self.flow.log_density(backend, self.learning.sde, score, frozen, moves, check)
        t = backend.asarray(np.asarray(self.flow.first), like=z)
        slope = still(score(frozen, t, None))
        out = still(out) + xp.sum(slope * (z - frozen), axis=-1)
        out = out + xp.sum(xp.where(moves, coordinates.log_abs_det(backend) + 0.0 * z, xp.zeros_like(z)), axis=-1)
        return out, still(error)

    def _predict(self, backend: Backend, net: Net) -> Any:
        """The noise predicted at one time for all diffused blocks."""

        def predict(states: BlockRoles, z: Array, t: Array) -> Array:
            return self.learning.noise(backend, self.blocks, net, states, z, t + backend.xp.zeros_like(z[..., :1]))

        return predict

    def bound(
        self, backend: Backend, rng: Any, net: Net, value: Array, present: Array, coordinates: Coordinates
    ) -> Array:
        """The random denoising bound of :class:`MultiTimeScoreMatching`, ``(*,)``, of the latents as they are."""
        xp = backend.xp
        z = coordinates.forward(value)
        noise = self.learning.draw(backend, rng, z, len(self.blocks))
        out = self.learning.bound(backend, self.blocks, restrict_network(net, coordinates.kept), z, present, noise)
        there = self.blocks.spread(xp.broadcast_to(present, (*z.shape[:-1], present.shape[-1])))
        return out + xp.sum(xp.where(there, coordinates.log_abs_det(backend) + 0.0 * z, xp.zeros_like(z)), axis=-1)
