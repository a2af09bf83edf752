r"""Estimators of a bound's gradient: how the guide's density and its draws carry it.

With draws :math:`z = T(\epsilon; \phi)`, weights w and normalised weights :math:`\hat w` of K particles, the gradient
of :math:`\log \frac{1}{K} \sum_k w_k` has a part along the draws, and one that stems from :math:`\log q_\phi(z)`:

.. math:: \sum_k \hat w_k \big( \partial_z \log w_k\, \partial_\phi z_k - c\, \partial_\phi \log q_\phi(z_k) \big)

where c is the factor of log q in log w. Both estimators below replace the second part by one of less variance:

* sticking the landing leaves it out, as its mean is zero where particles are averaged;
* the doubly reparametrised gradient writes it as a derivative along the draws once more, which multiplies the first
  part by :math:`1 - c (1 - \hat w_k)`. Where the weight has the density of a mixture, that holds for the share
  :math:`r = \pi_t q_t / q_{\mathrm{mix}}` of the component that drew; then :math:`1 - c\, r (1 - \hat w_k)` is the
  factor, :math:`-c\, \hat w_k \partial_z r` is added along the draws, and the other components keep the second part.
  Where a site's density is scaled, masked or sub-sampled, the identity holds for the density that it was drawn from,
  and what log q has beyond that, :math:`(s - 1) \log q_i`, keeps the second part.

References:
    | Sticking the Landing (Roeder et al., 2017), https://arxiv.org/abs/1703.09194
    | Doubly Reparameterized Gradient Estimators (Tucker et al., 2019), https://arxiv.org/abs/1810.04152
"""

from collections.abc import Callable
from typing import Any

from mmppl._backend import Backend
from mmppl.inference.objectives.algebra import gradient_of
from mmppl.inference.objectives.terms import Draws

Array = Any

__all__ = ["along", "held", "scaled"]


def held(backend: Backend, log_density: Callable[[Draws], Array], draws: Draws) -> tuple[Array, Array]:
    """Values ``(K, T, N)`` and slopes ``(K, T, N, D)`` of a density at draws, both without a gradient."""
    xp = backend.xp

    def at(position: Array) -> Array:
        # A density that is flat still has a slope, 0.
        return log_density(draws.unpack(xp, position)) + 0.0 * xp.sum(position, axis=-1)

    return backend.value_and_grad(at, backend.stop_gradient(draws.pack(xp)))


def along(backend: Backend, slope: Array, draws: Draws) -> Array:
    """Zero ``(K, T, N)``, with the gradient that a slope ``(K, T, N, D)`` gives to the draws."""
    xp = backend.xp
    return xp.sum(slope * gradient_of(backend, draws.pack(xp)), axis=-1)


def scaled(backend: Backend, draws: Draws, factor: Callable[[str], Array]) -> Draws:
    """The same draws with their gradients multiplied by a factor ``(K, T, N)`` of each site."""
    out = {}
    for name, z in draws.latents.items():
        frozen, times = backend.stop_gradient(z), factor(name)
        row = draws.rows[name]
        shape = (*times.shape[:2], *(1,) * row, times.shape[2], *(1,) * (z.ndim - 3 - row))
        out[name] = frozen + times.reshape(shape) * (z - frozen)
    return draws._replace(latents=out)
