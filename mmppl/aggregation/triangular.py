"""Triangular matrices in batches: Cholesky factors and systems of equations, one column after another.

XLA's own factorisations of many matrices (jaxlib 0.10.2, CPU) can wait for each other forever within a loop, so all
is elimination in as many steps as there are columns; matrices are those of latents, which are few.
"""

from typing import Any

import numpy as np

from mmppl._backend import get_backend

Array = Any

__all__ = ["cholesky", "identity", "solve", "solve_transposed"]


def identity(like: Array) -> Array:
    """Identity matrices ``(*, D, D)`` beside vectors ``(*, D)``, or in place of matrices of that shape."""
    backend = get_backend(like)
    return backend.asarray(np.eye(like.shape[-1]), like=like)


def cholesky(matrix: Array) -> Array:
    """The lower factor C of positive definite matrices ``(*, D, D)``, :math:`C C^T`.

    Example:
        >>> cholesky(np.array([[4.0, 2.0], [2.0, 2.0]])).tolist()
        [[2.0, 0.0], [1.0, 1.0]]
    """
    xp, columns, rest = get_backend(matrix).xp, [], matrix
    for i in range(matrix.shape[-1]):
        column = rest[..., :, 0] / xp.sqrt(rest[..., :1, 0])
        above = [xp.zeros_like(matrix[..., :i, 0])] if i else []
        columns.append(xp.concat([*above, column], axis=-1))
        below = column[..., 1:]
        rest = rest[..., 1:, 1:] - below[..., :, None] * below[..., None, :]
    return xp.stack(columns, axis=-1)


def solve(factor: Array, b: Array) -> Array:
    """The solution x of C x = b for lower triangular C, ``(*, D, D)`` and ``(*, D)``, by forward substitution.

    Example:
        >>> solve(np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([2.0, 3.0])).tolist()
        [1.0, 2.0]
    """
    xp, found, rest = get_backend(b).xp, [], b
    for i in range(factor.shape[-1]):
        found.append(rest[..., 0] / factor[..., i, i])
        rest = rest[..., 1:] - factor[..., i + 1 :, i] * found[-1][..., None]
    return xp.stack(found, axis=-1)


def solve_transposed(factor: Array, b: Array) -> Array:
    """The solution x of :math:`C^T x = b` for lower triangular C, by backward substitution.

    Example:
        >>> solve_transposed(np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([4.0, 2.0])).tolist()
        [1.0, 2.0]
    """
    xp, found, rest = get_backend(b).xp, [], b
    for i in reversed(range(factor.shape[-1])):
        found.append(rest[..., i] / factor[..., i, i])
        rest = rest[..., :i] - factor[..., i, :i] * found[-1][..., None]
    return xp.stack(found[::-1], axis=-1)
