"""Cholesky factors and triangular systems of many small matrices, a column or a row at a time.

For the backends whose own do not serve: XLA's of many matrices (jaxlib 0.10.2, CPU) can wait for each other forever
within a loop, and numpy's are not analytic, which a complex step needs.
"""

import numpy as np


def cholesky(backend, matrix):
    """The lower Cholesky factor of positive definite matrices ``(*, D, D)``."""
    xp, dim = backend.xp, matrix.shape[-1]

    def column(left, xs):
        unit, below = xs
        found = below * xp.matmul(left, unit)
        found = found / xp.sqrt(xp.sum(found * unit, axis=-1))[..., None]
        return left - found[..., :, None] * found[..., None, :], found

    units, below = (backend.asarray(x, like=matrix) for x in (np.eye(dim), np.triu(np.ones((dim, dim)))))
    return xp.moveaxis(backend.scan(column, matrix, (units, below))[1], 0, -1)


def solve_lower(backend, lower, right):
    """Solutions X of C X = B, of lower triangular C ``(*, D, D)`` and B ``(*, D, K)``."""
    xp, dim = backend.xp, lower.shape[-1]
    right = xp.broadcast_to(right, (*lower.shape[:-1], right.shape[-1]))

    def row(found, xs):
        own, wanted, unit = xs
        wanted = (wanted - xp.sum(own[..., :, None] * found, axis=-2)) / xp.sum(own * unit, axis=-1)[..., None]
        return found + unit[:, None] * wanted[..., None, :], None

    rows = xp.moveaxis(lower, -2, 0), xp.moveaxis(right, -2, 0), backend.asarray(np.eye(dim), like=lower)
    return backend.scan(row, xp.zeros_like(right), rows)[0]
