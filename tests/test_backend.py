"""The backend protocol: three backends, one set of numbers."""

import math

import numpy as np
import pytest
from scipy import special

from mmppl._backend import get_backend

RTOL = 1e-10


def close(value, wanted, rtol=RTOL):
    value = get_backend(value).to_numpy(value)
    np.testing.assert_allclose(value, wanted, rtol=rtol, atol=1e-300)
    assert value.dtype == np.asarray(wanted).dtype


RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 4)) * 3.0

# Independent formulas, from scipy and numpy.
ELEMENTWISE = {
    "softplus": (X, np.logaddexp(X, 0.0)),
    "softplus far out": (
        np.array([-800.0, -40.0, 0.0, 40.0, 800.0]),
        [0.0, math.exp(-40.0), math.log(2.0), 40.0, 800.0],
    ),
    "ndtr": (X, 0.5 * special.erfc(-X / math.sqrt(2.0))),
    "ndtri": (np.linspace(0.001, 0.999, 21), -math.sqrt(2.0) * special.erfcinv(2.0 * np.linspace(0.001, 0.999, 21))),
}


@pytest.mark.parametrize("case", ELEMENTWISE)
def test_elementwise_functions(to, case):
    x, wanted = ELEMENTWISE[case]
    x = to(x)
    close(getattr(get_backend(x), case.split()[0])(x), np.asarray(wanted))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_log_softmax(to, axis):
    x = to(X)
    close(get_backend(x).log_softmax(x, axis), special.log_softmax(X, axis=axis))


@pytest.mark.parametrize("axis", [0, -1, (0, 1)])
def test_logsumexp(to, axis):
    x = to(X)
    close(get_backend(x).logsumexp(x, axis), special.logsumexp(X, axis=axis))


def test_logsumexp_of_far_and_empty_terms(to):
    x = to(np.array([[-np.inf, -np.inf], [-np.inf, 2.0], [-1e4, -1e4], [1e4, 1e4]]))
    wanted = np.array([-np.inf, 2.0, -1e4 + math.log(2.0), 1e4 + math.log(2.0)])
    np.testing.assert_array_equal(get_backend(x).to_numpy(get_backend(x).logsumexp(x, 1)), wanted)


def test_the_gradient_of_logsumexp_is_zero_where_nothing_is_there(to):
    x = to(np.array([[-np.inf, -np.inf], [-np.inf, 2.0], [0.0, 0.0]]))
    backend = get_backend(x)
    value, grad = backend.value_and_grad(lambda x: backend.logsumexp(x, 1), x)
    np.testing.assert_array_equal(backend.to_numpy(value), [-np.inf, 2.0, math.log(2.0)])
    np.testing.assert_allclose(backend.to_numpy(grad), [[0.0, 0.0], [0.0, 1.0], [0.5, 0.5]], rtol=RTOL)


def test_one_branch_is_taken(to):
    x = to(X)
    backend = get_backend(x)
    for wanted, value in ((True, 2.0 * X), (False, X - 1.0)):
        found = backend.cond(to(np.array(wanted)), lambda x: (2.0 * x,), lambda x: (x - 1.0,), x)
        close(found[0], value)


def test_draws_of_a_loop_are_like_draws_in_a_row(to):
    """Each is new, and a stateless handle gives the i-th again."""
    like = to(X)
    backend = get_backend(like)
    rng = backend.rng(0)
    draws = [backend.to_numpy(backend.normal(backend.fold_in(rng, to(np.array(i))), (2000,), like)) for i in (0, 1, 2)]
    assert np.abs(np.corrcoef(draws)[np.triu_indices(3, 1)]).max() < 0.1
    if backend.split(rng, 2)[0] is not rng:
        again = backend.to_numpy(backend.normal(backend.fold_in(rng, to(np.array(1))), (2000,), like))
        np.testing.assert_array_equal(again, draws[1])


def energy(backend, x):
    """A smooth function of each row, with its gradient known in closed form."""
    return backend.xp.sum(backend.softplus(x) * x, axis=-1)


def test_value_and_grad_of_rows(to):
    x = to(X)
    backend = get_backend(x)
    value, grad = backend.value_and_grad(lambda x: energy(backend, x), x)
    close(value, (np.logaddexp(X, 0.0) * X).sum(-1))
    close(grad, np.logaddexp(X, 0.0) + X * special.expit(X))


def test_value_and_grad_through_the_normal_distribution_function(to):
    """The complex step of the numpy oracle must not lose the imaginary part in special functions."""
    x = to(X)
    backend = get_backend(x)
    _, grad = backend.value_and_grad(lambda x: backend.ndtr(x), x)
    close(grad, np.exp(-0.5 * X**2) / math.sqrt(2.0 * math.pi), rtol=1e-9)


def leaf(x):
    return x.requires_grad_() if hasattr(x, "requires_grad_") else x


