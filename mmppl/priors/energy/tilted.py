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
    log_density: Callable[[Tree, Tree, Array], Array],
    params: Tree,
    negatives: Callable[[Tree, Tree], Array],
    aux: Tree,
) -> Array:
    r"""A scalar zero whose gradient is that of :math:`-\log Z`.

    Add it to the unnormalised log density of each datum: N data then pull :math:`N \nabla \log Z`, from one set of
    chains. The value stays deterministic, and the chains run only if a gradient is asked for.

    Arguments:
        backend: The backend of the arrays.
        log_density: The unnormalised log density as a function of the parameters, ``aux`` and z, ``(C, D)`` to
            ``(C,)``.
        params: The parameters, of the energy and of the base.
        negatives: Draws from the tilted density, given the parameters and ``aux``: ``(C, D)``.
        aux: What both need besides, such as a random key or the present chains.
    """

    def pull_back(params: Tree, aux: Tree) -> Tree:
        samples = backend.stop_gradient(negatives(backend.stop_gradient(params), aux))
        return backend.grad(lambda p: -_log_mean(backend, log_density(p, aux, samples)), params)

    return backend.zero_with_gradient(pull_back, params, aux)


def _log_mean(backend: Backend, log_density: Array) -> Array:
    r"""Term with the first two derivatives of log Z, given the log density at draws, ``(C,)``.

    .. math:: \nabla^2 \log Z = \mathbb{E}[\nabla^2 u] + \operatorname{Var}[\nabla u], \qquad u = f + \log p_0
    """
    xp = backend.xp
    there = xp.isfinite(log_density)
    moved = xp.where(there, log_density - backend.stop_gradient(log_density), xp.zeros_like(log_density))
    return xp.mean(log_density) + 0.5 * (xp.mean(moved * moved) - xp.mean(moved) ** 2)
