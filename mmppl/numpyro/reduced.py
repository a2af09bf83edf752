"""The reduced prior as a NumPyro distribution."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution, Normal, constraints

from mmppl._backend.jax import BACKEND
from mmppl.display import Shown
from mmppl.nets.bound import BoundNet
from mmppl.priors.condition import Condition
from mmppl.priors.coordinates import Whitening
from mmppl.priors.reduction.reduced import ReducedPrior
from mmppl.priors.reduction.subspaces import Subspaces

__all__ = ["Reduced"]


class Reduced(Shown, ReducedPrior, Distribution):
    __doc__ = ReducedPrior.__doc__
    backend = BACKEND

    arg_constraints: dict = {}
    support = constraints.real_vector
    pytree_data_fields = ("prior", "known", "coordinates", "complement_params")
    pytree_aux_fields = ("space", "complement_static")

    def __init__(
        self,
        prior: Distribution,
        subspaces: Subspaces | Whitening,
        *,
        complement: Any = None,
        validate_args: bool | None = None,
    ):
        self.check(prior, subspaces)
        # Coordinates hold arrays that may be traced; subspaces are fixed.
        own = isinstance(subspaces, Whitening)
        self.coordinates = jax.tree.map(lambda x: jnp.asarray(x, float), subspaces) if own else None
        self.space = None if own else subspaces
        self.prior = prior
        self.known: Condition | None = None
        module = complement.module if isinstance(complement, BoundNet) else complement
        self.complement_params, self.complement_static = eqx.partition(module, eqx.is_inexact_array)
        width = subspaces.loc.shape[-1]
        super().__init__(prior.batch_shape, (width,), validate_args=validate_args)

    @property
    def subspaces(self) -> Any:
        return self.space if self.coordinates is None else self.coordinates

    def _conditioned(self, prior: Distribution, known: Condition) -> "Reduced":
        complement = eqx.combine(self.complement_params, self.complement_static)
        new = Reduced(prior, self.subspaces, complement=complement)
        new.known = known
        return new

    def _rest(self, reduced: jax.Array) -> Distribution:
        net = eqx.combine(self.complement_params, self.complement_static)
        return (Normal(0.0, 1.0) if net is None else Normal(*net(reduced))).expand(
            (*reduced.shape[:-1], self.event_shape[0] - reduced.shape[-1])
        )

    def log_prob(self, value: jax.Array) -> jax.Array:
        reduced, rest = self.subspaces.reduce(BACKEND, value)
        log_prob = self.prior.log_prob(reduced) + jnp.sum(self._rest(reduced).log_prob(rest), axis=-1)
        return log_prob + self.subspaces.log_det

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        first, second = jax.random.split(key)
        reduced = self.prior.sample(first, sample_shape)
        z = self.subspaces.lift(BACKEND, reduced, self._rest(reduced).sample(second))
        if self.known is None:
            return z
        return jnp.where(self.subspaces.blocks.spread(self.known.roles.clean), self.known.loc, z)
