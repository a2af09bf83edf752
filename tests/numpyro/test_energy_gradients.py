"""The learning gradient of NumPyro's energy-tilted prior, by every way that JAX can be asked for it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import mmppl.numpyro as mm
from mmppl.errors import OptionError
from mmppl.nets.bound import BoundNet

LOC, LOG_SCALE, X = 1.2, 0.3, np.array([[0.7], [-0.4]])
AT = np.array([LOC, LOG_SCALE])
KEY = jax.random.key(0)
FEW = mm.LangevinChains(number=4000, steps=1)


@pytest.fixture(autouse=True)
def quantiles(monkeypatch):
    """Chains that stand at the quantiles of N(LOC, e^(2 LOG_SCALE)) tilted by -z^2 / 2, itself a normal."""
    scale = np.exp(LOG_SCALE)
    tilted = stats.norm(LOC / (1.0 + scale**2), scale / np.sqrt(1.0 + scale**2))
    draws = tilted.ppf((np.arange(4000) + 0.5) / 4000)[:, None]
    monkeypatch.setattr(mm.LangevinChains, "run", lambda *args, **kwargs: (jnp.asarray(draws), None))
    with jax.enable_x64(True):
        yield


def square(z):
    return -0.5 * z[..., 0] ** 2


def normal(p):
    return dist.Normal(p[:1], jnp.exp(p[1:])).to_event(1)


def tilted(p):
    return mm.EnergyTilted(normal(p), square, FEW, rng_key=KEY).log_prob(X).sum()


def exact(p):
    loc, scale = p[0], jnp.exp(p[1])
    log_z = -0.5 * (loc**2 / (1.0 + scale**2) + jnp.log(1.0 + scale**2))
    return (square(X) + dist.Normal(loc, scale).log_prob(X[..., 0]) - log_z).sum()


def twice(f, p):
    return jax.lax.scan(lambda total, _: (total + f(p), None), 0.0, None, length=2)[0] / 2.0


WAYS = {
    "grad": jax.grad,
    "jit within": lambda f: jax.grad(jax.jit(f)),
    "jit around": lambda f: jax.jit(jax.grad(f)),
    "remat": lambda f: jax.grad(jax.checkpoint(f)),
    "scan": lambda f: jax.grad(lambda p: twice(f, p)),
    "vmap": lambda f: lambda p: jax.vmap(jax.grad(f))(jnp.stack([p, p]))[1],
    "forward over reverse": lambda f: jax.jit(jax.hessian(f)),
    "reverse over reverse": lambda f: jax.jit(jax.jacrev(jax.grad(f))),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_first_and_second_derivatives(way):
    np.testing.assert_allclose(way(tilted)(AT), way(exact)(AT), atol=5e-3)


def test_forward_mode_in_the_value_alone():
    def score(f):
        return jax.jacfwd(lambda z: f(z))(X[0])

    fn = mm.EnergyTilted(normal(AT), square, FEW)
    np.testing.assert_allclose(score(fn.log_prob), score(lambda z: square(z) + normal(AT).log_prob(z)), rtol=1e-6)


class Undeclared(dist.Distribution):
    """A distribution that tells JAX of none of its arrays."""

    support = dist.constraints.real_vector
    arg_constraints: dict = {}

    def __init__(self, p):
        self.parts = [{"normal": normal(p)}]
        super().__init__((), (1,))

    def log_prob(self, value):
        return self.parts[0]["normal"].log_prob(value)

    def sample(self, key, sample_shape=()):
        return self.parts[0]["normal"].sample(key, sample_shape)


def reversed_twice(p):
    """A base with integers that are made on the way, and so are traced."""
    order = jnp.arange(1) + jnp.zeros(1, int)
    return dist.TransformedDistribution(normal(p), [dist.transforms.PermuteTransform(order)] * 2)


BASES = {"undeclared": Undeclared, "integers": reversed_twice, "masked": lambda p: normal(p).mask(jnp.ones((), bool))}


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_bases_that_hide_their_arrays(base):
    def of_base(p):
        return mm.EnergyTilted(base(p), square, FEW, rng_key=KEY).log_prob(jnp.asarray(X)).sum()

    for way in ("jit within", "jit around"):
        np.testing.assert_allclose(WAYS[way](of_base)(AT), WAYS[way](exact)(AT), atol=2e-3)


@pytest.mark.parametrize("wrap", [lambda fn: fn, lambda fn: fn.expand(()).mask(True)], ids=["plain", "within another"])
def test_what_a_base_hides_is_told_when_it_is_drawn(wrap):
    fn = mm.EnergyTilted(wrap(Undeclared(AT)), square, FEW)
    for draw in (lambda: fn.sample(KEY, (2,)), lambda: fn.log_normalizer(KEY, 8, 2), lambda: fn.chain_bias(KEY, 8)):
        with pytest.raises(OptionError, match=r"got Undeclared, which loses \['parts'\]. Name its arrays"):
            draw()

    class Wrong(Undeclared):
        pytree_data_fields = ("parts",)

        def sample(self, key, sample_shape=()):
            return self.nothing

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mm.EnergyTilted(Wrong(AT), square, FEW).sample(KEY)


class Nested(eqx.Module):
    """An energy with weights in a module within, a frozen one, an integer, and a function that closes over another."""

    inner: eqx.nn.Linear
    frozen: jax.Array
    power: jax.Array
    beyond: object = eqx.field(static=True)

    def __call__(self, z):
        linear = z @ self.inner.weight.T + self.inner.bias
        still = jax.lax.stop_gradient(self.frozen)
        return still * jnp.tanh(linear)[..., 0] + self.beyond(z) - z[..., 0] ** self.power


@pytest.mark.parametrize("bind", [lambda e: e, lambda e: BoundNet("energy", e), lambda e: lambda z: e(z)])
def test_energies_learn_wherever_their_weights_are(bind):
    def module(p):
        inner = eqx.nn.Linear(1, 1, key=KEY)
        inner = eqx.tree_at(lambda at: at.weight, inner, p[1:, None])
        return Nested(inner, p[0], jnp.asarray(2), lambda z: (jnp.exp(p[0]) * z)[..., 0])

    z = mm.LangevinChains.run()[0]

    def contrast(p):
        at_data, at_chains = (module(p)(x) + normal(p).log_prob(x) for x in (X, z))
        return at_data.sum() - 2.0 * at_chains.mean()

    def got(p):
        return mm.EnergyTilted(normal(p), bind(module(p)), FEW, rng_key=KEY).log_prob(X).sum()

    np.testing.assert_allclose(jax.jit(jax.grad(got))(AT), jax.grad(contrast)(AT), rtol=1e-8)


def test_flows_learn_every_weight():
    start = mm.spline_flow(2, layers=2, hidden=4, bins=3)
    arrays, rest = eqx.partition(start, eqx.is_inexact_array)
    x, z = jax.random.normal(KEY, (3, 2)), mm.LangevinChains.run()[0] * jnp.array([1.0, -0.7])

    def base(arrays):
        return mm.NormalizingFlow(eqx.combine(arrays, rest))

    def contrast(arrays):
        at_data, at_chains = (square(at) + base(arrays).log_prob(at) for at in (x, z))
        return at_data.mean() - at_chains.mean()

    def got(arrays):
        return mm.EnergyTilted(base(arrays), square, FEW, rng_key=KEY).log_prob(x).mean()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mm.LangevinChains, "run", lambda *args, **kwargs: (z, None))
        found = jax.jit(jax.grad(got))(arrays)
    wanted = jax.jit(jax.grad(contrast))(arrays)
    assert len(jax.tree.leaves(wanted)) > 3
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
