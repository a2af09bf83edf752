r"""Learning one score for every subset: each block has a time of its own.

A block is *diffused* to a time t, *clean* (a condition, time 0), or *absent* (its value is hidden and its time is -1,
so what is learned is the marginal of the others). With :math:`\hat\epsilon` the network and :math:`A` the diffused
coordinates of a datum, its loss is

.. math:: \frac{D}{|A|} \, w(t) \, \lVert \epsilon_A - \hat\epsilon_A(z_\tau, \tau) \rVert^2

A network F that predicts the velocity gives the noise by way of what is known of standardised latents,

.. math:: \hat\epsilon = \frac{\sigma}{a^2 + \sigma^2} z + \frac{a}{\sqrt{a^2 + \sigma^2}} F

so that its errors are not blown up where the signal is faint. One that predicts the data :math:`\hat z_0` gives
:math:`\hat\epsilon = (z - a \hat z_0) / \sigma`; what is drawn by it lies where the network's answers do.

By Stein's identity the squared error has the mean of

.. math:: \lVert \hat\epsilon_A \rVert^2 - 2 \sigma \nabla_A \cdot \hat\epsilon_A + |A|

which does without the noise that was added (implicit score matching). The factor :math:`D / |A|` gives each coordinate
diffused the same weight, whatever the subset.

References:
    | Multi-modal Latent Diffusion (Bounoua et al., 2024), https://arxiv.org/abs/2306.04445
    | MINDE: Mutual Information Neural Diffusion Estimation (Franzese et al., 2024), for the absent state
    | https://arxiv.org/abs/2310.09031
    | One Transformer Fits All Distributions in Multi-Modal Diffusion at Scale (Bao et al., 2023), for independent times
    | https://arxiv.org/abs/2303.06555
    | Sliced Score Matching (Song et al., 2020), https://arxiv.org/abs/1905.07088, for the implicit loss
    | Progressive Distillation for Fast Sampling of Diffusion Models (Salimans & Ho, 2022), for the velocity
    | https://arxiv.org/abs/2202.00512
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mmppl._backend import Backend
from mmppl.checks import checked, one_of, within
from mmppl.errors import OptionError
from mmppl.priors.blocks import Blocks
from mmppl.priors.condition import BlockRoles
from mmppl.priors.reduction.score_ratio import directions
from mmppl.sde import SDE, VP, draw_times
from mmppl.sde.times import TIME_SAMPLINGS
from mmppl.subsets import NUM_PROPOSALS, first_valid

Array = Any
Net = Callable[[Array], Array]

PREDICTIONS = ("velocity", "noise", "data")
LOSSES = ("denoising", "sliced", "exact")

__all__ = ["MultiTimeScoreMatching", "MultiTimeNoise"]


class MultiTimeNoise(NamedTuple):
    """The noise of one evaluation of the loss, for data ``(*, D)`` in M blocks.

    Arguments:
        hide: Uniform, ``(NUM_PROPOSALS + 1, *, M)``: which blocks are hidden.
        condition: Uniform, ``(NUM_PROPOSALS + 1, *, M)``: which are conditions.
        time: Uniform, ``(*, M)``.
        noise: Standard normal, ``(*, D)``.
        along: Directions of the divergence, ``(K, *, D)``; None where the loss has none.
    """

    hide: Array
    condition: Array
    time: Array
    noise: Array
    along: Array | None = None


@checked(
    p_conditional=within(0, 1),
    p_marginal=within(0, 1),
    first=within(0, 1, open_ends="()"),
    time_sampling=one_of(TIME_SAMPLINGS),
    predict=one_of(PREDICTIONS),
)
@dataclass(frozen=True)
class MultiTimeScoreMatching:
    r"""Loss of a joint score with a time for each block, for latents ``(*, D)`` in M blocks.

    .. math:: \frac{D}{|A|} \, w(t) \, \lVert \epsilon_A - \hat\epsilon_A(z_\tau, \tau) \rVert^2

    with A the diffused coordinates, :math:`\tau` the time of each block (t where it is diffused, 0 where it is a
    condition, -1 where it is absent), w by ``time_sampling`` and :math:`\hat\epsilon` from the network by
    ``predict``. The implicit losses have the same mean without the noise.

    Arguments:
        sde: The diffusion.
        p_conditional: Probability that a datum is learned as a conditional, given a subset of its blocks drawn
            uniformly from those that leave something to predict; else as a joint density. (The published code calls
            it d; the paper's d is 1 minus it.)
        p_marginal: Probability that a subset of the blocks is hidden, so that marginals are learned as well.
        independent: Whether every block has a time of its own (UniDiffuser) instead of one shared by all.
        time_sampling: How times are drawn and weighed: ``"uniform"``, ``"likelihood"``, ``"importance"`` or
            ``"cosine"``, see :func:`~mmppl.sde.draw_times`.
        predict: What the network predicts: ``"velocity"``, ``"noise"`` as published, or ``"data"``, for a network that
            is narrower than the data and could let no noise through. With times that are ``"uniform"`` or ``"cosine"``
            the loss is the squared error of just that.
        loss: ``"denoising"``, or the implicit loss with an ``"exact"`` divergence (D derivatives of the network)
            or a ``"sliced"`` one (a single one, along random signs). Not available with ``predict="velocity"``, whose
            implicit loss has no bounded variance; it is the error of the noise under every ``time_sampling``.
        first: The earliest time.

    Raises:
        OptionError: If a probability is out of range, or a prediction, time sampling or loss unknown.

    Example:
        >>> MultiTimeScoreMatching(p_conditional=0.8).time_sampling
        'uniform'
    """

    sde: SDE = field(default_factory=VP)
    p_conditional: float = 0.5
    p_marginal: float = 0.0
    independent: bool = False
    time_sampling: str = "uniform"
    predict: str = "velocity"
    loss: str = "denoising"
    first: float = 1e-5

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise OptionError(f"Expected a loss among {LOSSES}; got {self.loss!r}.")

    def draw(self, backend: Backend, rng: Any, like: Array, number: int) -> MultiTimeNoise:
        """The noise for data ``like`` ``(*, D)`` in ``number`` blocks."""
        first, second, third, fourth, *more = backend.split(rng, 4 if self.loss == "denoising" else 5)
        rows = (*like.shape[:-1], number)
        probes = {"sliced": 1}.get(self.loss)
        return MultiTimeNoise(
            backend.uniform(first, (NUM_PROPOSALS + 1, *rows), like),
            backend.uniform(second, (NUM_PROPOSALS + 1, *rows), like),
            backend.uniform(third, rows, like),
            backend.normal(fourth, tuple(like.shape), like),
            directions(backend, more[0], like, probes) if more else None,
        )

    def roles(self, backend: Backend, noise: MultiTimeNoise, present: Array) -> BlockRoles:
        """Draws what each block is, from those present, ``(*, M)``."""
        xp = backend.xp
        # 1. Hide some blocks, with p_marginal: of the proposed subsets the first that leaves something to see.
        proposals = noise.hide[1:, ...] < 0.5
        seen = first_valid(backend, proposals & present, lambda proposed: xp.any(proposed, axis=-1), present)
        seen = xp.where(noise.hide[0, ...][..., :1] < self.p_marginal, seen, present)
        # 2. Of those seen, make some conditions, with p_conditional: the first proposal that leaves some to predict.
        proposals = (noise.condition[1:, ...] < 0.5) & seen

        def leaves_some(proposed: Array) -> Array:
            return xp.any(proposed, axis=-1) & xp.any(seen & ~proposed, axis=-1)

        clean = first_valid(backend, proposals, leaves_some, xp.zeros_like(seen))
        clean = clean & (noise.condition[0, ...][..., :1] < self.p_conditional)
        return BlockRoles(seen & ~clean, clean)

    def losses(
        self, backend: Backend, blocks: Blocks, net: Net, z: Array, roles: BlockRoles, noise: MultiTimeNoise
    ) -> Array:
        """The loss of each coordinate ``(*, D)``: exactly 0 where it is not diffused.

        Arguments:
            backend: The backend of the arrays.
            blocks: The blocks of the latents.
            net: The network: ``(*, D + M)``, blocks and times, to ``(*, D)``.
            z: Clean latents, ``(*, D)``.
            roles: What each block is.
            noise: What :meth:`draw` gives.
        """
        xp = backend.xp
        # 1. A time for each block, or one for all, with its weight.
        uniform = noise.time if self.independent else noise.time[..., :1] + xp.zeros_like(noise.time)
        times, weights = draw_times(self.sde, uniform, self.time_sampling, self.first)
        weights = weights + xp.zeros_like(times)
        # 2. Diffuse the diffused blocks; conditions stay clean.
        free, wide = blocks.spread(roles.diffused), blocks.spread(times)
        noisy = xp.where(free, self.sde.diffuse(z, wide, noise.noise), z)

        def predict(z: Array) -> Array:
            return self.noise(backend, blocks, net, roles, z, times)

        # 3. The error of the noise, or of what is predicted in its place.
        if noise.along is not None:
            error = _implicit(backend, predict, noisy, self.sde.scale(wide), free, noise.along)
        else:
            error = (noise.noise - predict(noisy)) ** 2
            if self.time_sampling in ("uniform", "cosine") and self.predict != "noise":
                error = error / self._parts(wide)[1] ** 2
        # 4. Weigh it by time, and by D / |A|: each datum counts alike, however much of it is diffused.
        error = blocks.spread(weights) * error
        sizes = backend.asarray([float(size) for size in blocks.sizes], like=z)
        number = xp.sum(xp.where(roles.diffused, sizes, xp.zeros_like(sizes)), axis=-1)
        factor = blocks.dim / xp.where(number > 0, number, xp.ones_like(number))
        return xp.where(free, factor[..., None] * error, xp.zeros_like(error))

    def noise(self, backend: Backend, blocks: Blocks, net: Net, roles: BlockRoles, z: Array, times: Array) -> Array:
        r"""The noise predicted, :math:`\hat\epsilon`, ``(*, D)``; it means something where blocks are diffused.

        Arguments:
            backend: The backend of the arrays.
            blocks: The blocks.
            net: The network.
            roles: What each block is.
            z: Latents with diffused and clean blocks, ``(*, D)``.
            times: Times of diffused blocks, broadcasting against ``(*, M)``.
        """
        xp = backend.xp
        wide = blocks.spread(xp.broadcast_to(times, (*z.shape[:-1], len(blocks))))
        own, gain, unit = self._parts(wide)
        # The network sees unit scale at every time, also where the diffusion explodes; as published, what there is.
        seen = z if self.predict == "noise" else xp.where(blocks.spread(roles.diffused), unit * z, z)
        out = net(network_input(backend, blocks, roles, seen, times, clean=self.first if self.independent else 0.0))
        if tuple(out.shape) != tuple(z.shape):
            raise OptionError(
                f"Expected the score's network to give {tuple(z.shape)} for latents of dimension {blocks.dim}; got "
                f"{tuple(out.shape)}. Build it for the sizes {blocks.sizes}."
            )
        if self.predict == "noise":
            return out
        return own * z + gain * out

    def _parts(self, t: Array) -> tuple[Array, Array, Array]:
        """The factors of z and of what is predicted in the noise, and the one that gives z unit scale."""
        factor, scale = self.sde.mean_factor(t), self.sde.scale(t)
        unit = (factor**2 + scale**2) ** -0.5
        if self.predict == "data":
            return 1.0 / scale, -factor / scale, unit
        return scale * unit**2, factor * unit, unit

    def bound(self, backend: Backend, blocks: Blocks, net: Net, z: Array, present: Array, noise: Any) -> Array:
        r"""Minus the loss of each datum, ``(*,)``.

        Under the schemes of the likelihood, with both probabilities 0 and every block present, its mean is a lower
        bound of :math:`\log p(z)`, up to the diffusion before ``first``.
        """
        xp = backend.xp
        roles = self.roles(backend, noise, xp.broadcast_to(present, noise.time.shape))
        total = -xp.sum(self.losses(backend, blocks, net, z, roles, noise), axis=-1)
        if self.time_sampling == "uniform":
            return total
        scale = float(self.sde.scale(np.asarray(self.first)))
        return total - 0.5 * blocks.dim * math.log(2.0 * math.pi * math.e * scale**2)


def _implicit(
    backend: Backend, predict: Callable[[Array], Array], z: Array, scale: Array, free: Array, along: Array
) -> Array:
    """Implicit (Hyvarinen) score-matching loss: the mean of the squared error of the noise, without the noise."""
    xp = backend.xp

    def add(total: Array, v: Array) -> tuple[Array, Array]:
        v = xp.where(free, v + xp.zeros_like(z), xp.zeros_like(z))
        return total + v * backend.vjp(predict, z, v)[1], total

    divergence, _ = backend.scan(add, xp.zeros_like(z), along)
    return predict(z) ** 2 - 2.0 * scale * divergence / along.shape[0] + 1.0


def network_input(
    backend: Backend, blocks: Blocks, roles: BlockRoles, z: Array, times: Array, clean: float = 0.0
) -> Array:
    """The network's input ``(*, D + M)``: blocks as they are, absent ones hidden, with the time of each behind.

    Arguments:
        backend: The backend of the arrays.
        blocks: The blocks.
        roles: What each block is.
        z: Latents with diffused and clean blocks, ``(*, D)``.
        times: Times of diffused blocks, broadcasting against ``(*, M)``.
        clean: The time of clean blocks; with independent times no block was ever quite clean in training.
    """
    xp = backend.xp
    there = blocks.spread(roles.diffused | roles.clean)
    zero = xp.zeros_like(times)
    codes = xp.where(roles.diffused, times, xp.where(roles.clean, zero + clean, zero - 1.0))
    values = xp.where(there, z, xp.zeros_like(z))
    codes = xp.broadcast_to(codes, (*values.shape[:-1], codes.shape[-1]))
    return xp.concat([values, codes], axis=-1)
