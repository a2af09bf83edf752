r"""A multi-task diffusion: one block is diffused, or several as one, the others join and are read off by heads.

Labels, whose head can say any law, come first: at t = 1, where the primary block says nothing yet, :math:`x_j \sim
p(x_j \mid z_1)`, and then they are known. So a conditional network draws what is read as its label.

Given all :math:`x_i` the difference :math:`y_t = z_t - \sum_i \tilde a(t) E_i x_i` is an ordinary diffusion of
:math:`z_0`. So an ancestral step from t to u is one of that: known blocks are subtracted at t and added again at u, and
those asked for are drawn from their heads first. At the end these are read off :math:`z_0`; by a conditional
network, one after the other, each given those before, so that what they share beyond :math:`z_0` is kept:

.. math:: p(z_0, x) = p(z_0) \prod_i p(x_i \mid z_0, x_{<i})

An unconditional network has coordinates independent given :math:`z_0`, and the head of one that is known guides it.
Where several are known, of one block or of more, their heads together guide it too far, and
:mod:`mmppl.priors.multi_task.smc` draws by particles.

References:
    | Diffusion Models For Multi-Modal Generative Modeling (Chen et al., 2024), sections 3.1 to 3.3
    | https://openreview.net/forum?id=cbv0sBIZh9
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.checks import ANYTHING, at_least, checked
from mmppl.errors import OptionError
from mmppl.priors.blocks import Blocks
from mmppl.priors.condition import BlockRoles, Query
from mmppl.priors.coordinates import Coordinates, Whitening
from mmppl.priors.multi_task.evidence import EvidenceTerms, evidence_terms, sampled_terms
from mmppl.priors.multi_task.loss import Answer, MultiTaskLoss
from mmppl.priors.multi_task.shared_space import SharedSpace
from mmppl.priors.multi_task.smc import NUMBER, STEPS, blind_to, draw_primary
from mmppl.priors.score.base import JointModel, Overrides
from mmppl.priors.score.probability_flow import ProbabilityFlow
from mmppl.priors.score.smc import TwistedSMC
from mmppl.sde.solvers import Ancestral, Solver
from mmppl.sde.solvers.ancestral import posterior
from mmppl.sde.solvers.base import Score, count, table

Array = Any

__all__ = ["MultiTaskModel"]

PLUG_INS = ("draw", "mean")
TIMES = 1000


@checked(guidance=at_least(-1), plug_in=ANYTHING)
@dataclass(frozen=True)
class MultiTaskModel(JointModel):
    r"""Settings of a multi-task diffusion: all but its network and its data, the same on every backend.

    Arguments:
        space: Which blocks diffuse, and how the others join them.
        learning: How it is learned.
        guidance: Strength w of the classifier-free guidance of a conditional network, away from the unconditional one,
            :math:`\hat\epsilon + w (\hat\epsilon - \hat\epsilon_u)`; else the head of one known coordinate guides by
            :math:`-(1 + w) \sigma \nabla \log p(x_i \mid z_t)`. With 0 draws are the conditional's; with more, those
            of no conditional, and the density is that of the flow by the same score. With -1 known blocks only join.
            Particles go to :math:`p(z_0) \prod_i p(x_i \mid z_0)^{1 + w}` instead.
        plug_in: What joins of the blocks that are asked for: ``"draw"`` of the heads, or their ``"mean"``, by which
            the spread of what is drawn is too small.
        solver: :class:`~mmppl.sde.solvers.Ancestral`, or one that adds no noise and follows the probability flow.
        flow: How the density is integrated.
        particles: Of conditionals of an unconditional network, in place of the solver, where two known coordinates
            or more are not of the primary block; None for 16 in 60 steps. Each draw takes that many evaluations. Such
            a conditional has no density unless the primary block is known.

    Raises:
        OptionError: If guidance is below -1, the solver adds noise in another way, or none where weights do not vanish
            just after t = 0, or several blocks diffuse and the network is unconditional.

    Example:
        >>> MultiTaskModel(SharedSpace(Blocks.of({"ink": 2, "word": 1}))).blocks.dim
        3
    """

    space: SharedSpace
    learning: MultiTaskLoss = field(default_factory=MultiTaskLoss)
    guidance: float = 0.0
    solver: Solver = field(default_factory=Ancestral)
    flow: ProbabilityFlow = field(default_factory=ProbabilityFlow)
    particles: TwistedSMC | None = None
    plug_in: str = "draw"

    def __post_init__(self) -> None:
        if not -1.0 <= self.guidance < math.inf:
            raise OptionError(f"Expected guidance >= -1; got {self.guidance}.")
        if len(self.space.places) > 1 and not self.learning.conditional:
            raise OptionError(
                f"Expected p_conditional > 0 where several blocks diffuse, '{self.space.named}': known ones are "
                "conditions of the network. Got 0."
            )
        if self.plug_in not in PLUG_INS:
            raise OptionError(f"Expected plug_in among {PLUG_INS}; got {self.plug_in!r}.")
        if self.space.joining.jumps and not isinstance(self.solver, Ancestral):
            raise OptionError(
                "Expected the solver Ancestral where blocks join at the first step, which it takes back; got "
                f"{type(self.solver).__name__}."
            )
        if self.solver.draws and not isinstance(self.solver, Ancestral):
            raise OptionError(
                "Expected Ancestral, or a solver that adds no noise (by name 'ancestral', 'heun' or 'flow', which is "
                f"DPMSolver with eta=0); got {type(self.solver).__name__}."
            )

    @property
    def blocks(self) -> Blocks:  # type: ignore[override]
        """The blocks of the latent."""
        return self.space.blocks

    def check(self, coordinates: Coordinates | None) -> None:
        if isinstance(coordinates, Whitening):
            raise OptionError("Expected latents standardised by loc and scale; got a whitening that drops coordinates.")

    def guided(self, by: Overrides, given: Mapping[str, bool]) -> "MultiTaskModel":
        guidance, solver, particles = by
        if particles is not None and self.learning.conditional:
            raise OptionError("Expected particles=None: a conditional network needs none; got some.")
        new = self if guidance is None else replace(self, guidance=guidance)
        new = new if solver is None else replace(new, solver=solver)
        if self.learning.conditional:
            return new
        primary = self.space.named
        heads = self.space.heads
        number = sum(
            heads[name].pieces(size) if name in heads else size
            for name, size in self.blocks.items()
            if name in given and name != primary
        )
        exact = TwistedSMC(particles, STEPS) if isinstance(particles, int) else particles or self.particles
        if number < 2 or given.get(primary, False):
            # Where one coordinate guides, or the primary block stands still, particles are for who asks for them.
            return replace(new, particles=exact if particles is not None else None)
        return replace(new, particles=exact or TwistedSMC(NUMBER, STEPS))

    def check_roles(self, backend: Backend, roles: BlockRoles) -> None:
        lost = self._lost(backend, roles)
        if backend.is_concrete(lost) and bool(backend.xp.any(lost)):
            raise OptionError(
                "Expected at most one known coordinate, or a known primary block, for the density of an unconditional "
                f"network: its heads are normals of one coordinate each, and what they say together of block "
                f"'{self.space.named}' has no density that is known. Got more. Draw, or learn with "
                "p_conditional > 0."
            )

    def _lost(self, backend: Backend, roles: BlockRoles) -> Array:
        """Rows that have no density, ``(*,)``: the network is unconditional, and several coordinates are known."""
        xp = backend.xp
        known = self.blocks.spread(self.space.others(roles).clean)
        pieces = self.space.pieces(backend)
        several = xp.sum(xp.where(known, pieces, 0.0 * pieces), axis=-1) > 1.5
        return several & self.space.some(roles.diffused)[..., 0] & (not self.learning.conditional)

    def bound(self, rng: Any, query: Query, value: Array) -> Array:
        """Minus the loss of :class:`MultiTaskLoss` of each datum, ``(*,)``."""
        backend, z = query.backend, query.coordinates.forward(value)
        noise = self.learning.draw(backend, rng, z, len(self.blocks))
        roles = self.learning.roles(self.space, noise, backend.xp.broadcast_to(query.present, noise.known.shape))
        return -backend.xp.sum(self.learning.losses(backend, self.space, query.net, z, roles, noise), axis=-1)

    def evidence(self, rng: Any, query: Query, value: Array, num: int) -> tuple[EvidenceTerms, Array]:
        """Terms of the bound of each datum, means over ``num`` draws, and the standard error of the bound, ``(*,)``.

        Times are the ancestral solver's, or 250 where there is another solver.
        """
        backend, z, grid = query.backend, query.coordinates.forward(value), self._grid
        if num < 2:
            raise OptionError(f"Expected num >= 2, so that there is an error; got {num}.")

        def one(rng: Any) -> EvidenceTerms:
            def noise(i: Array) -> Array:
                return backend.normal(backend.fold_in(rng, i), tuple(z.shape), z)

            return evidence_terms(backend, self.space, self.learning, query.net, z, query.roles, grid, noise)

        draws = [one(part) for part in backend.split(rng, num)]
        terms = EvidenceTerms(*(backend.xp.stack(parts) for parts in zip(*draws, strict=True)))
        terms = terms._replace(data=terms.data - self._units(query, z))
        error = backend.xp.std(terms.bound, axis=0, correction=1) / num**0.5
        return EvidenceTerms(*(backend.xp.mean(part, axis=0) for part in terms)), error

    def sampled_evidence(self, rng: Any, query: Query, value: Array) -> EvidenceTerms:
        """Noisy estimates of the terms of data ``(*, D)``, without bias and at the cost of two times.

        As all cost the same there are many of them, 1,000 from 1 to the earliest that is learned, by a common ratio:
        the bound is then tighter than that of the solver's times.
        """
        backend, z = query.backend, query.coordinates.forward(value)
        grid = np.append(np.geomspace(1.0, self.learning.first, TIMES), 0.0)
        args = backend, self.space, self.learning, query.net, z, query.roles, grid
        terms = sampled_terms(*args, rng)
        return terms._replace(data=terms.data - self._units(query, z))

    def lower_bound(self, rng: Any, query: Query, value: Array) -> Array:
        """The bound of :meth:`sampled_evidence`, ``(*,)``; NaN without a primary block, where there is none."""
        out = self.sampled_evidence(rng, query, value).bound
        there = self.space.some(query.roles.diffused)[..., 0]
        return query.backend.xp.where(there, out, query.backend.xp.zeros_like(out) + math.nan)

    @property
    def _grid(self) -> np.ndarray:
        """Times of the bound."""
        return self.solver.grid if isinstance(self.solver, Ancestral) else Ancestral().grid

    def _units(self, query: Query, z: Array) -> Array:
        """Log volume that the density of what is asked for loses by the coordinates' units, ``(*,)``."""
        xp = query.backend.xp
        log_det = query.coordinates.log_abs_det(query.backend) + xp.zeros_like(z)
        asked = self.blocks.spread(query.roles.diffused)
        return xp.sum(xp.where(asked, log_det, xp.zeros_like(log_det)), axis=-1)

    def answer(self, query: Query, z: Array, t: Array) -> Answer:
        """The network's answer at a time, given the clean blocks: as its conditions, or by their heads' gradients."""
        backend, xp, roles, space = query.backend, query.backend.xp, query.roles, self.space
        times = t + xp.zeros_like(z[..., :1])

        def ask(roles: BlockRoles, z: Array) -> Answer:
            return self.learning.answer(backend, space, query.net, roles, z, times)

        blind = blind_to(space, roles)
        if self.learning.conditional:
            answer = ask(roles, z)
            if not self.guidance:
                return answer
            return answer._replace(noise=answer.noise + self.guidance * (answer.noise - ask(blind, z).noise))
        if self.guidance == -1.0:
            return ask(blind, z)
        known = self.blocks.spread(space.others(roles).clean)

        def heads(at: Array) -> Array:
            return xp.sum(xp.where(known, ask(blind, at).log_prob(backend, z), xp.zeros_like(z)), axis=-1)

        answer = ask(blind, z)
        slope = backend.vjp(heads, z, xp.ones_like(z[..., 0]))[1]
        return answer._replace(noise=answer.noise - (1.0 + self.guidance) * space.sde.scale(times) * slope)

    def score(self, query: Query, joined: bool = True) -> Score:
        r"""The score s of the primary block, or with ``joined`` the one by which the probability flow is right.

        .. math:: \frac{dz}{dt} = f z + c \sum_i E_i \hat x_i - \tfrac12 g^2 s
            = f z - \tfrac12 g^2 \Big(s - \frac{2 c}{g^2} \sum_i E_i \hat x_i\Big)

        with :math:`\hat x_i` what is known, or the mean of the head.
        """
        xp, space = query.backend.xp, self.space

        def score(z: Array, t: Array, xi: Array | None = None) -> Array:
            answer = self.answer(query, z, t)
            out = -answer.noise / space.sde.scale(t)
            if joined:
                out = out - space.flow_weight(t) * self._shift(query, z, answer.mean(query.backend))
            return xp.where(self.blocks.spread(space.moved(query.roles)), out, xp.zeros_like(z))

        return score

    def draw(self, rng: Any, query: Query, observed: Array) -> tuple[Array, Array | None]:
        backend, xp, roles, size = query.backend, query.backend.xp, query.roles, None
        labels, query = self._labels(query)
        first, second, third, *more = backend.split(rng, 4 if labels else 3)
        free = self.blocks.spread(self.space.moved(roles) & ~roles.clean)
        if labels:
            # One draw is the primary block at t = 1, and serves the heads in the others.
            xi = backend.normal(more[0], tuple(observed.shape), observed)
            observed = xp.where(free, observed, self._read(labels, xp.where(free, xi, observed), 1.0, xi))
        if self.particles is not None:
            args = (self.learning, self.particles, 1.0 + self.guidance, observed)
            z, size = draw_primary(first, query, self.space, *args)
        else:

            def diffused(x: Array) -> Array:
                if isinstance(self.solver, Ancestral):
                    return self._ancestral(first, second, query, x, free)
                return self.solver.sample(backend, first, self.space.sde, self.score(query), x, free)

            # What is read off a known block takes one evaluation.
            z = backend.cond(xp.any(free), diffused, lambda x: x, observed)
        if not self.space.joining.jumps:
            xi = backend.normal(third, tuple(z.shape), z)
            z = self._read(self._turns(query), z, self.learning.first, xi)
        return xp.where(self.blocks.spread(query.present), z, xp.zeros_like(z)), size

    def _read(self, turns: list[tuple[Query, Array]], z: Array, t: Any, xi: Array) -> Array:
        """Blocks that are asked for, drawn from their heads at time ``t``; the others as they are."""
        for turn, block in turns:
            z = turn.backend.xp.where(
                block, self.answer(turn, z, t + turn.backend.xp.zeros_like(z[..., :1])).draw(turn.backend, xi), z
            )
        return z

    def density(self, query: Query, value: Array, check: bool) -> tuple[Array, Array]:
        """Log density of the primary block by the probability flow, and of the others given it by their heads.

        It is NaN where the primary block is absent, for what the others have without it is not known, and where
        :meth:`check_roles` would have raised had it seen the values.
        """
        backend, xp, stop_gradient, roles = query.backend, query.backend.xp, query.backend.stop_gradient, query.roles
        if self.space.joining.jumps:
            raise OptionError("Expected weights that vanish at t = 0, as Bump's, for a density; got FirstStep.")
        z, asked = query.coordinates.forward(value), self.blocks.spread(roles.diffused)
        free = xp.broadcast_to(asked & self.blocks.spread(self.space.is_primary(roles)), z.shape)
        frozen = stop_gradient(z)
        labels, query = self._labels(query)
        # At t = 1 one typical primary block is as good as another.
        noise = np.random.default_rng(0).standard_normal(self.blocks.dim) if labels else np.zeros(self.blocks.dim)
        start = xp.where(free, backend.asarray(noise, like=z), z)
        out, error = self.flow.log_density(backend, self.space.sde, self.score(query), frozen, free, check)
        t = backend.asarray(np.asarray(self.flow.first), like=z)
        slope = stop_gradient(self.score(query, joined=False)(frozen, t, None))
        parts = slope * (z - frozen)
        for turn, block in labels:
            parts = xp.where(block, self.answer(turn, start, xp.ones_like(t)).log_prob(backend, z), parts)
        for turn, block in self._turns(query):
            parts = xp.where(block, self.answer(turn, z, t).log_prob(backend, z), parts)
        parts = query.coordinates.log_abs_det(backend) + parts
        out = stop_gradient(out) + xp.sum(xp.where(asked, parts, xp.zeros_like(parts)), axis=-1)
        there = self.space.some(query.present)[..., 0] & ~self._lost(backend, roles)
        return xp.where(there, out, xp.zeros_like(out) + math.nan), stop_gradient(error)

    def _others(self, query: Query, z: Array, x: Array) -> Array:
        """The other blocks: known ones as in ``z``, those asked for as in ``x``; 0 elsewhere."""
        xp, others = query.backend.xp, self.space.others(query.roles)
        known, asked = self.blocks.spread(others.clean), self.blocks.spread(others.diffused)
        return xp.where(known, z, xp.where(asked, x, xp.zeros_like(z)))

    def _shift(self, query: Query, z: Array, x: Array) -> Array:
        """Blocks that join, ``(*, D)``: known blocks as in ``z``, those asked for as in ``x``."""
        return self.learning.shift(query.backend, self.space, query.net, self._others(query, z, x))

    def _turns(self, query: Query) -> list[tuple[Query, Array]]:
        """Queries by which blocks are read off the primary one, and masks of what each reads, boolean ``(*, D)``."""
        asked = self.space.others(query.roles).diffused
        if not self.learning.conditional:
            return [(query, self.blocks.spread(asked))]
        return self._one_by_one(query, asked, lambda name: True)[0]

    def _labels(self, query: Query) -> tuple[list[tuple[Query, Array]], Query]:
        """The same of labels that are drawn before the primary block is, and the query that knows them."""
        if not self.learning.conditional:
            return [], query
        space, roles = self.space, query.roles
        asked = space.others(roles).diffused & (space.some(roles.diffused) | ~space.some(roles.clean))
        return self._one_by_one(query, asked, self.space.any_law)

    def _one_by_one(
        self, query: Query, asked: Array, wanted: Callable[[str], bool]
    ) -> tuple[list[tuple[Query, Array]], Query]:
        """Queries of one block after the other, each given those before, and the one that knows them all."""
        roles, backend, out = query.roles, query.backend, []
        for i, name in enumerate(self.blocks.names):
            if i not in self.space.places and wanted(name):
                one = asked & backend.asarray(np.arange(len(self.blocks)) == i)
                out.append((query.with_roles(roles), self.blocks.spread(one)))
                roles = BlockRoles(roles.diffused & ~one, roles.clean | one)
        return out, query.with_roles(roles)

    def _ancestral(self, first: Any, second: Any, query: Query, observed: Array, free: Array) -> Array:
        """The primary block, down the solver's grid; the others as they are."""
        backend, grid, space, shape = query.backend, self.solver.grid, self.space, tuple(observed.shape)  # type: ignore[attr-defined]

        def step(z: Array, xs: tuple) -> tuple[Array, None]:
            i, t, own, gain, spread, now, then = xs
            # One draw serves the step in the primary block and the heads in the others.
            xi = backend.normal(backend.fold_in(second, i), shape, z)
            answer = self.answer(query, z, t)
            asked = answer.draw(backend, xi) if self.plug_in == "draw" else answer.mean(backend)
            shift = self._shift(query, z, asked)
            y = own * (z - now * shift) - gain * answer.noise / space.sde.scale(t) + spread * xi
            return backend.xp.where(free, y + then * shift, z), None

        def leave(z: Array, xs: tuple) -> Array:
            """The last step where blocks joined at the first: they are read, and then taken away."""
            i, t, own, gain, _, now, _ = xs
            read = self._read(self._turns(query), z, t, backend.normal(backend.fold_in(second, i), shape, z))
            answer = self.answer(query, z, t)
            shift = self._shift(query, z, read if self.plug_in == "draw" else answer.mean(backend))
            y = own * (z - now * shift) - gain * answer.noise / space.sde.scale(t)
            return backend.xp.where(free, y, read)

        noise = space.sde.prior_scale * backend.normal(first, shape, observed)
        start = backend.xp.where(free, noise, observed)
        t, u = grid[:-1], grid[1:]
        columns = table(backend, start, t, *posterior(space.sde, t, u), space.weight(t), space.weight(u))
        xs = (count(backend, len(t)), *columns)
        if not space.joining.jumps:
            return backend.scan(step, start, xs)[0]
        z = backend.scan(step, start, tuple(x[:-1] for x in xs))[0]
        return leave(z, tuple(x[-1] for x in xs))
