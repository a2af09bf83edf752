"""The JAX backend. Entry points of :mod:`mmppl.numpyro` are jitted; nothing here is."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special

from mmppl._backend import elimination
from mmppl._backend.jax_arrays import to_jax


class JaxBackend:
    """See :class:`mmppl._backend.protocol.Backend`."""

    xp = jnp

    def logsumexp(self, x, axis):
        # JAX's own gradient is NaN where every term is -inf, so those rows are replaced before and after.
        empty = jnp.max(jax.lax.stop_gradient(x), axis=axis, keepdims=True) == -jnp.inf
        out = special.logsumexp(jnp.where(empty, 0.0, x), axis=axis)
        return jnp.where(jnp.reshape(empty, out.shape), -jnp.inf, out)

    def log_softmax(self, x, axis):
        return jax.nn.log_softmax(x, axis=axis)

    def softplus(self, x):
        return jax.nn.softplus(x)

    def ndtr(self, x):
        return special.ndtr(x)

    def ndtri(self, x):
        return special.ndtri(x)

    def cholesky(self, matrix):
        return _cholesky(matrix)

    def solve_lower(self, lower, right):
        return _solve_lower(lower, right)

    def stop_gradient(self, x):
        return jax.lax.stop_gradient(x)

    def value_and_grad(self, f, x):
        value, back = jax.vjp(f, jax.lax.stop_gradient(x))
        (grad,) = back(jnp.ones_like(value))
        return jax.lax.stop_gradient(value), jax.lax.stop_gradient(grad)

    def vjp(self, f, x, v):
        value, back = jax.vjp(f, x)
        return value, back(v)[0]

    def grad(self, f, params):
        return jax.grad(f)(params)

    def zero_with_gradient(self, pull_back, params, aux):
        # Real, where parameters are complex.
        dtype = jnp.finfo(jnp.result_type(*jax.tree.leaves(params), jnp.float32)).dtype

        @jax.custom_vjp
        def zero(params, aux):
            return jnp.zeros((), dtype)

        def forward(params, aux):
            return jnp.zeros((), dtype), (params, aux)

        def backward(residuals, cotangent):
            params, aux = residuals
            grads = pull_back(params, aux)
            return jax.tree.map(lambda g: cotangent.astype(g.dtype) * g, grads), jax.tree.map(_no_gradient, aux)

        zero.defvjp(forward, backward)
        return zero(params, aux)

    def scan(self, f, carry, xs):
        return jax.lax.scan(f, carry, xs)

    def cond(self, wanted, f, g, x):
        return jax.lax.cond(wanted, f, g, x)

    def odeint(self, f, y, first, last, rtol, atol):
        import diffrax

        out = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: f(jnp.asarray(t, y.dtype), y)),
            diffrax.Dopri5(),
            t0=first,
            t1=last,
            dt0=None,
            y0=y,
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
            max_steps=None,
        )
        return out.ys[-1]

    def normal(self, rng, shape, like):
        return _by_row(jax.random.normal, rng, shape, like.dtype)

    def uniform(self, rng, shape, like):
        return _by_row(jax.random.uniform, rng, shape, like.dtype)

    def split(self, rng, num):
        if not _one_for_each_row(rng):
            return list(jax.random.split(rng, num))
        split = jax.vmap(lambda key: jax.random.split(key, num))(rng)
        return [split[:, i] for i in range(num)]

    def fold_in(self, rng, i):
        if not _one_for_each_row(rng):
            return jax.random.fold_in(rng, i)
        return jax.vmap(lambda key: jax.random.fold_in(key, i))(rng)

    def rng(self, seed):
        return jax.random.key(seed)

    def asarray(self, x, like=None):
        return to_jax(x, None if like is None else like.dtype)

    def to_numpy(self, x):
        return np.array(x)

    def is_concrete(self, x):
        return not isinstance(x, jax.core.Tracer)


@jax.custom_jvp
def _cholesky(matrix):
    return elimination.cholesky(BACKEND, matrix)


@_cholesky.defjvp
def _cholesky_jvp(primals, tangents):
    """Derivative of the result, not of the loop, all of whose steps would be kept (Murray, 2016, section 3.1)."""
    (matrix,), (moved,) = primals, tangents
    root, eye = _cholesky(matrix), jnp.eye(matrix.shape[-1], dtype=matrix.dtype)
    inverse = _solve_lower(root, eye)
    seen = inverse @ moved @ jnp.matrix_transpose(inverse)
    return root, root @ (seen * (jnp.tril(jnp.ones_like(eye)) - 0.5 * eye))


@jax.custom_jvp
def _solve_lower(lower, right):
    return elimination.solve_lower(BACKEND, lower, right)


@_solve_lower.defjvp
def _solve_lower_jvp(primals, tangents):
    (lower, right), (moved, right_moved) = primals, tangents
    found = _solve_lower(lower, right)
    inverse = _solve_lower(lower, jnp.eye(lower.shape[-1], dtype=lower.dtype))
    return found, inverse @ (right_moved - jnp.tril(moved) @ found)


def _one_for_each_row(rng):
    return jnp.issubdtype(rng.dtype, jax.dtypes.prng_key) and rng.ndim == 1


def _by_row(draw, rng, shape, dtype):
    if not _one_for_each_row(rng):
        return draw(rng, shape, dtype)
    return jax.vmap(lambda key: draw(key, shape[1:], dtype))(rng)


def _no_gradient(leaf):
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)


BACKEND = JaxBackend()
