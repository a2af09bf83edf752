r"""Cholesky factors of many small matrices, and their inverses, with derivatives of the first order.

XLA's own factorisations of many matrices (jaxlib 0.10.2, CPU) can wait for each other forever within a loop, so
matrices are eliminated a column and a row at a time. Derivatives are not those of the loop, whose steps would all have
to be kept: with :math:`\Phi` the lower triangle, its diagonal halved,

.. math:: dC = C\, \Phi(C^{-1}\, dA\, C^{-\top}), \qquad d C^{-1} = -C^{-1}\, dC\, C^{-1}

References:
    | Differentiation of the Cholesky decomposition (Murray, 2016), https://arxiv.org/abs/1602.07527
"""

from typing import Any

import numpy as np

from mmppl._backend import Backend, get_backend

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
    root, inverse_root = eliminated(backend, constant)
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

    def row(found: Array, unit: Array) -> tuple[Array, None]:
        own = xp.sum(unit[:, None] * constant, axis=-2)
        done = unit - xp.sum((own - unit * own)[..., :, None] * found, axis=-2)
        done = done / xp.sum(unit * own, axis=-1)[..., None]
        return found + unit[:, None] * done[..., None, :], None

    found = backend.scan(row, xp.zeros_like(constant), identity(lower))[0]
    return found - xp.matmul(xp.matmul(found, lower - constant), found)


def eliminated(backend: Backend, matrix: Array) -> tuple[Array, Array]:
    """As :func:`factor`, without its derivatives: the loop over columns, and rows of the inverse."""
    xp, dim = backend.xp, matrix.shape[-1]

    def column(carry: tuple, xs: tuple) -> tuple[tuple, None]:
        (root, inverse_root), (unit, below) = carry, xs
        row = xp.sum(unit[:, None] * root, axis=-2)
        left = xp.sum(unit[:, None] * matrix, axis=-2) - xp.sum(root * row[..., None, :], axis=-1)
        pivot = xp.sqrt(xp.sum(unit * left, axis=-1))[..., None]
        root = root + (below * left / pivot)[..., :, None] * unit
        done = (unit - xp.sum(row[..., :, None] * inverse_root, axis=-2)) / pivot
        return (root, inverse_root + unit[:, None] * done[..., None, :]), None

    units, below = (backend.asarray(x, like=matrix) for x in (np.eye(dim), np.triu(np.ones((dim, dim)))))
    zeros = xp.zeros_like(matrix)
    return backend.scan(column, (zeros, zeros), (units, below))[0]