def test_grad_of_a_tree(to):
    a, b, unused = leaf(to(X[0].copy())), leaf(to(X[1].copy())), leaf(to(X[2].copy()))
    backend = get_backend(a)
    grads = backend.grad(lambda p: backend.xp.sum(p[0] ** 3 * p[1]), (a, b, unused))
    close(grads[0], 3.0 * X[0] ** 2 * X[1])
    close(grads[1], X[0] ** 3)
    close(grads[2], np.zeros(4))


def test_stop_gradient(to):
    x = to(X)
    backend = get_backend(x)
    _, grad = backend.value_and_grad(lambda x: backend.xp.sum(x**2, axis=-1), x)
    close(grad, 2.0 * X)
    kept = backend.stop_gradient((x, (x,)))
    close(kept[1][0], X)


@pytest.mark.parametrize("kind", ["jax", "torch"])
def test_stop_gradient_cuts(kind, x64):
    value_and_grad = _framework(kind)[0]
    value, grad = value_and_grad(lambda x: (get_backend(x).stop_gradient(x) * x).sum(), X[0])
    np.testing.assert_allclose(value, (X[0] ** 2).sum(), rtol=RTOL)
    np.testing.assert_allclose(grad, X[0], rtol=RTOL)


def test_scan(to):
    xs = (to(X), to(X[:, 0]))
    backend = get_backend(xs[0])

    def step(carry, x):
        total, count = carry
        total = total + x[0] * x[1]
        return (total, count + 1.0), (total, count)

    (total, count), (totals, counts) = backend.scan(step, (xs[0][0] * 0.0, xs[1][0] * 0.0), xs)
    wanted = np.cumsum(X * X[:, :1], axis=0)
    close(totals, wanted)
    close(total, wanted[-1])
    close(counts, np.arange(5.0))
    assert float(count) == 5.0


def test_scan_without_outputs(to):
    x = to(X)
    total, nothing = get_backend(x).scan(lambda carry, x: (carry + x, None), x[0] * 0.0, x)
    close(total, X.sum(0))
    assert nothing is None


def test_replayed_noise_gives_one_chain(to):
    """Forty Langevin steps on the noise of one generator: the three backends walk the same path."""
    noise = np.random.default_rng(1).normal(size=(40, 5, 4))
    start, noise = to(X), to(noise)
    backend = get_backend(start)

    def step(x, eps):
        _, grad = backend.value_and_grad(lambda x: -energy(backend, x), x)
        x = x + 0.05 * grad + math.sqrt(0.1) * eps
        return x, x

    _, path = backend.scan(step, start, noise)
    x, wanted = X, []
    for eps in np.random.default_rng(1).normal(size=(40, 5, 4)):
        x = x - 0.05 * (np.logaddexp(x, 0.0) + x * special.expit(x)) + math.sqrt(0.1) * eps
        wanted.append(x)
    np.testing.assert_allclose(backend.to_numpy(path), np.stack(wanted), rtol=RTOL, atol=1e-12)


