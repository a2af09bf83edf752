r"""A joint density of the latents of all modalities, by a score learned for every subset of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from mmppl._backend import Backend
from mmppl.errors import DataError, OptionError
from mmppl.priors.blocks import Blocks
from mmppl.priors.conditioning import Conditioning
from mmppl.priors.flow import Flow
from mmppl.priors.frame import Frame, Standard, masked
from mmppl.priors.multi_time import MultiTime, Net, States
from mmppl.priors.pairwise import Pairwise
from mmppl.priors.twisted import Particles
from mmppl.sde.solvers import DPMSolver, Solver

Array = Any

__all__ = ["DENSITIES", "Known", "ScoreModel", "gather"]

DENSITIES = ("flow", "denoising")


class Known(NamedTuple):
    """What a joint score is conditioned on.

    Arguments:
        loc: Values of the clean blocks, ``(*, D)``; ignored elsewhere.
        scale: Standard deviations where those are draws of Normals, ``(*, D)``; None where they are exact.
        states: Which blocks are asked for and which are known, ``(*, M)``.
    """

    loc: Array
    scale: Array | None
    states: States


@dataclass(frozen=True)
class ScoreModel:
    r"""Everything about a joint score but its network and its data; the same on every backend.

    Latents are brought into a :class:`~mmppl.priors.frame.Standard` or another frame before anything is done with them.

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
    learning: MultiTime = field(default_factory=MultiTime)
    solver: Solver = field(default_factory=lambda: DPMSolver(20))
    conditioning: Conditioning = field(default_factory=Conditioning)
    flow: Flow = field(default_factory=Flow)
    pairwise: Pairwise | None = None
    particles: Particles | None = None

    def guided(self, guidance: float | None, solver: Solver | None, particles: int | Particles | None) -> "ScoreModel":
        """With another strength of guidance, solver or number of particles, where they are not None."""
        new = self
        if particles is not None:
            exact = particles if isinstance(particles, Particles) else Particles(particles)
            new = replace(new, particles=exact)
        if guidance is not None:
            new = replace(new, conditioning=replace(new.conditioning, guidance=guidance))
        return new if solver is None else replace(new, solver=solver)

    def sample(
        self, backend: Backend, rng: Any, net: Net, known: Known, frame: Standard | Frame, energy: Any = None
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
        sde, predict, size = self.learning.sde, self._predict(backend, masked(net, frame.kept)), None
        observed = frame.into(exact)
        if self.particles is None:
            args = (sde, self.blocks, predict, known.states, observed)
            pull = None
            if self.pairwise is not None and energy is not None:
                pull = self.pairwise.pull(backend, energy, known.states)
            z = self.conditioning.sample(backend, second, self.solver, *args, pull)
        else:

            def noise_of(z: Array, t: Array) -> Array:
                everything = xp.ones_like(known.states.clean)
                return predict(States(everything, ~everything), z, t)

            z, size = self.particles.sample(backend, second, sde, noise_of, observed, clean)
            there = self.blocks.spread(known.states.diffused) | clean
            z = xp.where(there, z, xp.zeros_like(z))
        return xp.where(clean, exact, frame.out(z)), size

    def log_density(
        self, backend: Backend, net: Net, value: Array, known: Known, frame: Standard | Frame, check: bool = False
    ) -> tuple[Array, Array]:
        """The log density of the blocks asked for given those known, by the probability flow, and its error.

        With ``check`` the error knows the integrator's beside that of the probes.

        With draws of Normals for known blocks, their own density is added. The gradient of the density with respect
        to the value is the score at the flow's first time.
        """
        xp, still = backend.xp, backend.stop_gradient
        states = self.conditioning.diffused(backend, known.states)
        moves, clean = self.blocks.spread(states.diffused), self.blocks.spread(states.clean)
        z = frame.into(value)
        predict = self._predict(backend, masked(net, frame.kept))
        score = self.conditioning.score(backend, self.learning.sde, self.blocks, predict, states, xp.zeros_like(z))
        frozen, moves = still(z), xp.broadcast_to(moves, z.shape)
        out, error = self.flow.log_density(backend, self.learning.sde, score, frozen, moves, check)
        t = backend.asarray(np.asarray(self.flow.first), like=z)
        slope = still(score(frozen, t, None))
        out = still(out) + xp.sum(slope * (z - frozen), axis=-1)
        out = out + xp.sum(xp.where(moves, frame.log_volume(backend) + 0.0 * z, xp.zeros_like(z)), axis=-1)
        if known.scale is not None:
            width = xp.where(clean, known.scale, xp.ones_like(known.scale))
            normal = -0.5 * ((value - known.loc) / width) ** 2 - xp.log(width) - 0.5 * float(np.log(2.0 * np.pi))
            out = out + xp.sum(xp.where(clean, normal, xp.zeros_like(normal)), axis=-1)
        return out, still(error)

    def _predict(self, backend: Backend, net: Net) -> Any:
        """The noise predicted at one time for all diffused blocks."""

        def predict(states: States, z: Array, t: Array) -> Array:
            return self.learning.noise(backend, self.blocks, net, states, z, t + backend.xp.zeros_like(z[..., :1]))

        return predict

    def bound(
        self, backend: Backend, rng: Any, net: Net, value: Array, present: Array, frame: Standard | Frame
    ) -> Array:
        """The random denoising bound of :class:`MultiTime`, ``(*,)``, of the latents as they are."""
        xp = backend.xp
        z = frame.into(value)
        noise = self.learning.draw(backend, rng, z, len(self.blocks))
        out = self.learning.bound(backend, self.blocks, masked(net, frame.kept), z, present, noise)
        there = self.blocks.spread(xp.broadcast_to(present, (*z.shape[:-1], present.shape[-1])))
        return out + xp.sum(xp.where(there, frame.log_volume(backend) + 0.0 * z, xp.zeros_like(z)), axis=-1)


def gather(
    backend: Backend,
    blocks: Blocks,
    values: Mapping[str, Any],
    present: Mapping[str, Array] | None,
    want: tuple[str, ...] | None,
) -> Known:
    """What is known, from values by block: arrays, or pairs of location and scale.

    Arguments:
        backend: The backend of the arrays.
        blocks: The blocks.
        values: Known blocks, ``(*, size)`` each, or pairs of them; at least one.
        present: Where they are known, ``(*,)``; everywhere by default.
        want: Blocks to generate; None for all. The others are absent.

    Raises:
        ModalityError: If a block is unknown or has another dimension.
        OptionError: If nothing is given, or some values are pairs and others are not.
        DataError: If a value is not finite where it is present.
    """
    blocks.check(values)
    blocks.check(present or {})
    blocks.check(dict.fromkeys(want or ()))
    if not values:
        raise OptionError("Expected at least one known block; got none. Sample the joint density itself.")
    pairs = {name: isinstance(value, tuple) for name, value in values.items()}
    if any(pairs.values()) != all(pairs.values()):
        raise OptionError(f"Expected arrays for all blocks or pairs (loc, scale) for all; got pairs for {pairs}.")
    xp = backend.xp
    locs = {name: value[0] if pairs[name] else value for name, value in values.items()}
    scales = {name: value[1] for name, value in values.items()} if any(pairs.values()) else None
    some = next(iter(locs.values()))
    yes = xp.isfinite(some[..., 0]) | True
    masks = {name: yes if not present or name not in present else present[name] for name in locs}
    for name, loc in locs.items():
        if backend.is_concrete(loc) and not bool(xp.all(xp.isfinite(loc) | ~masks[name][..., None])):
            raise DataError(f"Block '{name}' is not finite where it is present. Look at its encoder.")
    clean = blocks.stack({name: masks.get(name, ~yes) for name in blocks.names})
    wanted = blocks.stack({name: yes if want is None or name in want else ~yes for name in blocks.names})

    def fill(parts: Mapping[str, Array], default: float) -> Array:
        def blank(size: int) -> Array:
            return xp.zeros((*some.shape[:-1], size), dtype=some.dtype) + default

        known = {}
        for name, size in blocks.items():
            value, mask = parts.get(name), masks.get(name, yes)
            known[name] = (
                blank(size) if value is None else xp.where(mask[..., None], value, default * xp.ones_like(value))
            )
        return blocks.join(known)

    scale = None if scales is None else fill(scales, 1.0)
    return Known(fill(locs, 0.0), scale, States(wanted & ~clean, clean))
