"""The normal distribution with a low-rank covariance for NumPyro."""

import copy

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import validate_sample

from mmppl.display import Shown
from mmppl.likelihoods import low_rank

__all__ = ["LowRankNormal"]


class LowRankNormal(Shown, Distribution):
    r"""Normal with covariance :math:`S^2 + F^\top F`, or of values in [0, 1] whose logits have it.

    :mod:`mmppl.likelihoods.low_rank` has the formulas.

    Arguments:
        loc: :math:`\mu`, ``(*, *event)``.
        scale: The diagonal of S, positive, ``(*, *event)``.
        factors: F, ``(*, R, *event)``.
        event_dim: Number of axes of the event.
        unit: Whether values are in [0, 1], half a level of an 8-bit picture beyond it included.

    Example:
        >>> import jax
        >>> noise = LowRankNormal(jnp.zeros((3, 4)), jnp.ones((3, 4)), jnp.ones((3, 2, 4)))
        >>> noise.sample(jax.random.key(0)).shape
        (3, 4)
    """

    arg_constraints: dict = {}
    pytree_data_fields = ("loc", "scale", "factors", "there", "given")
    pytree_aux_fields = ("unit",)
    reparametrized_params = ["loc", "scale", "factors"]

    def __init__(self, loc, scale, factors, event_dim=1, unit=False, *, validate_args=None):
        self.unit, self.there, self.given = unit, None, None
        batch, event = loc.shape[:-event_dim], loc.shape[-event_dim:]
        batch = jax.lax.broadcast_shapes(batch, scale.shape[:-event_dim], factors.shape[: -event_dim - 1])
        self.loc = jnp.broadcast_to(loc, (*batch, *event)).reshape(*batch, -1)
        # Without the axes of the batch where they are the same for all of it.
        own, more = scale.shape[:-event_dim], factors.shape[:-event_dim]
        self.scale = jnp.broadcast_to(scale, (*own, *event)).reshape(*own, -1)
        self.factors = jnp.broadcast_to(factors, (*more, *event)).reshape(*more, -1)
        super().__init__(batch, event, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False)
    def support(self):
        within = constraints.interval(-0.5 / low_rank.LEVELS, 1.0 + 0.5 / low_rank.LEVELS)
        return constraints.independent(within if self.unit else constraints.real, self.event_dim)

    def of_elements(self, there: jax.Array, value: jax.Array | None = None) -> "LowRankNormal":
        """This distribution, scored by the marginal density of the observed elements, a mask ``(*, *event)``.

        With values ``(*, *event)`` draws and means of all other elements are given those observed.
        """
        new = copy.copy(self)
        new.there = self._flat(there)
        new.given = None if value is None else (self._flat(value), new.there)
        return new

    def _flat(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[: x.ndim - self.event_dim], -1)

    @property
    def mean(self) -> jax.Array:
        flat = low_rank.mean(self.loc, self.scale, self.factors, self.given, self.unit)
        return flat.reshape(*self.batch_shape, *self.event_shape)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        first, second = jax.random.split(key)
        shape = (*sample_shape, *self.loc.shape)
        w = jax.random.normal(first, (*shape[:-1], self.factors.shape[-2]), self.loc.dtype)
        noise = jax.random.normal(second, shape, self.loc.dtype)
        x = low_rank.draw(self.loc, self.scale, self.factors, noise, w, self.given, self.unit)
        return x.reshape(*sample_shape, *self.batch_shape, *self.event_shape)

    @validate_sample
    def log_prob(self, value: jax.Array) -> jax.Array:
        return low_rank.scored(self._flat(value), self.loc, self.scale, self.factors, self.there, self.unit)
