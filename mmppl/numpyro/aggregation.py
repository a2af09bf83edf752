"""Aggregated posteriors as NumPyro distributions."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import validate_sample

from mmppl import aggregation as shared
from mmppl.display import Shown

__all__ = ["GeometricMean", "MixtureOfExperts", "MixtureOfProducts", "Product"]


class _Aggregated(Shown, Distribution):
    """Holds the experts; the mathematics is :mod:`mmppl.aggregation`'s."""

    arg_constraints = {"loc": constraints.dependent, "scale": constraints.dependent}
    support = constraints.real_vector
    reparametrized_params = ["loc", "scale"]
    pytree_data_fields = ("loc", "scale", "present")
    pytree_aux_fields = ("family", "prior_expert", "subsets")
    prior_expert = False

    def __init__(self, experts, present, *, family=None, prior_expert=None, subsets=None, validate_args=None):
        stacked = shared.stack_experts(experts, present, family)
        self.loc, self.scale, self.present = stacked.loc, stacked.scale, stacked.present
        self.family = stacked.family
        self.prior_expert = type(self).prior_expert if prior_expert is None else prior_expert
        self.subsets = self._rows(len(experts), subsets)
        super().__init__(stacked.batch_shape, (stacked.dim,), validate_args=validate_args)

    @staticmethod
    def _rows(num: int, subsets: Any) -> tuple | None:
        return None if subsets is None else tuple(tuple(bool(b) for b in row) for row in subsets)

    @property
    def shared(self) -> Any:
        """The framework-free posterior behind this distribution."""
        experts = shared.Experts(self.loc, self.scale, self.present, self.family)
        return self._posterior(experts)

    def _posterior(self, experts: Any) -> Any:
        return shared.Mixture(experts, None if self.subsets is None else np.array(self.subsets), self.prior_expert)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        return self.shared.sample(key, sample_shape)

    def stratified(self, key: jax.Array, sample_shape: tuple[int, ...]) -> jax.Array:
        """Reparametrised samples with components spread evenly over the first sample axis."""
        return self.shared.stratified(key, sample_shape)

    @validate_sample
    def log_prob(self, value: jax.Array) -> jax.Array:
        return self.shared.log_prob(value)


class Product(_Aggregated):
    r"""Product of the experts that are present, weighted by precision (MVAE).

    .. math:: q(z \mid x_S) \propto p_0(z) \prod_{m \in S} q_m(z \mid x_m)

    with :math:`p_0` the standard normal (or Laplace) density. Without the prior expert :math:`p_0` is left out, except
    where nothing is present: there it is the answer.

    References:
        | Multimodal Generative Models for Scalable Weakly-Supervised Learning (Wu & Goodman, 2018), section 2.2
        | https://arxiv.org/abs/1802.05335

    Arguments:
        experts: ``(loc, scale)``, ``(*, D)`` each, or a Normal or Laplace distribution, by modality name.
        present: Boolean arrays ``(*,)`` by modality name.
        family: ``"normal"`` or ``"laplace"``; read off the experts where they are distributions.
        prior_expert: Whether :math:`p_0` is a factor.

    Example:
        >>> import jax.numpy as jnp
        >>> experts = {"a": (jnp.ones((2, 3)), jnp.ones((2, 3))), "b": (jnp.zeros((2, 3)), jnp.ones((2, 3)))}
        >>> present = {"a": jnp.array([True, True]), "b": jnp.array([True, False])}
        >>> q = Product(experts, present)
        >>> q
        Product(batch_shape=(2,), event_shape=(3,))
        >>> round(float(q.log_prob(jnp.zeros(3))[1]), 3)
        -2.467
    """

    prior_expert = True

    def _posterior(self, experts: Any) -> Any:
        return shared.Product(experts, self.prior_expert)


