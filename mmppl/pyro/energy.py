"""The energy-tilted prior as a Pyro distribution."""

import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch.distributions import biject_to, constraints

from mmppl._backend.torch import BACKEND
from mmppl.display import Shown
from mmppl.errors import OptionError
from mmppl.nets.bound import BoundNet
from mmppl.priors.energy.chain_bias import ChainBias, chain_bias
from mmppl.priors.energy.chains import LangevinChains
from mmppl.priors.energy.normalizer import LogNormalizer, annealed_importance_sampling, summarise
from mmppl.priors.energy.real_line import check_continuous, on_real_line
from mmppl.priors.energy.tilted import contrastive_zero
from mmppl.pyro.dependencies import Dependencies, beyond

__all__ = ["EnergyTilted"]

# Earlier versions of torch give the support of the components.
OF_MIXTURES: Any = getattr(constraints, "MixtureSameFamilyConstraint", ())


class EnergyTilted(Shown, TorchDistribution):
    r"""A base distribution tilted by a learnable energy.

    .. math:: p_\alpha(z) = \frac{1}{Z(\alpha)} \exp(f_\alpha(z))\, p_0(z)

    ``log_prob`` is deterministic, :math:`f + \log p_0 - \log Z` with the given ``log_z`` (0 if it is not known), so
    NUTS and MALA may use it. Its gradient with respect to parameters carries :math:`-\nabla \log Z`, estimated in
    the backward pass from Langevin chains whose number ``chains`` sets; nothing is sampled unless the parameters ask
    for a gradient. Those are all that the base and the energy rest on, wherever they are kept: in a list of
    transforms, in a module, or in the closure of a function. Without an energy it is the base, bit for bit.
    Chains of a base with bounds run on the real line, by the host's map to its support, so that bounds may be learned.

    References:
        | Learning Multimodal Latent Generative Models with Energy-Based Prior (Yuan et al., 2024)
        | https://arxiv.org/abs/2409.19862

    Arguments:
        base: :math:`p_0`, with event shape ``(D,)`` and no batch shape.
        energy: f, maps ``(*, D)`` to ``(*,)``: what ``mm.net`` returns, an ``nn.Module``, a function, or None.
        chains: How negatives and samples are drawn. A buffer is kept in the module, as a torch buffer.
        log_z: log Z in nats, where it is known.
        kept: 1 for coordinates that the energy sees, else 0, ``(D,)``; None for all. The others are as in the base.

    Raises:
        OptionError: If the base has a batch shape, is discrete or is not a vector, or a function is to keep a buffer;
            in ``log_prob``, under ``torch.func`` with parameters that require gradients; in the backward pass, if
            parameters take part at the chains that took none at the value.

    Example:
        >>> import torch, pyro.distributions as dist
        >>> base = dist.Laplace(torch.zeros(2), 1.0).to_event(1)
        >>> prior = EnergyTilted(base, lambda z: -torch.sum(z**2, -1))
        >>> bool(prior.log_prob(torch.ones(2)) == base.log_prob(torch.ones(2)) - 2.0)
        True
    """

    arg_constraints: dict = {}
    has_rsample = False

    def __init__(
        self,
        base: TorchDistribution,
        energy: Any = None,
        chains: LangevinChains | None = None,
        *,
        log_z: Any = 0.0,
        kept: Any = None,
        validate_args: bool | None = None,
    ):
        if base.batch_shape or len(base.event_shape) != 1:
            raise OptionError(
                f"Expected a base with batch shape () and event shape (D,); got {tuple(base.batch_shape)} and "
                f"{tuple(base.event_shape)}. Use .to_event(1)."
            )
        check_continuous(base)
        self.base, self.log_z = base, log_z
        self.kept = None if kept is None else torch.as_tensor(kept).detach()
        self.chains = LangevinChains() if chains is None else chains
        self.module = energy.module if isinstance(energy, BoundNet) else energy
        if self.chains.buffer and energy is not None and not isinstance(self.module, torch.nn.Module):
            raise OptionError("A buffer of chains needs an energy that is an nn.Module; got a function.")
        super().__init__(torch.Size(), base.event_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        return self.base.support

    @property
    def tilted(self) -> bool:
        """Tells whether there is an energy; without one this is the base."""
        return self.module is not None

    def energy(self, value: torch.Tensor) -> torch.Tensor:
        """The energy f at ``value``, ``(*, D)`` to ``(*,)``; zero without an energy."""
        if self.module is None:
            return value.new_zeros(value.shape[:-1])
        return self.module(value if self.kept is None else self.kept * value)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        if self.module is None:
            return self.base.log_prob(value)
        if not torch.is_grad_enabled():
            return self._log_density(value) - self.log_z
        with Dependencies() as watch:
            # Under a name of its own, the value is told from a parameter that is the same tensor.
            own = value.view_as(value) if value.requires_grad else value
            log_density = self._log_density(own)
        params = self._with_weights(watch.of(log_density, apart_from=own))
        zero = contrastive_zero(BACKEND, self._log_density_of, params, lambda *_: self._negatives(), ())
        return log_density - self.log_z + zero

    def sample(self, sample_shape: tuple[int, ...] = ()) -> torch.Tensor:
        """Draws by Metropolis-adjusted Langevin chains from the base, one chain for each draw."""
        with torch.no_grad():
            if self.module is None:
                return self.base.sample(sample_shape)
            line, there = on_real_line(self.base, dist, _to_support)
            start, steps = line.sample((math.prod(sample_shape),)), self.chains.draw_steps
            draws = there(self.chains.run(BACKEND, None, self._line_density, start, steps, adjusted=True)[0])
            return draws.reshape(*sample_shape, *self.event_shape)

    def stand_in(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Draws of the base, where any value of the support serves: no chain is run."""
        return self.base.sample(shape)

    def log_normalizer(self, num_chains: int = 1000, num_temperatures: int = 300) -> LogNormalizer:
        """Log Z with its standard error, by annealed importance sampling from the base.

        Arguments:
            num_chains: Number of weights.
            num_temperatures: Steps from the base to the tilted density.
        """
        if self.module is None:
            return LogNormalizer(0.0, 0.0, float(num_chains))
        with torch.no_grad():
            line, there = on_real_line(self.base, dist, _to_support)
            start = line.sample((num_chains,))
            noise = BACKEND.normal(None, (num_temperatures, *start.shape), start)
            uniform = BACKEND.uniform(None, (num_temperatures, num_chains), start)
            energy = lambda y: self.energy(there(y))  # noqa: E731
            args = (line.log_prob, energy, start, noise, uniform, self.chains.step_size, self.chains.clip)
            return summarise(BACKEND.to_numpy(annealed_importance_sampling(BACKEND, *args)))

    def chain_bias(self, num_chains: int = 4000) -> ChainBias:
        """Bias of short-run chains, run as for a gradient: see :class:`~mmppl.priors.ChainBias`.

        Arguments:
            num_chains: Number of chains.

        Raises:
            OptionError: If chains are kept in a buffer.
        """
        self.chains.check_short_run()
        if self.module is None:
            return ChainBias(0.0, 0.0, 0.0, float(num_chains))
        with torch.no_grad():
            line, there = on_real_line(self.base, dist, _to_support)
            start = line.sample((num_chains,))
            end, _ = self.chains.run(BACKEND, None, self._line_density, start)
            return chain_bias(*(BACKEND.to_numpy(self.energy(there(y))) for y in (start, end)))

    def _log_density(self, z: torch.Tensor) -> torch.Tensor:
        return self.energy(z) + self.base.log_prob(z)

    def _line_density(self, y: torch.Tensor) -> torch.Tensor:
        """The tilted log density on the real line, where chains run."""
        line, there = on_real_line(self.base, dist, _to_support)
        return self.energy(there(y)) + line.log_prob(y)

    def _with_weights(self, params: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The parameters, with the weights that a module uses at other values only."""
        weights = self.module.parameters() if isinstance(self.module, torch.nn.Module) else ()
        return tuple({id(x): x for x in (*params, *weights)}.values())

    def _log_density_of(self, params: tuple[torch.Tensor, ...], aux: tuple, y: torch.Tensor) -> torch.Tensor:
        """The log density at chains, of no other parameters than those given."""
        log_density = self._line_density(y)
        missed = [tuple(x.shape) for x in beyond(log_density, params)]
        if missed:
            raise OptionError(
                "Expected a base and an energy of the same parameters at every value; got parameters of shapes "
                f"{missed} at the chains alone, which would miss the gradient of log Z. Let every value meet them."
            )
        return log_density

    def _negatives(self) -> torch.Tensor:
        with torch.no_grad():
            base = on_real_line(self.base, dist, _to_support)[0].sample((self.chains.number,))
            if not self.chains.buffer:
                return self.chains.run(BACKEND, None, self._line_density, base)[0]
            buffer = getattr(self.module, "chains", None)
            if buffer is None:
                buffer = on_real_line(self.base, dist, _to_support)[0].sample((self.chains.buffer,))
            chains, buffer = self.chains.refresh(BACKEND, None, self._line_density, buffer, base)
            self.module.register_buffer("chains", buffer)
            return chains


def _to_support(support: Any) -> Any:
    """The host's map to a support; it has none of a mixture's, which is that of its components."""
    return biject_to(support.base_constraint if isinstance(support, OF_MIXTURES) else support)
