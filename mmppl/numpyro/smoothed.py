"""The smoothed Laplace density as a NumPyro distribution."""

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import promote_shapes, validate_sample

from mmppl.priors import smoothed_laplace

__all__ = ["SmoothedLaplace"]


class SmoothedLaplace(Distribution):
    r"""Laplace with a rounded centre, for Langevin chains: :mod:`mmppl.priors.smoothed_laplace` has the formula.

    Arguments:
        loc: :math:`\mu`.
        scale: b.
        delta: Half width of the rounded centre, in the units of the variable.

    Example:
        >>> import jax
        >>> SmoothedLaplace(0.0, 1.0).sample(jax.random.key(0), (3,)).shape
        (3,)
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    reparametrized_params = ["loc", "scale"]
    pytree_aux_fields = ("delta",)

    def __init__(self, loc=0.0, scale=1.0, delta: float = 0.1, *, validate_args=None):
        self.loc, self.scale = promote_shapes(jnp.asarray(loc), jnp.asarray(scale))
        self.delta = delta
        shape = jax.lax.broadcast_shapes(jnp.shape(loc), jnp.shape(scale))
        super().__init__(shape, (), validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        dtype = jnp.result_type(self.loc, float)
        u = jax.random.uniform(key, (*sample_shape, *self.batch_shape), dtype)
        return self.loc + smoothed_laplace.quantile(u, self.scale.astype(dtype), self.delta)

    @validate_sample
    def log_prob(self, value: jax.Array) -> jax.Array:
        return smoothed_laplace.log_prob(value - self.loc, self.scale, self.delta)
