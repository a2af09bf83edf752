"""The joint score as a Pyro distribution."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints

from mmppl._backend.torch import BACKEND
from mmppl.errors import OptionError
from mmppl.nets.bound import BoundNet
from mmppl.priors.blocks import Blocks
from mmppl.priors.condition import Condition
from mmppl.priors.coordinates import Coordinates, Standardization, Whitening
from mmppl.priors.multi_task.model import MultiTaskModel
from mmppl.priors.multi_task.shared_space import SharedSpace
from mmppl.priors.score.base import JointModel
from mmppl.priors.score.model import ScoreModel
from mmppl.priors.score.prior import ScorePrior

__all__ = ["Diffusion", "JointScore", "MultiTask"]


class JointScore(ScorePrior, TorchDistribution):
    __doc__ = ScorePrior.__doc__
    backend = BACKEND

    arg_constraints: dict = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self,
        net: Any,
        blocks: Mapping[str, int] | JointModel,
        *,
        loc: Any = 0.0,
        scale: Any = 1.0,
        coordinates: Coordinates | None = None,
        energy: Any = None,
        density: str = "flow",
        validate_args: bool | None = None,
    ):
        self.model = blocks if isinstance(blocks, JointModel) else ScoreModel(Blocks.of(blocks))
        self.net = net.module if isinstance(net, BoundNet) else net
        self.energy, self.density, self.known = energy, density, None
        width = (self.model.blocks.dim,)
        self.check(self.model, density, coordinates)
        if coordinates is None:
            coordinates = Standardization(*(_real(x).expand(width) for x in (loc, scale)))
        elif isinstance(coordinates, Whitening):
            coordinates = Whitening(*(_real(x) for x in coordinates))
        self.coordinates = coordinates
        super().__init__(torch.Size(), torch.Size(width), validate_args=validate_args)

    def _given(self, known: Condition, model: JointModel) -> "JointScore":
        new = copy.copy(self)
        new.model, new.known = model, known
        new._batch_shape = torch.broadcast_shapes(known.loc.shape[:-1], known.states.clean.shape[:-1])
        return new

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        if self.density == "denoising":
            return self.model.bound(None, self._query(self.net), value)
        return self._log_density(value, False)[0]

    def log_density(self, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The log density by the probability flow, and its error, ``(*,)`` each.

        The error is that of the probes of the divergence, and of the integrator by a second run at ten times the
        tolerances.
        """
        return self._log_density(value, True)

    def _log_density(self, value: torch.Tensor, check: bool) -> tuple[torch.Tensor, torch.Tensor]:
        self._check_states()
        return self.model.log_density(self._query(self._frozen), value, check)

    def _frozen(self, x: torch.Tensor) -> torch.Tensor:
        """The network without a gradient to its weights."""
        if not isinstance(self.net, torch.nn.Module):
            return self.net(x)
        still = {name: p.detach() for name, p in self.net.named_parameters()}
        return torch.func.functional_call(self.net, still, (x,))

    def sample(self, sample_shape: tuple[int, ...] = ()) -> torch.Tensor:
        return self._draw(sample_shape)[0]

    def _draw(self, sample_shape: tuple[int, ...] = ()) -> tuple[torch.Tensor, Any]:
        with torch.no_grad():
            return self.model.sample(None, self._query(self.net, tuple(sample_shape), self.energy))


class Diffusion(JointScore):
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

    Example:
        >>> Diffusion(lambda x: 0.0 * x[..., :2], 2).event_shape
        torch.Size([2])
    """

    def __init__(self, net: Any, dim: int | ScoreModel, **options: Any):
        model = dim if isinstance(dim, ScoreModel) else ScoreModel(Blocks.of({"z": dim}))
        if len(model.blocks) != 1:
            raise OptionError(f"Expected one block; got {list(model.blocks.names)}. Use JointScore for several.")
        super().__init__(net, model, **options)


class MultiTask(JointScore):
    r"""MT-Diffusion: one block is diffused, the others join it on the way and are read off it by heads.

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

    Example:
        >>> MultiTask(lambda x: 0.0 * x[..., [0] * 6], {"ink": 2, "word": 1}).event_shape
        torch.Size([3])
    """

    def __init__(self, net: Any, blocks: Mapping[str, int] | MultiTaskModel, **options: Any):
        model = blocks if isinstance(blocks, MultiTaskModel) else MultiTaskModel(SharedSpace(Blocks.of(blocks)))
        super().__init__(net, model, **options)


def _real(x: Any) -> torch.Tensor:
    x = torch.as_tensor(x).detach()
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())
