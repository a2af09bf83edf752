r"""Cholesky factors of many small matrices, and their inverses, with derivatives of the first order.

Derivatives are those of the results, which are short, and not of how these are found; with :math:`\Phi` the lower
triangle, its diagonal halved,

.. math:: dC = C\, \Phi(C^{-1}\, dA\, C^{-\top}), \qquad d C^{-1} = -C^{-1}\, dC\, C^{-1}

References:
    | Differentiation of the Cholesky decomposition (Murray, 2016), https://arxiv.org/abs/1602.07527
"""

from typing import Any

import numpy as np

from mmppl._backend import get_backend

Array = Any

__all__ = ["factor", "identity", "inverse"]


def identity(like: Array) -> Array:
    """The identity matrix ``(D, D)`` beside vectors or matrices ``(*, D)``."""
    return get_backend(like).asarray(np.eye(like.shape[-1]), like=like)


def factor(matrix: Array) -> tuple[Array, Array]:
    """The lower factor C of positive definite matrices ``(*, D, D)``, :math:`C C^T`, and its inverse.

    Example:
        >>> [x.round(6).tolist() for x in factor(np.array([[4.0, 2.0], [2.0, 2.0]]))]
        [[[2.0, 0.0], [1.0, 1.0]], [[0.5, 0.0], [-0.5, 1.0]]]
    """
    backend = get_backend(matrix)
    xp, constant = backend.xp, backend.stop_gradient(matrix)
    root = backend.cholesky(constant)
    inverse_root = backend.solve_lower(root, identity(matrix))
    dim = matrix.shape[-1]
    half = backend.asarray(np.tril(np.ones((dim, dim))) - 0.5 * np.eye(dim), like=matrix)
    moved = half * xp.matmul(xp.matmul(inverse_root, matrix - constant), xp.matrix_transpose(inverse_root))
    return root + xp.matmul(root, moved), inverse_root - xp.matmul(moved, inverse_root)


def inverse(lower: Array) -> Array:
    """Inverses of lower triangular matrices ``(*, D, D)``.

    Example:
        >>> inverse(np.array([[2.0, 0.0], [1.0, 1.0]])).tolist()
        [[0.5, 0.0], [-0.5, 1.0]]
    """
    backend = get_backend(lower)
    xp, constant = backend.xp, backend.stop_gradient(lower)
    found = backend.solve_lower(constant, identity(lower))
    return found - xp.matmul(xp.matmul(found, lower - constant), found)
