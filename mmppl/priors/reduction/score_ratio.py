r"""Score ratio matching: what of a latent is not in its reference.

With x whitened and :math:`\rho = \mathcal{N}(0, I)`, the score ratio :math:`s^*(x) = \nabla \log \pi(x) + x` minimises

.. math:: F(s) = \mathbb{E}_\pi \big[ \tfrac12 \lVert s(x) \rVert^2 + \nabla \cdot s(x) - s(x) \cdot x \big]

Against another reference :math:`\nabla \log \rho(x)` takes the place of -x, and the ratio is
:math:`s^* = \nabla \log \pi - \nabla \log \rho`.

References:
    | Dimension reduction via score ratio matching (Baptista, Brennan & Marzouk, 2024)
    | https://arxiv.org/abs/2410.19990
    | A Connection Between Score Matching and Denoising Autoencoders (Vincent, 2011), for the denoising form
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.errors import OptionError
from mmppl.numerics import random_signs

Array = Any

__all__ = ["denoising_ratio_losses", "directions", "linear_ratio", "ratio_losses"]


def ratio_losses(
    backend: Backend, ratio: Callable[[Array], Array], x: Array, along: Array, score: Array | None = None
) -> Array:
    r"""The terms of F for each row, ``(*,)``.

    Arguments:
        backend: The backend of the arrays.
        ratio: s, ``(*, D)`` to ``(*, D)``; differentiated.
        x: Whitened latents, ``(*, D)``.
        along: Directions v, ``(K, *, D)``, of which :math:`v^T (\partial s / \partial x) v` has the divergence as its
            mean: what :func:`directions` gives.
        score: :math:`\nabla \log \rho(x)`, ``(*, D)``, if not -x.
    """
    xp = backend.xp

    def add(total: Array, v: Array) -> tuple[Array, Array]:
        v = v + xp.zeros_like(x)
        return total + xp.sum(backend.vjp(ratio, x, v)[1] * v, axis=-1), total

    value = ratio(x)
    divergence, _ = backend.scan(add, xp.zeros_like(x[..., 0]), along)
    score = -x if score is None else score
    return xp.sum(0.5 * value**2 + value * score, axis=-1) + divergence / along.shape[0]


def denoising_ratio_losses(
    backend: Backend, ratio: Callable[[Array], Array], x: Array, noise: Array, scale: float
) -> Array:
    r"""The denoising form of F for each row, ``(*,)``, of latents blurred by a normal of scale :math:`\sigma`.

    .. math::
        \mathbb{E} \big[ \tfrac12 \lVert s(\tilde x) \rVert^2 + s(\tilde x) \cdot \big( \epsilon / \sigma
        - \tilde x / (1 + \sigma^2) \big) \big], \qquad \tilde x = x + \sigma \epsilon

    No derivative is taken. The ratio is that of the blurred latents to the blurred reference, which nears the ratio
    itself as :math:`\sigma` falls. The mean of :math:`\epsilon` and :math:`-\epsilon` is taken, whose variance stays
    bounded then.

    Arguments:
        backend: The backend of the arrays.
        ratio: s, ``(*, D)`` to ``(*, D)``.
        x: Whitened latents, ``(*, D)``.
        noise: Standard normal :math:`\epsilon`, ``(*, D)``.
        scale: :math:`\sigma`, in units of the whitened latents.
    """
    xp = backend.xp

    def one(e: Array) -> Array:
        blurred = x + scale * e
        s = ratio(blurred)
        return xp.sum(0.5 * s**2 + s * (e / scale - blurred / (1.0 + scale**2)), axis=-1)

    return 0.5 * (one(noise) + one(-noise))


def directions(backend: Backend, rng: Any, x: Array, probes: int | None) -> Array:
    """Directions for the divergence: all coordinates (exact), or random signs (sliced).

    Arguments:
        backend: The backend of the arrays.
        rng: A random handle.
        x: Latents, ``(*, D)``.
        probes: Number of random directions; None for all coordinates.

    Raises:
        OptionError: If there is less than one.
    """
    xp, dim = backend.xp, x.shape[-1]
    if probes is None:
        unit = xp.eye(dim, dtype=x.dtype) * dim**0.5
        return xp.reshape(unit, (dim, *(1,) * (x.ndim - 1), dim))
    if probes < 1:
        raise OptionError(f"Expected probes >= 1, or None for the exact divergence; got {probes}.")
    return random_signs(backend, rng, probes, x)


def linear_ratio(x: np.ndarray, score: np.ndarray | None = None) -> np.ndarray:
    r"""The best linear score ratio :math:`s(x) = B x` of samples: :math:`B = I - \hat\Sigma^{-1}`, ``(D, D)``.

    Against another reference it is :math:`B = -(I + \mathbb{E}[\nabla \log \rho(x) x^T]) \hat\Sigma^{-1}`.

    Arguments:
        x: Whitened latents ``(N, D)``.
        score: :math:`\nabla \log \rho(x)`, ``(N, D)``, if not -x.

    Example:
        >>> linear_ratio(np.array([[1.0, 2.0], [1.0, -2.0]])).tolist()
        [[0.0, 0.0], [0.0, 0.75]]
    """
    one = np.eye(x.shape[1])
    score = -x if score is None else score
    return -(one + score.T @ x / len(x)) @ np.linalg.inv(x.T @ x / len(x))
