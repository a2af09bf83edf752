"""Normal experts with correlations: triangular factors, products, mixtures, heads of encoders."""

import importlib

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from mmppl._backend import get_backend
from mmppl.aggregation import Experts, GeometricMean, Mixture, Pooled, Product, all_subsets, pool, stack_experts
from mmppl.aggregation.triangular import factor, inverse
from mmppl.data import LinearGaussian
from mmppl.errors import OptionError
from mmppl.nets import MLP, DeepSets, LocFactor
from mmppl.nets.spec import factor_outputs
from mmppl.testing import AggregationContract

RNG = np.random.default_rng(0)
ROWS, NUMBER, DIM = 5, 3, 4
LOC = RNG.normal(size=(ROWS, NUMBER, DIM))
FACTOR = np.tril(0.5 * RNG.normal(size=(ROWS, NUMBER, DIM, DIM)), -1) + RNG.uniform(
    0.5, 2.0, (ROWS, NUMBER, DIM, 1)
) * (np.eye(DIM))
PRESENT = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 0, 1]], dtype=bool)
Z = RNG.normal(size=(ROWS, DIM))
EXPERTS = Experts(LOC, FACTOR, PRESENT, "multivariate_normal")


@pytest.fixture(params=["numpyro", "pyro"])
def ppl(request):
    return importlib.import_module(f"mmppl.{request.param}")


def moments(row, members, prior, power=1.0):
    """Mean and covariance of a product, written out."""
    matrices = FACTOR[row] @ FACTOR[row].swapaxes(-1, -2)
    precision = power * sum((matrices[m] for m in members), np.zeros((DIM, DIM)))
    shift = power * sum((matrices[m] @ LOC[row, m] for m in members), np.zeros(DIM))
    if prior or not members:
        precision = precision + np.eye(DIM)
    return np.linalg.solve(precision, shift), np.linalg.inv(precision)


def density(row, members, prior, power=1.0):
    return stats.multivariate_normal(*moments(row, members, prior, power)).logpdf(Z[row])


def members_of(row):
    return [m for m in range(NUMBER) if PRESENT[row, m]]


@pytest.mark.parametrize("host", ["numpy", "torch", "jax"])
def test_factors_and_inverses_and_their_derivatives(host):
    """Of the numbers of numpy, and of differences of them."""
    lower = np.tril(RNG.normal(size=(2, 3, 3))) + 3 * np.eye(3)
    matrix, weight = lower @ lower.swapaxes(-1, -2), RNG.normal(size=(3, 2, 3, 3))
    if host == "numpy":
        arrays = matrix, lower
    elif host == "torch":
        torch = pytest.importorskip("torch")
        arrays = torch.tensor(matrix), torch.tensor(lower)
    else:
        jax = pytest.importorskip("jax")
        arrays = jax.numpy.asarray(matrix), jax.numpy.asarray(lower)
    rtol = 1e-10 if str(arrays[0].dtype).endswith("float64") else 1e-4
    found = [np.asarray(x) for x in (*factor(arrays[0]), inverse(arrays[1]))]
    for mine, exact in zip(found, (lower, np.linalg.inv(lower), np.linalg.inv(lower)), strict=True):
        assert_allclose(mine, exact, rtol=rtol, atol=rtol)
    if host == "numpy":
        return
    backend = get_backend(arrays[0])
    weights = [backend.asarray(w, like=arrays[0]) for w in weight]

    def total(both):
        parts = (*factor(both[0]), inverse(both[1]))
        return sum(backend.xp.sum(w * x) for w, x in zip(weights, parts, strict=True))

    if host == "torch":
        arrays = tuple(x.requires_grad_() for x in arrays)
    grads = [np.asarray(backend.to_numpy(g)) for g in backend.grad(total, arrays)]
    step, turn = 1e-5, [RNG.normal(size=(2, 3, 3)) for _ in range(2)]
    turn = [turn[0] + turn[0].swapaxes(-1, -2), np.tril(turn[1])]

    def exact(move):
        root = np.linalg.cholesky(matrix + move * turn[0])
        inverses = np.linalg.inv(root), np.linalg.inv(lower + move * turn[1])
        return sum((w * x).sum() for w, x in zip(weight, (root, *inverses), strict=True))

    wanted = (exact(step) - exact(-step)) / (2 * step)
    assert_allclose(sum((g * t).sum() for g, t in zip(grads, turn, strict=True)), wanted, rtol=max(rtol, 1e-6))