class GeometricMean(_Aggregated):
    r"""Geometric mean of the experts that are present, normalised (MMJSD).

    .. math:: q(z \mid x_S) \propto \prod_{m \in S} q_m(z \mid x_m)^{1 / |S|}

    Where nothing is present it is the standard density of the family.

    References:
        | Multimodal Generative Learning Utilizing Jensen-Shannon-Divergence (Sutter et al., 2020), section 3.3
        | https://arxiv.org/abs/2006.08242

    Arguments:
        experts: ``(loc, scale)``, ``(*, D)`` each, or a Normal or Laplace distribution, by modality name.
        present: Boolean arrays ``(*,)`` by modality name.
        family: ``"normal"`` or ``"laplace"``; read off the experts where they are distributions.

    Example:
        >>> import jax.numpy as jnp
        >>> experts = {"a": (jnp.ones((2, 3)), jnp.ones((2, 3))), "b": (jnp.zeros((2, 3)), jnp.ones((2, 3)))}
        >>> present = {"a": jnp.array([True, True]), "b": jnp.array([True, False])}
        >>> q = GeometricMean(experts, present)
        >>> q
        GeometricMean(batch_shape=(2,), event_shape=(3,))
        >>> round(float(q.log_prob(jnp.zeros(3))[0]), 3)
        -3.132
    """

    def _posterior(self, experts: Any) -> Any:
        return shared.GeometricMean(experts)


class MixtureOfExperts(_Aggregated):
    r"""Uniform mixture of the experts that are present (MMVAE).

    .. math:: q(z \mid x_S) = \frac{1}{|S|} \sum_{m \in S} q_m(z \mid x_m)

    and the standard density of the family where nothing is present.

    Arguments:
        experts: ``(loc, scale)``, ``(*, D)`` each, or a Normal or Laplace distribution, by modality name.
        present: Boolean arrays ``(*,)`` by modality name.
        family: ``"normal"`` or ``"laplace"``; read off the experts where they are distributions.

    Example:
        >>> import jax.numpy as jnp
        >>> experts = {"a": (jnp.ones((2, 3)), jnp.ones((2, 3))), "b": (jnp.zeros((2, 3)), jnp.ones((2, 3)))}
        >>> present = {"a": jnp.array([True, True]), "b": jnp.array([True, False])}
        >>> q = MixtureOfExperts(experts, present)
        >>> q
        MixtureOfExperts(batch_shape=(2,), event_shape=(3,))
        >>> round(float(q.log_prob(jnp.zeros(3))[1]), 3)
        -4.257
    """


class MixtureOfProducts(_Aggregated):
    r"""Uniform mixture of products of experts over the subsets of what is present (MoPoE).

    .. math:: q(z \mid x_P) = \frac{1}{|\mathcal{S}|} \sum_{S \in \mathcal{S}} q_S(z), \qquad
        q_S(z) \propto p_0(z) \prod_{m \in S} q_m(z \mid x_m)

    over the non-empty subsets S of what is present, P.

    Arguments:
        experts: ``(loc, scale)``, ``(*, D)`` each, or a Normal or Laplace distribution, by modality name.
        present: Boolean arrays ``(*,)`` by modality name.
        family: ``"normal"`` or ``"laplace"``; read off the experts where they are distributions.
        prior_expert: Whether every product has the standard density as a factor.
        subsets: Boolean rows ``(S, M)``; every subset by default, 32 of them where there are more.

    Example:
        >>> import jax.numpy as jnp
        >>> experts = {"a": (jnp.ones((2, 3)), jnp.ones((2, 3))), "b": (jnp.zeros((2, 3)), jnp.ones((2, 3)))}
        >>> present = {"a": jnp.array([True, True]), "b": jnp.array([True, False])}
        >>> q = MixtureOfProducts(experts, present, prior_expert=False)
        >>> q
        MixtureOfProducts(batch_shape=(2,), event_shape=(3,))
        >>> round(float(q.log_prob(jnp.zeros(3))[1]), 3)
        -4.257
    """

    @staticmethod
    def _rows(num: int, subsets: Mapping | None) -> tuple | None:
        rows = shared.all_subsets(num) if subsets is None else np.asarray(subsets)
        return tuple(tuple(bool(b) for b in row) for row in rows)
