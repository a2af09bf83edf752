"""Product of experts, and their geometric mean."""

from mmppl._backend import get_backend
from mmppl.aggregation.base import Experts, OneComponent
from mmppl.aggregation.families import product

__all__ = ["GeometricMean", "Product"]


class Product(OneComponent):
    r"""Product of the experts that are present, weighted by precision.

    .. math:: q(z \mid x_S) \propto p_0(z) \prod_{m \in S} q_m(z \mid x_m)

    with :math:`p_0` the standard normal (or Laplace) density. Without the prior expert :math:`p_0` is left out, except
    where nothing is present: there it is the answer.

    References:
        | Multimodal Generative Models for Scalable Weakly-Supervised Learning (Wu & Goodman, 2018), section 2.2
        | https://arxiv.org/abs/1802.05335

    Arguments:
        experts: Stacked experts, ``(*, M, D)``.
        prior_expert: Whether :math:`p_0` is a factor.

    Example:
        >>> import numpy as np
        >>> from mmppl.aggregation import stack_experts
        >>> one = (np.ones((1, 1)), np.ones((1, 1)))
        >>> q = Product(stack_experts({"a": one, "b": one}, {"a": np.array([True]), "b": np.array([True])}))
        >>> round(float(q.component.loc[0, 0]), 4)
        0.6667
    """

    def __init__(self, experts: Experts, prior_expert: bool = True):
        xp = get_backend(experts.loc).xp
        weight = xp.astype(experts.present, experts.loc.dtype)
        self.component = product(experts.loc, experts.scale, weight, experts.family, prior_expert)
        self.batch_shape, self.dim = experts.batch_shape, experts.dim


class GeometricMean(OneComponent):
    r"""Geometric mean of the experts that are present, normalised.

    .. math:: q(z \mid x_S) \propto \prod_{m \in S} q_m(z \mid x_m)^{1 / |S|}

    Where nothing is present it is the standard density of the family.

    References:
        | Multimodal Generative Learning Utilizing Jensen-Shannon-Divergence (Sutter et al., 2020), section 3.3
        | https://arxiv.org/abs/2006.08242

    Arguments:
        experts: Stacked experts, ``(*, M, D)``.

    Example:
        >>> import numpy as np
        >>> from mmppl.aggregation import stack_experts
        >>> one = (np.ones((1, 1)), np.ones((1, 1)))
        >>> q = GeometricMean(stack_experts({"a": one, "b": one}, {"a": np.array([True]), "b": np.array([True])}))
        >>> float(q.component.loc[0, 0]), float(q.component.scale[0, 0])
        (1.0, 1.0)
    """

    def __init__(self, experts: Experts):
        xp = get_backend(experts.loc).xp
        weight = xp.astype(experts.present, experts.loc.dtype)
        count = xp.sum(weight, axis=-1, keepdims=True)
        weight = weight / xp.where(count > 0, count, xp.ones_like(count))
        self.component = product(experts.loc, experts.scale, weight, experts.family, False)
        self.batch_shape, self.dim = experts.batch_shape, experts.dim