@pytest.mark.parametrize("prior", [True, False])
def test_a_product_is_the_closed_form(prior):
    q = Product(EXPERTS, prior_expert=prior)
    assert_allclose(q.log_prob(Z), [density(row, members_of(row), prior) for row in range(ROWS)])
    draws = q.sample(np.random.default_rng(0), (100_000,))
    for row in range(ROWS):
        mean, cov = moments(row, members_of(row), prior)
        assert_allclose(draws[:, row].mean(0), mean, atol=0.02)
        assert_allclose(np.cov(draws[:, row].T), cov, atol=0.02)


def test_a_geometric_mean_has_powers():
    q = GeometricMean(EXPERTS)
    wanted = [density(r, members_of(r), False, 1.0 / max(len(members_of(r)), 1)) for r in range(ROWS)]
    assert_allclose(q.log_prob(Z), wanted)


@pytest.mark.parametrize("singles", [True, False])
def test_mixtures_are_those_of_their_components(singles):
    rows = np.eye(NUMBER, dtype=bool)[::-1] if singles else all_subsets(NUMBER)
    q = Mixture(EXPERTS, rows)
    for row in range(ROWS):
        inside = [[m for m in range(NUMBER) if s[m]] for s in rows if not (s & ~PRESENT[row]).any()]
        parts = [density(row, members, False) for members in inside or [[]]]
        assert_allclose(q.log_prob(Z)[row], np.log(np.mean(np.exp(parts))))
    draws = q.sample(np.random.default_rng(0), (50_000,))
    mean = np.mean([moments(0, [m for m in range(NUMBER) if s[m]], False)[0] for s in rows], 0)
    assert_allclose(draws[:, 0].mean(0), mean, atol=0.04)


def test_exact_experts_make_the_exact_posterior_of_every_subset():
    """What independent coordinates cannot: each expert is a likelihood, up to a factor."""
    truth = LinearGaussian(2, {"a": 3, "b": 2, "c": 4}, seed=1, noise=0.3)
    rows = truth.sample(6, seed=2)
    experts = {}
    for name, weight in truth.weight.items():
        matrix, residual = weight.T @ weight / truth.noise[name] ** 2, rows[name] - truth.bias[name]
        loc = np.linalg.solve(matrix, weight.T / truth.noise[name] ** 2 @ residual[..., None])[..., 0]
        experts[name] = loc, np.broadcast_to(np.linalg.cholesky(matrix), (6, 2, 2))
    for subset in all_subsets(3):
        given = rows.with_present({n: np.full(6, s) for n, s in zip("abc", subset, strict=True)})
        q, (mean, cov) = Product(stack_experts(experts, given.present)), truth.posterior(given)
        assert_allclose(q.component.loc, mean)
        precision = q.component.factor @ q.component.factor.swapaxes(-1, -2)
        assert_allclose(precision, np.linalg.inv(cov))


def test_the_hosts_multivariate_normals_are_experts(ppl):
    array = get_backend(ppl.host.zeros(1)).asarray
    like = ppl.host.zeros(1)
    cov = np.linalg.inv(FACTOR @ FACTOR.swapaxes(-1, -2))
    own = {
        n: ppl.host.dist.MultivariateNormal(array(LOC[:, i], like), array(cov[:, i], like)) for i, n in enumerate("abc")
    }
    present = {n: array(PRESENT[:, i]) for i, n in enumerate("abc")}
    q = ppl.Product(own, present)
    assert q.family == "multivariate_normal"
    assert_allclose(np.asarray(q.log_prob(array(Z, like))), Product(EXPERTS).log_prob(Z), rtol=2e-4)
    mixed = own | {"a": ppl.host.dist.Normal(array(LOC[:, 0], like), 1.0).to_event(1)}
    with pytest.raises(OptionError, match="Expected experts of one family among .*; got 'mixed'"):
        ppl.Product(mixed, present)
    with pytest.raises(OptionError, match=r"Expected the factor of a precision, \(\*, D, D\), of every expert"):
        ppl.Product(
            {"a": (LOC[:, 0], FACTOR[:, 0]), "b": (LOC[:, 1], LOC[:, 1])}, present, family="multivariate_normal"
        )


