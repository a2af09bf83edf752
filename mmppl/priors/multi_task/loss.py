r"""Learning a multi-task diffusion: the noise of one block, and heads that read the others off it.

.. math:: \lVert \epsilon - \hat\epsilon(z_t, t) \rVert^2 - \lambda D \sum_i \frac{1}{n_i} \log p(x_i \mid z_t)

with D coordinates of the one and :math:`n_i` independent parts of another, so that both are means, as in published
code, where the sum of a hundred pixels would drown a label.

References:
    | Diffusion Models For Multi-Modal Generative Modeling (Chen et al., 2024), section 3.2
    | https://openreview.net/forum?id=cbv0sBIZh9
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from mmppl._backend import Backend
from mmppl.checks import ANYTHING, checked, one_of, within
from mmppl.errors import OptionError
from mmppl.priors.condition import BlockRoles
from mmppl.priors.multi_task.shared_space import SharedSpace
from mmppl.priors.score.matching import Net, network_input
from mmppl.sde import draw_times

Array = Any

__all__ = ["Answer", "MultiTaskLoss", "MultiTaskNoise"]

PREDICTIONS = ("velocity", "noise")
TIMES = ("uniform", "cosine")
WEIGHT = 0.1


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
    """Output of the network: the noise in the primary block, and what heads of the others read, ``(*, D)`` each."""

    noise: Array
    loc: Array
    log_scale: Array
    space: SharedSpace

    def draw(self, backend: Backend, noise: Array) -> Array:
        """The heads' draws by standard normal noise, ``(*, D)``."""
        return self.space.by_head(lambda head, *parts: head.draw(backend, *parts), noise, self.loc, self.log_scale)

    def log_prob(self, backend: Backend, x: Array) -> Array:
        """The heads' log densities, a share of each coordinate, ``(*, D)``."""
        return self.space.by_head(lambda head, *parts: head.log_prob(backend, *parts), x, self.loc, self.log_scale)

    def mean(self, backend: Backend) -> Array:
        """The heads' means, ``(*, D)``."""
        return self.space.by_head(lambda head, part: head.mean(backend, part), self.loc)


