"""The discretised logistic distribution for NumPyro."""

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import promote_shapes, validate_sample

from mmppl.display import Shown
from mmppl.likelihoods import discretized_logistic

__all__ = ["DiscretizedLogistic"]


class DiscretizedLogistic(Shown, Distribution):
    r"""Logistic on 256 levels in [0, 1]: :mod:`mmppl.likelihoods.discretized_logistic` has the formula.

    Values are scored as the level next to them, so that ``exp(log_prob)`` sums to 1 over levels 0, 1/255, ..., 1. Draws
    are levels, without a gradient.

    Arguments:
        loc: :math:`\mu`, in the units of x.
        scale: s > 0, in the units of x.

    Example:
        >>> import jax
        >>> DiscretizedLogistic(0.5, 0.1).sample(jax.random.key(0), (3,)).shape
        (3,)
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.unit_interval

    def __init__(self, loc=0.5, scale=0.1, *, validate_args=None):
        self.loc, self.scale = promote_shapes(jnp.asarray(loc), jnp.asarray(scale))
        shape = jax.lax.broadcast_shapes(jnp.shape(loc), jnp.shape(scale))
        super().__init__(shape, (), validate_args=validate_args)

    @property
    def mean(self) -> jax.Array:
        return discretized_logistic.mean(self.loc, self.scale)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        u = jax.random.uniform(key, (*sample_shape, *self.batch_shape), jnp.result_type(self.loc, float))
        return jax.lax.stop_gradient(discretized_logistic.quantile(u, self.loc, self.scale))

    @validate_sample
    def log_prob(self, value: jax.Array) -> jax.Array:
        return discretized_logistic.log_prob(value, self.loc, self.scale)
