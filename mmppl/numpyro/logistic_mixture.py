"""The mixture of discretised logistic distributions for NumPyro."""

import copy

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import validate_sample

from mmppl.display import Shown
from mmppl.likelihoods import logistic_mixture

__all__ = ["LogisticMixture"]


class LogisticMixture(Shown, Distribution):
    r"""Mixture of logistics on 256 levels in [0, 1], with one component for a whole event.

    :mod:`mmppl.likelihoods.logistic_mixture` has the formulas. Draws are levels, without a gradient.

    Arguments:
        loc: o, ``(*, K, *event)``.
        scale: s, positive; broadcasts against ``(*, *event)``.
        event_dim: Number of axes of the event.

    Example:
        >>> import jax
        >>> pictures = LogisticMixture(jnp.full((3, 2, 4), 0.5), 0.1)
        >>> pictures.sample(jax.random.key(0)).shape
        (3, 4)
    """

    arg_constraints: dict = {}
    pytree_data_fields = ("loc", "scale", "there")

    def __init__(self, loc, scale, event_dim=1, *, validate_args=None):
        self.there = None
        *batch, number = loc.shape[:-event_dim]
        event, scale = loc.shape[-event_dim:], jnp.asarray(scale)
        batch = jax.lax.broadcast_shapes(tuple(batch), scale.shape[: max(scale.ndim - event_dim, 0)])
        self.loc = jnp.broadcast_to(loc, (*batch, number, *event)).reshape(*batch, number, -1)
        self.scale = jnp.broadcast_to(scale, (*batch, *event)).reshape(*batch, -1)
        super().__init__(batch, event, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False)
    def support(self):
        return constraints.independent(constraints.unit_interval, self.event_dim)

    def of_elements(self, there: jax.Array) -> "LogisticMixture":
        """The same, scored by the marginal probability of the elements that are there, ``(*, *event)``."""
        new = copy.copy(self)
        new.there = there.reshape(*there.shape[: there.ndim - self.event_dim], -1)
        return new

    @property
    def mean(self) -> jax.Array:
        flat = logistic_mixture.mean(self.loc, self.scale)
        return flat.reshape(*self.batch_shape, *self.event_shape)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        first, second = jax.random.split(key)
        which = jax.random.uniform(first, (*sample_shape, *self.batch_shape), self.loc.dtype)
        uniform = jax.random.uniform(second, (*sample_shape, *self.scale.shape), self.loc.dtype)
        x = logistic_mixture.draw(self.loc, self.scale, uniform, which)
        return jax.lax.stop_gradient(x).reshape(*sample_shape, *self.batch_shape, *self.event_shape)

    @validate_sample
    def log_prob(self, value: jax.Array) -> jax.Array:
        x = value.reshape(*value.shape[: value.ndim - self.event_dim], -1)
        return logistic_mixture.log_prob(x, self.loc, self.scale, self.there)
