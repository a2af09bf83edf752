"""The numpy backend: the oracle. Gradients by complex step, exact to rounding for analytic functions."""

import array_api_compat.numpy as xp
import numpy as np
from scipy import integrate, special

from mmppl._backend.elimination import cholesky, solve_lower
from mmppl._backend.loop import python_scan


class NumpyBackend:
    """See :class:`mmppl._backend.protocol.Backend`."""

    xp = xp

    def logsumexp(self, x, axis):
        peak = np.max(np.where(np.isfinite(x), x.real, -np.inf), axis=axis, keepdims=True)
        peak = np.where(np.isfinite(peak), peak, 0.0)
        with np.errstate(divide="ignore"):
            out = np.log(np.sum(np.exp(x - peak), axis=axis, keepdims=True)) + peak
        return np.squeeze(out, axis=axis)

    def log_softmax(self, x, axis):
        return x - np.expand_dims(self.logsumexp(x, axis), axis)

    def softplus(self, x):
        return np.log1p(np.exp(-np.where(x.real >= 0, x, -x))) + np.where(x.real >= 0, x, 0.0)

    def ndtr(self, x):
        return special.ndtr(x)

    def ndtri(self, x):
        return special.ndtri(x)

    def cholesky(self, matrix):
        return cholesky(self, matrix)

    def solve_lower(self, lower, right):
        return solve_lower(self, lower, right)

    def stop_gradient(self, x):
        return x

    def value_and_grad(self, f, x):
        step = 1e-30
        flat = x.reshape(-1)
        probe = np.zeros_like(flat, dtype=complex)
        out = np.empty_like(flat)
        for i in range(flat.size):
            probe[:] = flat
            probe[i] += 1j * step
            out[i] = np.sum(f(probe.reshape(x.shape))).imag / step
        return np.real(f(x)), out.reshape(x.shape)

    def vjp(self, f, x, v):
        return f(x), self.value_and_grad(lambda y: np.sum(f(y) * v, axis=-1), x)[1]

    def grad(self, f, params):
        leaves = list(params)
        out = []
        for i, leaf in enumerate(leaves):

            def partial(x, i=i):
                return f(tuple(x if j == i else other for j, other in enumerate(leaves)))

            out.append(self.value_and_grad(partial, leaf)[1])
        return tuple(out)

    def zero_with_gradient(self, pull_back, params, aux):
        return 0.0

    def scan(self, f, carry, xs):
        return python_scan(f, carry, xs, np.stack)

    def cond(self, wanted, f, g, x):
        return f(x) if wanted else g(x)

    def odeint(self, f, y, first, last, rtol, atol):
        def flat(t, state):
            return f(np.asarray(t), state.reshape(y.shape)).ravel()

        out = integrate.solve_ivp(flat, (first, last), y.ravel(), method="RK45", rtol=rtol, atol=atol)
        return out.y[:, -1].reshape(y.shape)

    def normal(self, rng, shape, like):
        return rng.standard_normal(shape).astype(like.dtype)

    def uniform(self, rng, shape, like):
        return rng.random(shape).astype(like.dtype)

    def split(self, rng, num):
        return [rng] * num

    def fold_in(self, rng, i):
        return rng

    def rng(self, seed):
        return np.random.default_rng(seed)

    def asarray(self, x, like=None):
        return np.asarray(x, dtype=None if like is None else like.dtype)

    def to_numpy(self, x):
        return np.array(x)

    def is_concrete(self, x):
        return True


BACKEND = NumpyBackend()