@pytest.mark.parametrize("name", ["normal", "uniform"])
def test_noise(to, name):
    like = to(X)
    backend = get_backend(like)
    draws = [backend.to_numpy(getattr(backend, name)(backend.rng(seed), (20000, 2), like)) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not (draws[0] == draws[2]).any()
    assert draws[0].dtype == np.float64
    mean, variance = {"normal": (0.0, 1.0), "uniform": (0.5, 1.0 / 12.0)}[name]
    error = 5.0 / math.sqrt(draws[0].size)
    assert abs(draws[0].mean() - mean) < error * math.sqrt(variance)
    assert abs(draws[0].var() - variance) < error * variance * math.sqrt(2.0)
    if name == "uniform":
        assert draws[0].min() >= 0.0
        assert draws[0].max() < 1.0


def test_split_handles_give_other_noise(to):
    like = to(X)
    backend = get_backend(like)
    one, two = backend.split(backend.rng(0), 2)
    first, second = backend.normal(one, (4,), like), backend.normal(two, (4,), like)
    assert not bool((first == second).any())


def test_boundary(to):
    x = to(X)
    backend = get_backend(x)
    assert type(backend.asarray(X, x)) is type(x)
    single = backend.asarray(np.float32([1.0]))
    assert backend.asarray([1, 2], single).dtype == single.dtype
    copy = backend.to_numpy(x)
    copy[0, 0] = 99.0
    assert float(x[0, 0]) == X[0, 0]
    assert backend.is_concrete(x)


# The scalar 0 with a gradient of its own -------------------------------------------------------------------------


def _framework(kind):
    """``value_and_grad(f, x)`` and ``value(f, x)`` by the framework's own means, from and to numpy."""
    if kind == "jax":
        import jax
        import jax.numpy as jnp

        def both(f, x):
            value, grad = jax.value_and_grad(f)(jnp.asarray(x))
            return np.asarray(value), np.asarray(grad)

        return both, lambda f, x: np.asarray(f(jnp.asarray(x)))
    import torch

    def both(f, x):
        x = torch.tensor(x, requires_grad=True)
        value = f(x)
        value.backward()
        return value.detach().numpy(), x.grad.numpy()

    return both, lambda f, x: np.asarray(f(torch.tensor(x)))


class Zero:
    """``base(x) + factor * zero``, whose pull-back counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x, factor=3.0):
        def pull_back(params, aux):
            self.calls += 1
            (p,), (a,) = params, aux
            return (p * a,)

        xp = get_backend(x)
        aux = xp.stop_gradient(x) * 0.0 + 2.0
        return (x**2).sum() + factor * xp.zero_with_gradient(pull_back, (x,), (aux,))


@pytest.mark.parametrize("kind", ["jax", "torch"])
def test_zero_with_gradient(kind, x64):
    value_and_grad, value_only = _framework(kind)
    f, x = Zero(), X[0]
    assert value_only(f, x) == value_only(lambda x: (x**2).sum(), x)
    assert f.calls == 0, "the pull-back ran though no gradient was asked for"
    value, grad = value_and_grad(f, x)
    assert value == value_only(lambda x: (x**2).sum(), x)
    np.testing.assert_allclose(grad, 2.0 * x + 3.0 * 2.0 * x, rtol=RTOL)
    assert f.calls == 1


def test_zero_with_gradient_is_plain_zero_in_numpy():
    assert get_backend(X).zero_with_gradient(lambda params, aux: params, (X,), ()) == 0.0


def test_zero_with_gradient_under_jit_and_vmap(x64):
    import jax
    import jax.numpy as jnp

    f, x = Zero(), jnp.asarray(X[0])
    value, grad = jax.jit(jax.value_and_grad(f))(x)
    np.testing.assert_allclose(value, (X[0] ** 2).sum(), rtol=RTOL)
    np.testing.assert_allclose(grad, 8.0 * X[0], rtol=RTOL)
    factors = jnp.asarray([0.0, 1.0, -2.0])
    grads = jax.vmap(jax.grad(f), in_axes=(None, 0))(x, factors)
    np.testing.assert_allclose(grads, 2.0 * X[0] + np.asarray(factors)[:, None] * 2.0 * X[0], rtol=RTOL)
    _, back = jax.vjp(f, x)
    (many,) = jax.vmap(back)(factors)
    np.testing.assert_allclose(many, np.asarray(factors)[:, None] * 8.0 * X[0], rtol=RTOL)


def test_zero_with_gradient_takes_keys_and_integers_beside_the_parameters():
    import jax
    import jax.numpy as jnp

    def f(x, key, count):
        def pull_back(params, aux):
            noise = jax.random.normal(aux[0], params[0].shape)
            return (params[0] * 0.0 + noise * aux[1],)

        return get_backend(x).zero_with_gradient(pull_back, (x,), (key, count))

    x, key, count = jnp.ones(3), jax.random.key(1), jnp.asarray(2)
    grad = jax.jit(jax.grad(f))(x, key, count)
    np.testing.assert_allclose(grad, 2.0 * jax.random.normal(key, (3,)), rtol=1e-6)


# Dispatch --------------------------------------------------------------------------------------------------------


def test_the_backend_is_found_from_the_arguments(to, request):
    x, kind = to(X), request.node.callspec.params["to"]
    assert get_backend(1.0, None, x) is get_backend(x)
    assert type(get_backend(x)).__module__ == f"mmppl._backend.{kind}"


@pytest.mark.pyro
def test_parameters_and_mixed_arguments():
    import torch

    backend = get_backend(torch.nn.Parameter(torch.ones(2)))
    assert backend is get_backend(torch.ones(2)) is get_backend(np.ones(2), torch.ones(2))


def test_a_tracer_is_a_jax_array():
    import jax
    import jax.numpy as jnp

    seen = []

    def f(x):
        seen.extend([get_backend(x), get_backend(np.ones(2), x), get_backend(x).is_concrete(x)])
        return x

    jax.jit(f)(jnp.ones(2))
    jax.vmap(f)(jnp.ones(2))
    jax.grad(f)(1.0)
    assert {id(b) for b in seen if not isinstance(b, bool)} == {id(get_backend(jnp.ones(2)))}
    assert [b for b in seen if isinstance(b, bool)] == [False, False, False]


def test_numpy_scalars_count_as_numpy():
    assert get_backend(np.float64(1.0)) is get_backend(np.ones(1))


def test_no_array_is_an_error():
    with pytest.raises(TypeError, match=r"Expected a numpy, torch or JAX array; got \['float', 'str'\]. Pass at least"):
        get_backend(1.0, "x")
