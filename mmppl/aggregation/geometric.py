"""Geometric mean of experts."""

from mmppl._backend import get_backend
from mmppl.aggregation.base import Experts, OneComponent
from mmppl.aggregation.families import product

__all__ = ["GeometricMean"]


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