def test_a_head_gives_a_triangular_factor_alike_on_both_hosts(ppl):
    spec = LocFactor(MLP((6,), (factor_outputs(3),), ()), floor=0.0)
    net, like = ppl.build(spec, seed=0), ppl.host.zeros(1)
    weights = {n: np.asarray(w, float) for n, w in initial(spec).items()}
    x = RNG.normal(size=(5, 6))
    loc, own = (np.asarray(get_backend(like).to_numpy(part)) for part in net(get_backend(like).asarray(x, like)))
    out = x @ weights["layers.1.weight"].T + weights["layers.1.bias"]
    unit = np.tile(np.eye(3), (5, 1, 1))
    unit[:, 1, 0], unit[:, 2, 0], unit[:, 2, 1] = out[:, 6:].T
    assert_allclose(loc, out[:, :3], rtol=1e-4, atol=1e-5)
    assert_allclose(own, unit / np.log1p(np.exp(out[:, 3:6] + np.log(np.e - 1)))[..., None], rtol=1e-4, atol=1e-5)
    with pytest.raises(OptionError, match=r"Expected a body with out_shape \(D \(D \+ 3\) / 2,\); got \(6,\)"):
        LocFactor(MLP((3,), (6,)))


def initial(spec):
    from mmppl.nets import initial_weights

    return initial_weights(spec, seed=0)


def test_a_pooled_normal_with_correlations():
    q = Pooled(LOC[:, 0], FACTOR[:, 0], family="multivariate_normal")
    cov = np.linalg.inv(FACTOR[:, 0] @ FACTOR[:, 0].swapaxes(-1, -2))
    wanted = [stats.multivariate_normal(LOC[r, 0], cov[r]).logpdf(Z[r]) for r in range(ROWS)]
    assert_allclose(q.log_prob(Z), wanted)
    draws = q.sample(np.random.default_rng(0), (100_000,))
    assert_allclose(np.cov(draws[:, 1].T), cov[1], atol=0.05 * np.abs(cov[1]).max())
    empty = pool({"a": LOC[:, 0]}, {"a": PRESENT[:, 0]}, lambda h, mask: (LOC[:, 0], FACTOR[:, 0]), "prior")
    assert_allclose(empty[1][2], np.eye(DIM))
    assert_allclose(empty[1][0], FACTOR[0, 0])
    with pytest.raises(OptionError, match="Expected components=1 of a normal with correlations"):
        DeepSets(4, 2, components=2, correlated=True)


class Correlated(AggregationContract):
    """Experts of the contract, with correlations."""

    def correlated(self, experts):
        out = {}
        for name, (loc, scale) in experts.items():
            xp, like = get_backend(loc).xp, loc
            eye = get_backend(loc).asarray(np.eye(loc.shape[-1]), like=like)
            tril = get_backend(loc).asarray(0.4 * np.tril(np.ones((loc.shape[-1],) * 2), -1), like=like)
            out[name] = loc, (eye + tril) * xp.expand_dims(scale, axis=-1)
        return out


class TestProduct(Correlated):
    host = "pyro"

    def posterior(self, experts, present):
        return self.driver.mm.Product(self.correlated(experts), present)


class TestProductOnNumPyro(TestProduct):
    host = "numpyro"


class TestMixtureOfProducts(Correlated):
    host = "pyro"

    def posterior(self, experts, present):
        return self.driver.mm.MixtureOfProducts(self.correlated(experts), present)


class TestMixtureOfExpertsOnNumPyro(Correlated):
    host = "numpyro"

    def posterior(self, experts, present):
        return self.driver.mm.MixtureOfExperts(self.correlated(experts), present)
