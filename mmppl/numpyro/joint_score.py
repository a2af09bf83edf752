"""The joint score as a NumPyro distribution."""

import copy
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution, constraints

from mmppl._backend.jax import BACKEND
from mmppl.display import Shown
from mmppl.nets.bound import BoundNet
from mmppl.numpyro.compiling import compiled
from mmppl.numpyro.energy import ambient_key
from mmppl.priors.blocks import Blocks
from mmppl.priors.condition import Condition
from mmppl.priors.coordinates import Coordinates, Standardization
from mmppl.priors.multi_task.evidence import EvidenceTerms
from mmppl.priors.multi_task.model import MultiTaskModel
from mmppl.priors.score.base import JointModel
from mmppl.priors.score.model import ScoreModel
from mmppl.priors.score.prior import DiffusionPrior, MultiTaskPrior, ScorePrior

__all__ = ["Diffusion", "JointScore", "MultiTask"]


class JointScore(Shown, ScorePrior, Distribution):
    __doc__ = ScorePrior.__doc__
    backend = BACKEND

    arg_constraints: dict = {}
    support = constraints.real_vector
    pytree_data_fields = ("net_params", "energy_params", "coordinates", "known", "noise_key")
    pytree_aux_fields = ("net_static", "energy_static", "model", "density")

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
        rng_key: jax.Array | None = None,
        validate_args: bool | None = None,
    ):
        model = blocks if isinstance(blocks, JointModel) else ScoreModel(Blocks.of(blocks))
        self.check(model, density, coordinates)
        self.net_params, self.net_static = eqx.partition(_modules(net), eqx.is_inexact_array)
        self.energy_params, self.energy_static = eqx.partition(_modules(energy), eqx.is_inexact_array)
        self.noise_key = ambient_key() if rng_key is None and density != "flow" else rng_key
        self.model, self.density, self.known = model, density, None
        width = (model.blocks.dim,)
        if coordinates is None:
            coordinates = Standardization(*(jnp.broadcast_to(jnp.asarray(x, float), width) for x in (loc, scale)))
        self.coordinates = jax.lax.stop_gradient(jax.tree.map(lambda x: jnp.asarray(x, float), coordinates))
        super().__init__((), width, validate_args=validate_args)

    def _conditioned(self, known: Condition, model: JointModel) -> "JointScore":
        new = copy.copy(self)
        new.model, new.known = model, known
        new._batch_shape = jnp.broadcast_shapes(known.loc.shape[:-1], known.roles.clean.shape[:-1])
        return new

    def log_prob(self, value: jax.Array) -> jax.Array:
        if self.density == "denoising":
            return self.model.bound(self.noise_key, self._query(self._net()), value)
        if self.density == "bound":
            return self.model.lower_bound(self.noise_key, self._query(self._net()), value)
        self._check_roles()
        return _log_density(self, value, False)[0]

    def log_density(self, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The log density by the probability flow, and its error, ``(*,)`` each.

        The error is that of the probes of the divergence, and of the integrator by a second run at ten times the
        tolerances.
        """
        self._check_roles()
        return _log_density(self, value, True)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        return self._draw(key, sample_shape)[0]

    def _draw(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> tuple[jax.Array, Any]:
        return _sample(self, key, tuple(sample_shape))

    def _net(self) -> Any:
        return eqx.combine(self.net_params, self.net_static)


class Diffusion(DiffusionPrior, JointScore):
    __doc__ = DiffusionPrior.__doc__

    def __init__(self, net: Any, dim: int | ScoreModel, **options: Any):
        super().__init__(net, self.one_block(dim), **options)


class MultiTask(MultiTaskPrior, JointScore):
    __doc__ = MultiTaskPrior.__doc__

    def __init__(self, net: Any, blocks: Mapping[str, int] | MultiTaskModel, **options: Any):
        super().__init__(net, self.multi_task(blocks), **options)

    def evidence(self, rng_key: jax.Array, value: jax.Array, num: int = 8) -> tuple[EvidenceTerms, jax.Array]:
        """Terms of the bound on the log density of each datum, and the standard error of the bound, ``(*,)`` each.

        Arguments:
            rng_key: A random key.
            value: ``(*, D)``.
            num: Number of draws of the noise, each with all steps of the ancestral solver.

        Raises:
            OptionError: If there are fewer than two draws.
        """
        return _evidence(self, rng_key, value, num)


def _modules(nets: Any) -> Any:
    """Networks without their names in the program."""
    if isinstance(nets, Mapping):
        return {name: _modules(net) for name, net in nets.items()}
    return nets.module if isinstance(nets, BoundNet) else nets


@compiled
def _sample(prior: JointScore, key: jax.Array, sample_shape: tuple) -> tuple[jax.Array, Any]:
    energy = eqx.combine(prior.energy_params, prior.energy_static)
    return prior.model.sample(key, prior._query(prior._net(), sample_shape, energy))


@compiled
def _log_density(prior: JointScore, value: jax.Array, check: bool) -> tuple[jax.Array, jax.Array]:
    # What the flow says is not differentiated; the gradient with respect to the value is the score's.
    net = jax.lax.stop_gradient(prior.net_params), prior.net_static
    return prior.model.log_density(prior._query(eqx.combine(*net)), value, check)


@compiled
def _evidence(prior: MultiTask, key: jax.Array, value: jax.Array, num: int) -> tuple[EvidenceTerms, jax.Array]:
    return prior.model.evidence(  # type: ignore[attr-defined]
        key, prior._query(prior._net()), value, num
    )
