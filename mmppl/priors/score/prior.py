"""Conditionals and marginals of a joint score, on either host."""

from collections.abc import Mapping
from typing import Any

from mmppl._backend import Backend
from mmppl.errors import OptionError
from mmppl.priors.blocks import Blocks
from mmppl.priors.condition import BlockRoles, Condition, Query, parse_condition
from mmppl.priors.coordinates import Coordinates
from mmppl.priors.multi_task.model import MultiTaskModel
from mmppl.priors.multi_task.shared_space import SharedSpace
from mmppl.priors.score.base import JointModel, Overrides
from mmppl.priors.score.model import ScoreModel
from mmppl.priors.score.smc import TwistedSMC
from mmppl.sde.solvers import Solver

Array = Any

__all__ = ["DiffusionPrior", "MultiTaskPrior", "ScorePrior"]

DENSITIES = ("flow", "denoising", "bound")


class ScorePrior:
    r"""A density of the latents of all modalities, side by side, by one score for every subset of them.

    .. math:: s(z_\tau, \tau) = -\hat\epsilon(z_\tau, \tau) / \sigma(t) \approx \nabla \log p(z_{A, t} \mid z_C)

    with a time for each block: t for the blocks A that are diffused, 0 for conditions C, -1 for absent ones.
    ``log_prob`` says what it is: with ``density="flow"`` the log density by the probability flow, deterministic, so
    that NUTS and MALA may use it; with ``density="denoising"`` the random denoising bound whose gradient learns the
    network. Use the latter in the model that is trained.

    References:
        | Multi-modal Latent Diffusion (Bounoua et al., 2024), https://arxiv.org/abs/2306.04445

    Arguments:
        net: Blocks and their times ``(*, D + M)`` to ``(*, D)``, see :mod:`mmppl.nets.scores`: the velocity, or the
            noise :math:`\hat\epsilon` itself where :class:`~mmppl.priors.MultiTimeScoreMatching` says so.
        blocks: Dimensions by name of block, or a :class:`~mmppl.priors.ScoreModel` that says besides how it is
            learned, solved and conditioned.
        loc: Mean of the latents, ``(D,)``, for standardisation.
        scale: Their standard deviation, ``(D,)``.
        coordinates: Other coordinates in place of ``loc`` and ``scale``, with the network confined to those kept there;
            see :class:`~mmppl.priors.Whitening`. It takes a network of the velocity.
        energy: The network of the pairwise guidance that ``blocks`` asks for, or one for each pair by name.
        density: ``"flow"`` or ``"denoising"``; or ``"bound"``, of a :class:`~mmppl.priors.MultiTaskModel`, the random
            lower bound of its terms.
        rng_key: On NumPyro, a key for the denoising bound; taken from the enclosing ``seed`` handler by default.

    Raises:
        OptionError: If the density is unknown, or a whitening is given with a network of the noise.
    """

    integrates = True  # its log density may be an integration; see :class:`~mmppl.sites.Site`
    backend: Backend
    model: JointModel
    coordinates: Coordinates
    known: Condition | None
    batch_shape: Any

    def _conditioned(self, known: Condition, model: JointModel) -> Any:
        """A distribution of this network under a condition, by a model."""
        raise NotImplementedError

    @staticmethod
    def check(model: JointModel, density: str, coordinates: Coordinates | None) -> None:
        """Raises :class:`OptionError` unless these fit together."""
        if density not in DENSITIES:
            raise OptionError(f"Expected a density among {DENSITIES}; got {density!r}.")
        model.check(coordinates)

    def _draw(self, *args: Any) -> tuple[Array, Any]:
        """Draws, and the effective numbers of particles where there are any."""
        raise NotImplementedError

    def _query(self, net: Any, sample_shape: tuple[int, ...] = (), energy: Any = None) -> Query:
        """The query that this distribution is, of the network ``net``; of a joint density, without a condition."""
        xp, blocks = self.backend.xp, self.model.blocks
        shape = (*sample_shape, *self.batch_shape)
        if self.known is None:
            loc = xp.zeros_like(xp.broadcast_to(self.coordinates.loc, (*shape, blocks.dim)))
            everything = xp.broadcast_to(xp.isfinite(loc[..., :1]), (*shape, len(blocks)))
            known = Condition(loc, None, BlockRoles(everything, ~everything))
        else:
            loc, scale, roles = self.known
            wide = None if scale is None else xp.broadcast_to(scale, (*shape, blocks.dim))
            roles = BlockRoles(*(xp.broadcast_to(x, (*shape, len(blocks))) for x in roles))
            known = Condition(xp.broadcast_to(loc, (*shape, blocks.dim)), wide, roles)
        return Query(self.backend, net, known, self.coordinates, energy)

    def _check_roles(self) -> None:
        """Raises :class:`OptionError` if some row of a conditional has no density."""
        if self.known is not None:
            self.model.check_roles(self.backend, self.known.roles)

    def sample_with_size(self, *args: Any) -> tuple[Array, Array]:
        """Draws of a conditional by particles, and the smallest effective number of them on the way of each.

        Arguments:
            args: Those of ``sample``: on NumPyro a key first, and the sample shape.

        Raises:
            OptionError: If there are no particles.
        """
        if self.model.particles is None:
            raise OptionError("Expected a conditional with particles; got none. Call conditional(..., particles=P).")
        return self._draw(*args)

    def conditional(
        self,
        values: Mapping[str, Any],
        present: Mapping[str, Array] | None = None,
        *,
        want: tuple[str, ...] | None = None,
        guidance: float | None = None,
        solver: Solver | None = None,
        particles: int | TwistedSMC | None = None,
    ) -> Any:
        """The distribution of all blocks given some: known ones come back as they are.

        Arguments:
            values: Known blocks ``(*, size)``, or pairs of location and scale that they are drawn from.
            present: Where each is known, ``(*,)``; everywhere by default. Any pattern in any row.
            want: Blocks to generate; None for all. Others are neither used nor made, and come back at their mean.
            guidance: Strength of guidance, if not the prior's.
            solver: The solver, if not the prior's.
            particles: Number of particles for draws that become exact as it grows, from a score that knows the joint
                density; see :class:`~mmppl.priors.TwistedSMC`.

        Raises:
            ModalityError: If a block is unknown or has another dimension.
            OptionError: If nothing is given.
            DataError: If a value is not finite where it is present.
        """
        known = parse_condition(self.backend, self.model.blocks, values, present, want)
        everywhere = {name: not present or name not in present for name in values}
        return self._conditioned(known, self.model.guided(Overrides(guidance, solver, particles), everywhere))

    def marginal(self, present: Mapping[str, Array]) -> Any:
        """The distribution of the blocks that are present in each row, without the others.

        Arguments:
            present: Boolean ``(*,)`` for every block.
        """
        there = self.model.blocks.stack(present)
        xp = self.backend.xp
        loc = xp.zeros_like(xp.broadcast_to(self.coordinates.loc, (*there.shape[:-1], self.model.blocks.dim)))
        return self._conditioned(Condition(loc, None, BlockRoles(there, xp.zeros_like(there))), self.model)


