r"""The learning gradient of an energy-tilted density.

.. math:: \log p_\alpha(z) = f_\alpha(z) + \log p_0(z) - \log Z(\alpha), \qquad
    \nabla_\alpha \log Z(\alpha) = \mathbb{E}_{p_\alpha}[\nabla_\alpha (f_\alpha(z) + \log p_0(z))]

References:
    | Learning Multimodal Latent Generative Models with Energy-Based Prior (Yuan et al., 2024)
    | https://arxiv.org/abs/2409.19862
"""

from collections.abc import Callable
from typing import Any

from mmppl._backend import Backend

Array = Any
Tree = Any

__all__ = ["contrastive_zero"]


def contrastive_zero(
    backend: Backend,
    log_density: Callable[[Tree, Array], Array],
    params: Tree,
    negatives: Callable[[Tree, Tree], Array],
    aux: Tree,
) -> Array:
    r"""A scalar zero whose gradient is that of :math:`-\log Z`.

    Add it to the unnormalised log density of each datum: N data then pull :math:`N \nabla \log Z`, from one set of
    chains. The value stays deterministic, and the chains run only if a gradient is asked for.

    Arguments:
        backend: The backend of the arrays.
        log_density: The unnormalised log density as a function of the parameters and z, ``(C, D)`` to ``(C,)``.
        params: The parameters, of the energy and of the base.
        negatives: Draws from the tilted density, given the parameters and ``aux``: ``(C, D)``.
        aux: What ``negatives`` needs besides, such as a random key or the present chains.
    """
    xp = backend.xp

    def pull_back(params: Tree, aux: Tree) -> Tree:
        samples = backend.stop_gradient(negatives(backend.stop_gradient(params), aux))
        return backend.grad(lambda p: -xp.mean(log_density(p, samples)), params)

    return backend.zero_with_gradient(pull_back, params, aux)
