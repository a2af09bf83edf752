"""The joint score as a Pyro distribution."""

from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints

from mmppl._backend.torch import BACKEND
from mmppl.errors import OptionError
from mmppl.nets.bound import BoundNet
from mmppl.priors.blocks import Blocks
from mmppl.priors.joint_score import DENSITIES, Known, ScoreModel, gather
from mmppl.priors.multi_time import States
from mmppl.priors.twisted import Particles
from mmppl.sde.solvers import Solver

__all__ = ["Diffusion", "JointScore"]


class JointScore(TorchDistribution):
    r"""A density of the latents of all modalities, side by side, by one score for every subset of them.

    .. math:: s(z_\tau, \tau) = -\hat\epsilon(z_\tau, \tau) / \sigma(t) \approx \nabla \log p(z_{A, t} \mid z_C)

    with a time for each block: t for the blocks A that are diffused, 0 for conditions C, -1 for absent ones.
    ``log_prob`` says what it is: with ``density="flow"`` the log density by the probability flow, deterministic, so
    that NUTS and MALA may use it; with ``density="denoising"`` the random denoising bound whose gradient learns the
    network. Use the latter in the model that is trained.

    References:
        | Multi-modal Latent Diffusion (Bounoua et al., 2024), https://arxiv.org/abs/2306.04445

    Arguments:
        net: The noise predicted, :math:`\hat\epsilon`: blocks and their times ``(*, D + M)`` to ``(*, D)``; see
            :mod:`mmppl.nets.scores`.
        blocks: Dimensions by name of block, or a :class:`~mmppl.priors.ScoreModel` that says besides how it is
            learned, solved and conditioned.
        loc: Mean of the latents, ``(D,)``, for standardisation.
        scale: Their standard deviation, ``(D,)``.
        energy: The network of the pairwise guidance that ``blocks`` asks for, or one for each pair by name.
        density: ``"flow"`` or ``"denoising"``.

    Raises:
        OptionError: If the density is unknown.

    Example:
        >>> import torch
        >>> prior = JointScore(lambda x: 0.5 * x[..., :3], {"ink": 2, "word": 1})
        >>> given = prior.conditional({"word": torch.ones(4, 1)})
        >>> z = given.sample()
        >>> z.shape, bool((z[:, 2] == 1.0).all())
        (torch.Size([4, 3]), True)
    """

    arg_constraints: dict = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self,
        net: Any,
        blocks: Mapping[str, int] | ScoreModel,
        *,
        loc: Any = 0.0,
        scale: Any = 1.0,
        energy: Any = None,
        density: str = "flow",
        known: Known | None = None,
        validate_args: bool | None = None,
    ):
        if density not in DENSITIES:
            raise OptionError(f"Expected a density among {DENSITIES}; got {density!r}.")
        self.options = blocks if isinstance(blocks, ScoreModel) else ScoreModel(Blocks.of(blocks))
        self.net = net.module if isinstance(net, BoundNet) else net
        self.energy, self.density, self.known = energy, density, known
        width = (self.options.blocks.dim,)
        self.loc, self.scale = (torch.as_tensor(x).detach().expand(width) for x in (loc, scale))
        if not self.loc.is_floating_point():
            self.loc = self.loc.to(torch.get_default_dtype())
        shape = ()
        if known is not None:
            shape = torch.broadcast_shapes(known.loc.shape[:-1], known.states.clean.shape[:-1])
        super().__init__(torch.Size(shape), torch.Size(width), validate_args=validate_args)

    def _given(self, known: Known, options: ScoreModel) -> "JointScore":
        return type(self)(
            self.net,
            options,
            loc=self.loc,
            scale=self.scale,
            energy=self.energy,
            density=self.density,
            known=known,
            validate_args=self._validate_args,
        )

    def conditional(
        self,
        values: Mapping[str, Any],
        present: Mapping[str, torch.Tensor] | None = None,
        *,
        want: tuple[str, ...] | None = None,
        guidance: float | None = None,
        solver: Solver | None = None,
        particles: int | Particles | None = None,
    ) -> "JointScore":
        """The distribution of all blocks given some: known ones come back as they are.

        Arguments:
            values: Known blocks ``(*, size)``, or pairs of location and scale that they are drawn from.
            present: Where each is known, ``(*,)``; everywhere by default. Any pattern in any row.
            want: Blocks to generate; None for all. Others are neither used nor made, and come back at their mean.
            guidance: Strength of guidance, if not the prior's.
            solver: The solver, if not the prior's.
            particles: Number of particles for draws that become exact as it grows, from a score that knows the joint
                density; see :class:`~mmppl.priors.Particles`.

        Raises:
            ModalityError: If a block is unknown or has another dimension.
            OptionError: If nothing is given.
            DataError: If a value is not finite where it is present.
        """
        known = gather(BACKEND, self.options.blocks, values, present, want)
        return self._given(known, self.options.guided(guidance, solver, particles))

    def marginal(self, present: Mapping[str, torch.Tensor]) -> "JointScore":
        """The distribution of the blocks that are present in each row, without the others.

        Arguments:
            present: Boolean ``(*,)`` for every block.
        """
        there = self.options.blocks.stack(present)
        loc = self.loc.new_zeros((*there.shape[:-1], self.options.blocks.dim))
        return self._given(Known(loc, None, States(there, torch.zeros_like(there))), self.options)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        if self.density == "denoising":
            states = self._known(()).states
            present = states.diffused | states.clean
            return self.options.bound(BACKEND, None, self.net, value, present, self.loc, self.scale)
        return self.log_density(value)[0]

    def log_density(self, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The log density by the probability flow, and the standard error of its probes, ``(*,)`` each."""
        return self.options.log_density(BACKEND, self._frozen, value, self._known(()), self.loc, self.scale)

    def _frozen(self, x: torch.Tensor) -> torch.Tensor:
        """The network without a gradient to its weights."""
        if not isinstance(self.net, torch.nn.Module):
            return self.net(x)
        still = {name: p.detach() for name, p in self.net.named_parameters()}
        return torch.func.functional_call(self.net, still, (x,))

    def sample(self, sample_shape: tuple[int, ...] = ()) -> torch.Tensor:
        return self._draw(sample_shape)[0]

    def sample_with_size(self, sample_shape: tuple[int, ...] = ()) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws of a conditional by particles, and the smallest effective number of them on the way of each.

        Raises:
            OptionError: If there are no particles.
        """
        if self.options.particles is None:
            raise OptionError("Expected a conditional with particles; got none. Call conditional(..., particles=P).")
        return self._draw(sample_shape)

    def _draw(self, sample_shape: tuple[int, ...]) -> tuple[torch.Tensor, Any]:
        with torch.no_grad():
            known = self._known(tuple(sample_shape))
            return self.options.sample(BACKEND, None, self.net, known, self.loc, self.scale, self.energy)

    def _known(self, sample_shape: tuple[int, ...]) -> Known:
        """What is known, with leading axes; of a joint density, nothing."""
        shape = (*sample_shape, *self.batch_shape)
        number, dim = len(self.options.blocks), self.options.blocks.dim
        if self.known is None:
            everything = torch.ones((*shape, number), dtype=torch.bool, device=self.loc.device)
            return Known(self.loc.new_zeros((*shape, dim)), None, States(everything, ~everything))
        loc, scale, states = self.known
        wide = None if scale is None else scale.expand((*shape, dim))
        return Known(loc.expand((*shape, dim)), wide, States(*(x.expand((*shape, number)) for x in states)))


class Diffusion(JointScore):
    r"""A diffusion prior on one latent: :class:`JointScore` with a single block.

    With ``density="denoising"`` and a :class:`~mmppl.priors.MultiTime` of scheme ``"importance"`` its random log
    density is a bound, so that encoders and prior may be learned together.

    References:
        | Score-based Generative Modeling in Latent Space (Vahdat et al., 2021), theorem 1
        | https://arxiv.org/abs/2106.05931

    Arguments:
        net: The network, ``(*, D + 1)``, latent and time, to ``(*, D)``.
        dim: D, or a :class:`~mmppl.priors.ScoreModel` with one block.
        options: Those of :class:`JointScore`.

    Raises:
        OptionError: If there is more than one block.

    Example:
        >>> Diffusion(lambda x: 0.0 * x[..., :2], 2).event_shape
        torch.Size([2])
    """

    def __init__(self, net: Any, dim: int | ScoreModel, **options: Any):
        model = dim if isinstance(dim, ScoreModel) else ScoreModel(Blocks.of({"z": dim}))
        if len(model.blocks) != 1:
            raise OptionError(f"Expected one block; got {list(model.blocks.names)}. Use JointScore for several.")
        super().__init__(net, model, **options)
