"""The reduced prior as a NumPyro distribution."""

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution, Normal, constraints

from mmppl._backend.jax import BACKEND
from mmppl.priors.joint_score import Known
from mmppl.priors.reduced import ReducedPrior
from mmppl.priors.subspaces import Subspaces

__all__ = ["Reduced"]


class Reduced(ReducedPrior, Distribution):
    __doc__ = ReducedPrior.__doc__
    backend = BACKEND

    arg_constraints: dict = {}
    support = constraints.real_vector
    pytree_data_fields = ("prior", "known")
    pytree_aux_fields = ("subspaces",)

    def __init__(self, prior: Distribution, subspaces: Subspaces, *, validate_args: bool | None = None):
        self.check(prior, subspaces)
        self.prior, self.subspaces = prior, subspaces
        self.known: Known | None = None
        super().__init__(prior.batch_shape, (subspaces.blocks.dim,), validate_args=validate_args)

    def _given(self, prior: Distribution, known: Known) -> "Reduced":
        new = Reduced(prior, self.subspaces)
        new.known = known
        return new

    def log_prob(self, value: jax.Array) -> jax.Array:
        kept, rest = self.subspaces.reduce(BACKEND, value)
        reference = jnp.sum(Normal(0.0, 1.0).log_prob(rest), axis=-1)
        return self.prior.log_prob(kept) + reference + self.subspaces.log_det

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        first, second = jax.random.split(key)
        kept = self.prior.sample(first, sample_shape)
        number = self.subspaces.blocks.dim - kept.shape[-1]
        rest = jax.random.normal(second, (*kept.shape[:-1], number), kept.dtype)
        z = self.subspaces.lift(BACKEND, kept, rest)
        if self.known is None:
            return z
        clean = self.subspaces.blocks.spread(self.known.states.clean)
        return jnp.where(clean, self.known.loc, z)
