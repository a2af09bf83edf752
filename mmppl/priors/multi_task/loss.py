r"""Learning a multi-task diffusion: the noise of one block, and heads that read the others off it.

.. math:: \lVert \epsilon - \hat\epsilon(z_t, t) \rVert^2 - \lambda \sum_i \log p(x_i \mid z_t)

References:
    | Diffusion Models For Multi-Modal Generative Modeling (Chen et al., 2024), section 3.2
    | https://openreview.net/forum?id=cbv0sBIZh9
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from mmppl._backend import Backend
from mmppl.checks import at_least, checked, one_of, within
from mmppl.errors import OptionError
from mmppl.numerics import normal_log_density
from mmppl.priors.condition import BlockRoles
from mmppl.priors.multi_task.shared_space import SharedSpace
from mmppl.priors.score.matching import Net, network_input

Array = Any

__all__ = ["Answer", "MultiTaskLoss", "MultiTaskNoise"]

PREDICTIONS = ("velocity", "noise")


class MultiTaskNoise(NamedTuple):
    """The noise of one evaluation of the loss, for data ``(*, D)`` in M blocks.

    Arguments:
        conditional: Uniform, ``(*, 1)``: whether some blocks are known.
        known: Uniform, ``(*, M)``: which are, then.
        marginal: Uniform, ``(*, 1)``: whether some blocks are hidden.
        hide: Uniform, ``(*, M)``: which are, then.
        time: Uniform, ``(*, 1)``.
        noise: Standard normal, ``(*, D)``.
    """

    conditional: Array
    known: Array
    marginal: Array
    hide: Array
    time: Array
    noise: Array


class Answer(NamedTuple):
    """Output of the network: the noise in the primary block, and Normals of the others, ``(*, D)`` each."""

    noise: Array
    loc: Array
    log_scale: Array

    def draw(self, backend: Backend, noise: Array) -> Array:
        """The heads' draws by standard normal noise, ``(*, D)``."""
        return self.loc + backend.xp.exp(self.log_scale) * noise

    def log_prob(self, backend: Backend, x: Array) -> Array:
        """The heads' log densities of each coordinate, ``(*, D)``."""
        at = (x - self.loc) * backend.xp.exp(-self.log_scale)
        return normal_log_density(at, self.log_scale)


@checked(
    weight=at_least(0),
    p_conditional=within(0, 1),
    p_marginal=within(0, 1),
    first=within(0, 1, open_ends="()"),
    predict=one_of(PREDICTIONS),
)
@dataclass(frozen=True)
class MultiTaskLoss:
    r"""Loss of a multi-task diffusion.

    The network is given blocks and a code for each, ``(*, D + M)``: the time for the primary block, and for blocks that
    joined it and are asked for, whose values it does not see; 0 for known ones, -1 for absent ones. Its answer
    ``(*, 2 D)`` is the velocity F of the primary block, :math:`\hat\epsilon = \sigma z_t + a F`, and the means of the
    others; behind them log scales.

    Arguments:
        weight: :math:`\lambda`.
        p_conditional: Probability that each other block is known with probability a half, so that the network learns
            to be conditional (the published variant X). With 0 it is unconditional (U), and known blocks enter by the
            gradients of their heads,
            with particles where there are several, see :class:`~mmppl.priors.MultiTaskModel`.
        p_marginal: Probability that each other block is hidden with probability a half, so that marginals are learned.
        predict: ``"velocity"``, whose squared error is then the loss, or ``"noise"``, as published.
        first: The earliest time.

    Raises:
        OptionError: If a number is out of range, or the prediction unknown.

    Example:
        >>> MultiTaskLoss(p_conditional=0.0).conditional
        False
    """

    weight: float = 0.1
    p_conditional: float = 0.5
    p_marginal: float = 0.0
    predict: str = "velocity"
    first: float = 1e-5

    @property
    def conditional(self) -> bool:
        """Tells whether the network is conditional, that is, learned with known blocks."""
        return self.p_conditional > 0.0

    def draw(self, backend: Backend, rng: Any, like: Array, number: int) -> MultiTaskNoise:
        """The noise for data ``like`` ``(*, D)`` in ``number`` blocks."""
        first, second, third, fourth, fifth, last = backend.split(rng, 6)
        one, each = (*like.shape[:-1], 1), (*like.shape[:-1], number)
        return MultiTaskNoise(
            conditional=backend.uniform(first, one, like),
            known=backend.uniform(second, each, like),
            marginal=backend.uniform(third, one, like),
            hide=backend.uniform(fourth, each, like),
            time=backend.uniform(fifth, one, like),
            noise=backend.normal(last, tuple(like.shape), like),
        )

    def states(self, space: SharedSpace, noise: MultiTaskNoise, present: Array) -> BlockRoles:
        """Draws what each block is, from those present, ``(*, M)``."""
        hidden = (noise.marginal < self.p_marginal) & (noise.hide < 0.5)
        clean = (noise.conditional < self.p_conditional) & (noise.known < 0.5)
        others = ~space.is_primary(BlockRoles(present, present))
        seen, clean = present & ~(hidden & others), clean & others
        return BlockRoles(seen & ~clean, seen & clean)

    def losses(
        self, backend: Backend, space: SharedSpace, net: Net, z: Array, states: BlockRoles, noise: MultiTaskNoise
    ) -> Array:
        """The loss of each coordinate ``(*, D)``: 0 for known and absent blocks, and where the primary one is absent.

        Arguments:
            backend: The backend of the arrays.
            space: The forward diffusion.
            net: The network.
            z: Clean latents, ``(*, D)``.
            states: What each block is.
            noise: What :meth:`draw` gives.
        """
        xp, spread = backend.xp, space.blocks.spread
        t = self.first + (1.0 - self.first) * noise.time
        answer = self.answer(backend, space, net, states, space.diffuse(z, states, t, noise.noise), t)
        error = (noise.noise - answer.noise) ** 2
        if self.predict == "velocity":
            error = error / space.sde.mean_factor(t) ** 2
        loss = xp.where(spread(space.is_primary(states)), error, -self.weight * answer.log_prob(backend, z))
        there = states.diffused[..., space.place : space.place + 1]
        return xp.where(spread(states.diffused) & there, loss, xp.zeros_like(loss))

    def answer(self, backend: Backend, space: SharedSpace, net: Net, states: BlockRoles, z: Array, t: Array) -> Answer:
        """The network's answer to the primary block at times ``t`` ``(*, 1)``, given the clean blocks.

        Raises:
            OptionError: If it has another shape.
        """
        xp, dim, primary = backend.xp, space.blocks.dim, space.is_primary(states)
        states = BlockRoles(states.diffused | primary, states.clean & ~primary)
        shown = xp.where(space.blocks.spread(states.clean | primary), z, xp.zeros_like(z))
        out = net(network_input(backend, space.blocks, states, shown, t))
        if tuple(out.shape) != (*z.shape[:-1], 2 * dim):
            raise OptionError(
                f"Expected the network to give {(*z.shape[:-1], 2 * dim)}, an answer and a log scale for each of the "
                f"{dim} coordinates; got {tuple(out.shape)}. Build it with outputs={2 * dim}."
            )
        said, noise = out[..., :dim], out[..., :dim]
        if self.predict == "velocity":
            noise = space.sde.scale(t) * z + space.sde.mean_factor(t) * said
        return Answer(noise, said, out[..., dim:])