class DiffusionPrior(ScorePrior):
    r"""A diffusion prior on one latent: :class:`JointScore` with a single block.

    With ``density="denoising"`` and :class:`~mmppl.priors.MultiTimeScoreMatching` with ``time_sampling="importance"``
    its random log density is a bound, so that encoders and prior may be learned together.

    References:
        | Score-based Generative Modeling in Latent Space (Vahdat et al., 2021), theorem 1
        | https://arxiv.org/abs/2106.05931

    Arguments:
        net: The network, ``(*, D + 1)``, latent and time, to ``(*, D)``.
        dim: D, or a :class:`~mmppl.priors.ScoreModel` with one block.
        options: Those of :class:`JointScore`.

    Raises:
        OptionError: If there is more than one block.
    """

    @staticmethod
    def one_block(dim: int | ScoreModel) -> ScoreModel:
        """The model; raises :class:`OptionError` if it has several blocks."""
        model = dim if isinstance(dim, ScoreModel) else ScoreModel(Blocks.of({"z": dim}))
        if len(model.blocks) != 1:
            raise OptionError(f"Expected one block; got {list(model.blocks.names)}. Use JointScore for several.")
        return model


class MultiTaskPrior(ScorePrior):
    r"""MT-Diffusion: one block is diffused, or several are as one, the others join it and are read off it by heads.

    .. math:: p(z_0, x) = p(z_0) \prod_i p(x_i \mid z_0, x_{<i}), \qquad
        z_t = a(t) z_0 + \sum_i \tilde a(t) E_i x_i + \sigma(t) \epsilon

    It is conditioned, sampled and scored as :class:`JointScore` is; see :class:`~mmppl.priors.MultiTaskModel`.
    Experimental.

    References:
        | Diffusion Models For Multi-Modal Generative Modeling (Chen et al., 2024)
        | https://openreview.net/forum?id=cbv0sBIZh9

    Arguments:
        net: Blocks and their codes ``(*, D + M)`` to ``(*, 2 D)``, as
            ``mmppl.nets.ResidualScore(sizes, outputs=2 * D)``.
        blocks: Dimensions by name of block, the first of which diffuses, or a
            :class:`~mmppl.priors.MultiTaskModel`, which says besides how it is learned, solved and conditioned.
        options: Those of :class:`JointScore`.

    Raises:
        OptionError: If there is one block alone.
    """

    @staticmethod
    def multi_task(blocks: Mapping[str, int] | MultiTaskModel) -> MultiTaskModel:
        """The model, also from dimensions by name of block."""
        return blocks if isinstance(blocks, MultiTaskModel) else MultiTaskModel(SharedSpace(Blocks.of(blocks)))
