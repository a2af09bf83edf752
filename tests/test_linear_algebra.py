"""Cholesky factors and triangular systems: values by scipy, derivatives of both orders by known eigenvalues."""

import numpy as np
import pytest
from scipy import linalg

from mmppl._backend import get_backend

RNG = np.random.default_rng(3)
ROOTS = np.tril(RNG.normal(size=(2, 5, 4, 4))) + 3.0 * np.eye(4)
MATRICES = ROOTS @ ROOTS.transpose(0, 1, 3, 2)


def test_factors_are_scipys(to):
    backend = get_backend(to(MATRICES))
    found = backend.to_numpy(backend.cholesky(to(MATRICES)))
    wanted = [[linalg.cholesky(m, lower=True) for m in some] for some in MATRICES]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 1), (4, 3), (2, 5, 4, 2)])
def test_solutions_are_scipys(to, shape):
    backend, right = get_backend(to(ROOTS)), RNG.normal(size=shape)
    found = backend.to_numpy(backend.solve_lower(to(ROOTS), to(right)))
    each = np.broadcast_to(right, (2, 5, *shape[-2:]))
    wanted = [
        [linalg.solve_triangular(c, b, lower=True) for c, b in zip(cs, bs, strict=True)]
        for cs, bs in zip(ROOTS, each, strict=True)
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_a_matrix_without_a_factor_spoils_its_own_alone(to):
    given = MATRICES[0].copy()
    given[1, 3, 3] = -1.0
    backend = get_backend(to(given))
    with np.errstate(invalid="ignore"):
        found = backend.to_numpy(backend.cholesky(to(given)))
    assert np.isnan(found[1]).any()
    np.testing.assert_allclose(found[[0, 2, 3, 4]], np.linalg.cholesky(given[[0, 2, 3, 4]]), rtol=1e-12)


def test_a_density_has_its_derivatives_of_both_orders(to):
    """Of log|A| + b^T A^-1 b with A = theta_0 I + theta_1 v v^T, whose eigenvalues are known."""
    v, b = np.array([1.0, 2.0, -1.0, 0.5]), np.array([0.3, -1.0, 2.0, 0.7])
    theta = np.array([1.3, 0.8])
    square, along = v @ v, v @ b
    off = b @ b - along**2 / square

    def wanted(theta):
        first, far = theta[0], theta[0] + theta[1] * square
        return 3 * np.log(first) + np.log(far) + off / first + along**2 / square / far

    def numeric(f, x):
        steps = 1e-5 * np.eye(len(x))
        return np.stack([(f(x + h) - f(x - h)) / 2e-5 for h in steps])

    def f(theta):
        backend = get_backend(theta)
        xp, one, far = backend.xp, to(np.eye(4)), to(np.outer(v, v))
        matrix = theta[..., 0, None, None] * one + theta[..., 1, None, None] * far
        root = backend.cholesky(matrix)
        half = backend.solve_lower(root, to(b[:, None]))[..., 0]
        return 2.0 * xp.sum(xp.log(xp.linalg.diagonal(root)), axis=-1) + xp.sum(half * half, axis=-1)

    backend = get_backend(to(theta))
    gradient = numeric(wanted, theta)
    for rows in (theta, np.stack([theta, theta])):
        value, found = backend.value_and_grad(f, to(rows))
        np.testing.assert_allclose(backend.to_numpy(value), wanted(theta), rtol=1e-12)
        np.testing.assert_allclose(backend.to_numpy(found), np.broadcast_to(gradient, rows.shape), rtol=1e-7)
    if backend is get_backend(np.ones(1)):
        return
    hessian = numeric(lambda x: numeric(wanted, x), theta)
    for direction in np.eye(2):
        moved = second(to, f, theta, direction)
        np.testing.assert_allclose(moved, hessian @ direction, rtol=1e-4, atol=1e-5)


def second(to, f, theta, direction):
    """The Hessian times a direction, by differentiating twice."""
    if type(to(theta)).__module__ == "torch":
        import torch

        x = to(theta).requires_grad_()
        (grad,) = torch.autograd.grad(f(x), x, create_graph=True)
        return torch.autograd.grad(grad @ to(direction), x)[0].numpy()
    import jax

    return np.asarray(jax.grad(lambda x: jax.grad(f)(x) @ to(direction))(to(theta)))
