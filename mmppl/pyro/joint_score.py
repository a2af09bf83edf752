"""The joint score as a Pyro distribution."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints

from mmppl._backend.torch import BACKEND
from mmppl.display import Shown
from mmppl.nets.bound import BoundNet
from mmppl.priors.blocks import Blocks
from mmppl.priors.condition import Condition
from mmppl.priors.coordinates import Coordinates, Standardization, Whitening
from mmppl.priors.multi_task.evidence import EvidenceTerms
from mmppl.priors.multi_task.model import MultiTaskModel
from mmppl.priors.score.base import JointModel
from mmppl.priors.score.model import ScoreModel
from mmppl.priors.score.prior import DiffusionPrior, MultiTaskPrior, ScorePrior

__all__ = ["Diffusion", "JointScore", "MultiTask"]


class JointScore(Shown, ScorePrior, TorchDistribution):
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

    def _conditioned(self, known: Condition, model: JointModel) -> "JointScore":
        new = copy.copy(self)
        new.model, new.known = model, known
        new._batch_shape = torch.broadcast_shapes(known.loc.shape[:-1], known.roles.clean.shape[:-1])
        return new

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        if self.density == "denoising":
            return self.model.bound(None, self._query(self.net), value)
        if self.density == "bound":
            return self.model.lower_bound(None, self._query(self.net), value)
        return self._log_density(value, False)[0]

    def log_density(self, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The log density by the probability flow, and its error, ``(*,)`` each.

        The error is that of the probes of the divergence, and of the integrator by a second run at ten times the
        tolerances.
        """
        return self._log_density(value, True)

    def _log_density(self, value: torch.Tensor, check: bool) -> tuple[torch.Tensor, torch.Tensor]:
        self._check_roles()
        return self.model.log_density(self._query(self._frozen), value, check)

    def _frozen(self, x: torch.Tensor) -> torch.Tensor:
        """The network without a gradient to its weights."""
        if not isinstance(self.net, torch.nn.Module):
            return self.net(x)
        detached = {name: p.detach() for name, p in self.net.named_parameters()}
        return torch.func.functional_call(self.net, detached, (x,))

    def sample(self, sample_shape: tuple[int, ...] = ()) -> torch.Tensor:
        return self._draw(sample_shape)[0]

    def stand_in(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Zeros, where any value of the support serves: no solver is run."""
        loc = self.coordinates.loc
        return loc.new_zeros((*shape, *self.event_shape))

    def _draw(self, sample_shape: tuple[int, ...] = ()) -> tuple[torch.Tensor, Any]:
        with torch.no_grad():
            return self.model.sample(None, self._query(self.net, tuple(sample_shape), self.energy))


class Diffusion(DiffusionPrior, JointScore):
    __doc__ = DiffusionPrior.__doc__

    def __init__(self, net: Any, dim: int | ScoreModel, **options: Any):
        super().__init__(net, self.one_block(dim), **options)


class MultiTask(MultiTaskPrior, JointScore):
    __doc__ = MultiTaskPrior.__doc__

    def __init__(self, net: Any, blocks: Mapping[str, int] | MultiTaskModel, **options: Any):
        super().__init__(net, self.multi_task(blocks), **options)

    def evidence(self, value: torch.Tensor, num: int = 8) -> tuple[EvidenceTerms, torch.Tensor]:
        """Terms of the bound on the log density of each datum, and the standard error of the bound, ``(*,)`` each.

        Arguments:
            value: ``(*, D)``.
            num: Number of draws of the noise, each with all steps of the ancestral solver.

        Raises:
            OptionError: If there are fewer than two draws.
        """
        with torch.no_grad():
            return self.model.evidence(  # type: ignore[attr-defined]
                None, self._query(self.net), value, num
            )


def _real(x: Any) -> torch.Tensor:
    x = torch.as_tensor(x).detach()
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())
