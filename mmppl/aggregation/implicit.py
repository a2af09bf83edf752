r"""Implicit reparametrisation of a mixture of factorised normals.

A draw z of the mixture is moved by no formula, but :math:`u_d = F(z_d \mid z_{<d})` are uniform whatever the parameters
:math:`\theta`. Holding them still,

.. math:: \frac{dz_d}{d\theta} = -\frac{dF(z_d \mid z_{<d}; \theta) / d\theta}{q(z_d \mid z_{<d})}

where F depends on :math:`\theta` also through :math:`z_{<d}`, coordinate after coordinate.
"""

from typing import Any

from mmppl._backend import get_backend
from mmppl.aggregation.families import Factorised

Array = Any

__all__ = ["implicit"]

SMALLEST = 1e-30


def implicit(z: Array, loc: Array, scale: Array, log_weight: Array) -> Array:
    """The same draws with their gradient with respect to the mixture.

    Arguments:
        z: Draws of the mixture, ``(*, D)``.
        loc: Locations, ``(*, K, D)``.
        scale: Scales, ``(*, K, D)``.
        log_weight: Log weights of the components, ``(*, K)``.

    Returns:
        ``z``, bit for bit.

    References:
        Figurnov, Mohamed and Mnih, "Implicit Reparameterization Gradients" (2018), section 4.1.
    """
    backend = get_backend(z)
    xp, stop_gradient = backend.xp, backend.stop_gradient

    def step(log_weight: Array, coordinate: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        z, loc, scale = coordinate
        share = xp.exp(backend.log_softmax(log_weight, axis=-1))
        here = Factorised(loc[..., None], scale[..., None], "normal")
        below = xp.sum(share * backend.ndtr((z[..., None] - loc) / scale), axis=-1)
        density = xp.sum(share * xp.exp(here.log_prob(z[..., None, None])), axis=-1)
        z = z - (below - stop_gradient(below)) / stop_gradient(xp.clip(density, SMALLEST, None))
        return log_weight + here.log_prob(z[..., None, None]), z

    z = stop_gradient(z)
    first = log_weight + xp.zeros_like(z[..., :1])
    _, moved = backend.scan(step, first, tuple(xp.moveaxis(x, -1, 0) for x in (z, loc, scale)))
    return xp.moveaxis(moved, 0, -1)
