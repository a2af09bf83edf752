r"""A mixture of logistic densities on 256 levels, for each value: what decoder outputs say of it.

With K components and 3 K outputs :math:`(a_k, m_k, t_k)` for each value x,

.. math:: P(x) = \sum_k \pi_k\, P(x; \mu_k, s_k), \qquad \pi = \operatorname{softmax}(a), \quad
    \mu_k = \sigma(m_k + \operatorname{logit} \tfrac{k - 1/2}{K}), \quad s_k = \max\big(\tfrac{1}{2 K} e^{t_k},
    e^{-7}\big),

where :math:`P(x; \mu, s)` is the mass of :mod:`~mmppl.likelihoods.discretized_logistic`. Outputs of 0 spread the
components evenly over [0, 1], so that they do not begin as copies of each other. Values are independent given the
outputs; the paper has pictures in [-1, 1], and one mixture for the three colours of a pixel.

References:
    | PixelCNN++ (Salimans et al., 2017), section 2.1 and 2.2
    | https://arxiv.org/abs/1701.05517
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmppl._backend import get_backend

Array = Any

__all__ = ["COMPONENTS", "OUTPUTS", "components"]

COMPONENTS = 5  # K
OUTPUTS = 3 * COMPONENTS
SMALLEST = math.exp(-7.0)


def components(outputs: Sequence[Array]) -> tuple[Array, Array, Array]:
    r"""Logits a, locations :math:`\mu` and scales s of all components, each ``(*, K)``.

    Arguments:
        outputs: a, m and t of the first component to the last, 3 K arrays ``(*,)``: all a, then all m, then all t.
    """
    backend = get_backend(*outputs)
    xp = backend.xp
    logits, spread, scales = (xp.stack(list(outputs[i * COMPONENTS : (i + 1) * COMPONENTS]), axis=-1) for i in range(3))
    middle = (np.arange(COMPONENTS) + 0.5) / COMPONENTS
    start = backend.asarray(np.log(middle) - np.log1p(-middle), like=spread)
    return (
        logits,
        xp.exp(-backend.softplus(-(spread + start))),
        xp.clip(xp.exp(scales) / (2.0 * COMPONENTS), SMALLEST, None),
    )