@checked(
    weight=ANYTHING,
    p_conditional=within(0, 1),
    p_marginal=within(0, 1),
    p_single=within(0, 1),
    first=within(0, 1, open_ends="()"),
    predict=one_of(PREDICTIONS),
    time_sampling=one_of(TIMES),
)
@dataclass(frozen=True)
class MultiTaskLoss:
    r"""Loss of a multi-task diffusion.

    The network is given blocks and a code for each, ``(*, D + M)``: the time for the primary block, and for blocks that
    joined it and are asked for, whose values it does not see; 0 for known ones, -1 for absent ones. Its answer
    ``(*, 2 D)`` is the velocity F of the primary block, :math:`\hat\epsilon = \sigma z_t + a F`, and the means of the
    others; behind them log scales.

    Arguments:
        weight: :math:`\lambda` of the mean over a block's parts, beside the mean over the primary block's coordinates;
            one for all heads or by name of block, 0.1 for one that is not named.
        p_conditional: Probability that each other block, and of several primary ones each while one is left, is known
            with probability a half, so that the network learns to be conditional (the published variant X). With 0 it
            is unconditional (U), and known blocks enter by the gradients of their heads, with particles where there
            are several, see :class:`~mmppl.priors.MultiTaskModel`.
        p_marginal: Probability that each of these is hidden with probability a half, so that marginals are learned.
        p_single: Probability that primary blocks are learned alone, as by an ordinary diffusion (concurrent
            single-task training, by which the network can also guide itself away from what is not conditional).
        predict: ``"velocity"``, whose squared error is then the loss, or ``"noise"``, as published.
        time_sampling: ``"uniform"`` times, as published, or ``"cosine"``, see :func:`~mmppl.sde.draw_times`.
        first: The earliest time.

    Raises:
        OptionError: If a number is out of range, or the prediction unknown.

    Example:
        >>> MultiTaskLoss(p_conditional=0.0).conditional
        False
    """

    weight: float | Mapping[str, float] = WEIGHT
    p_conditional: float = 0.5
    p_marginal: float = 0.0
    p_single: float = 0.0
    predict: str = "velocity"
    time_sampling: str = "uniform"
    first: float = 1e-5

    def __post_init__(self) -> None:
        if self.p_marginal + self.p_single > 1.0:
            raise OptionError(f"Expected p_marginal + p_single <= 1; got {self.p_marginal} + {self.p_single}.")
        if isinstance(self.weight, Mapping):
            object.__setattr__(self, "weight", tuple(sorted(self.weight.items())))
        each = self.weight if isinstance(self.weight, tuple) else (("all", self.weight),)
        numbers = [isinstance(x, Real) and not isinstance(x, bool) and 0.0 <= float(x) < math.inf for _, x in each]
        if not all(numbers):
            raise OptionError(f"Expected weights of heads >= 0, one number or one by block; got {self.weight!r}.")

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

    def roles(self, space: SharedSpace, noise: MultiTaskNoise, present: Array) -> BlockRoles:
        """Draws what each block is, from those present, ``(*, M)``."""
        alone = noise.marginal >= 1.0 - self.p_single
        hidden = (noise.marginal < self.p_marginal) & (noise.hide < 0.5) | alone
        clean = (noise.conditional < self.p_conditional) & (noise.known < 0.5)
        primary = space.is_primary(BlockRoles(present, present))
        seen, clean = present & ~(hidden & ~(alone & primary)), clean & ~(alone & primary)
        # Of primary blocks at least one is diffused: all that are there, where none would be.
        all_of_them = primary & ~space.some(seen & ~clean)
        seen, clean = seen | all_of_them & present, clean & ~all_of_them
        return BlockRoles(seen & ~clean, seen & clean)

    def losses(
        self, backend: Backend, space: SharedSpace, net: Net, z: Array, roles: BlockRoles, noise: MultiTaskNoise
    ) -> Array:
        """The loss of each coordinate ``(*, D)``: 0 for known and absent blocks, and without a primary one to predict.

        Arguments:
            backend: The backend of the arrays.
            space: The forward diffusion.
            net: The network.
            z: Clean latents, ``(*, D)``.
            roles: What each block is.
            noise: What :meth:`draw` gives.
        """
        xp, spread = backend.xp, space.blocks.spread
        t, _ = draw_times(space.sde, noise.time, self.time_sampling, self.first)
        shift = self.shift(backend, space, net, space.joins(roles, z))
        answer = self.answer(backend, space, net, roles, space.diffuse(z, roles, t, noise.noise, shift), t)
        error, heads = (noise.noise - answer.noise) ** 2, answer.log_prob(backend, z)
        if self.predict == "velocity":
            error = error / space.sde.mean_factor(t) ** 2
        primary = space.is_primary(roles)
        if len(space.places) > 1:
            # Each datum counts alike, however much of it is diffused.
            sizes = backend.asarray(np.asarray(space.blocks.sizes, dtype=float), like=z)
            number = xp.sum(xp.where(roles.diffused & primary, sizes, xp.zeros_like(sizes)), axis=-1)[..., None]
            error = error * (space.own / xp.where(number > 0, number, xp.ones_like(number)))
        loss = xp.where(spread(primary), error, -self.weights(backend, space, z) * heads)
        return xp.where(spread(roles.diffused) & space.some(roles.diffused), loss, xp.zeros_like(loss))

    def answer(self, backend: Backend, space: SharedSpace, net: Net, roles: BlockRoles, z: Array, t: Array) -> Answer:
        """The network's answer to primary blocks at times ``t`` ``(*, 1)``, given the clean blocks.

        Raises:
            OptionError: If it has another shape.
        """
        xp, dim, primary = backend.xp, space.blocks.dim, space.is_primary(roles)
        roles = space.acting(roles)
        shown = xp.where(space.blocks.spread(roles.clean | primary), space.seen(backend, z), xp.zeros_like(z))
        out = net(network_input(backend, space.blocks, roles, shown, t))
        if tuple(out.shape) != (*z.shape[:-1], 2 * dim):
            raise OptionError(
                f"Expected the network to give {(*z.shape[:-1], 2 * dim)}, an answer and a log scale for each of the "
                f"{dim} coordinates; got {tuple(out.shape)}. Build it with outputs={2 * dim}."
            )
        said, noise = out[..., :dim], out[..., :dim]
        if self.predict == "velocity":
            noise = space.sde.scale(t) * z + space.sde.mean_factor(t) * said
        return Answer(noise, said, out[..., dim:], space)

    def shift(self, backend: Backend, space: SharedSpace, net: Net, x: Array) -> Array:
        """Shift of the primary block by blocks ``x`` ``(*, D)``, ``(*, D)``; those that are 0 add nothing.

        Raises:
            OptionError: If the network is to be the generator of a block and cannot be.
        """
        xp, out = backend.xp, space.shift(x)
        if space.generators and not (self.conditional and self.predict == "velocity"):
            raise OptionError("Expected p_conditional > 0 and predict='velocity' where the network is an encoder.")
        for i in space.generators:
            alone = backend.asarray(np.arange(len(space.blocks)) == i)
            here = space.blocks.spread(alone) & (x == x)
            joins = xp.any(here & (x != 0.0), axis=-1)[..., None]
            one = xp.where(here, x, xp.zeros_like(x))
            roles = xp.broadcast_to(alone, (*x.shape[:-1], len(space.blocks)))
            answer = self.answer(
                backend, space, net, BlockRoles(~(roles | ~roles), roles), one, xp.ones_like(x[..., :1])
            )
            # At t = 1 and z = 0 minus the velocity is the mean of the data, given the block alone.
            image = xp.where(space.blocks.spread(space.is_primary(BlockRoles(roles, roles))), -answer.loc, 0.0 * x)
            out = out + backend.stop_gradient(xp.where(joins, image, xp.zeros_like(image)))
        return out

    def weights(self, backend: Backend, space: SharedSpace, like: Array) -> Array:
        r""":math:`\lambda D / n_i` of each coordinate, ``(D,)``."""
        weight, names = self.weight, space.blocks.names
        named = dict(weight) if isinstance(weight, Mapping | tuple) else dict.fromkeys(names, weight)
        space.blocks.check(named)
        each = [
            np.full(size, named.get(name, WEIGHT) * space.own / space.number(name))
            for name, size in space.blocks.items()
        ]
        return backend.asarray(np.concatenate(each), like=like)
