"""The Equinox builder against numpy, and under jit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from mmppl.errors import DataError, OptionError
from mmppl.nets import MLP, Energy, LocScale, PatchDecoder, PatchEncoder, TokenDecoder, TokenEncoder, initial_weights
from mmppl.nets.equinox import build, load, state

SPECS = {
    "mlp": MLP((1, 4, 4), (2, 3), hidden=(8,)),
    "mlp, norm": MLP((5,), (), hidden=(8, 8), norm=True, activation="silu"),
    "energy": Energy(4, hidden=(8,)),
    "loc and scale": LocScale(MLP((3,), (8,))),
    "patch encoder": PatchEncoder((3, 8, 12), (4,), width=8),
    "patch decoder": PatchDecoder((4,), (3, 8, 12), width=8),
    "token encoder": TokenEncoder(5, 9, (4,), width=8),
    "token decoder": TokenDecoder((4,), 5, 9, width=8),
}
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def inputs(spec, *lead):
    rng = np.random.default_rng(0)
    shape = (*lead, *spec.in_shape)
    return jnp.asarray(rng.integers(0, 9, shape) if isinstance(spec, TokenEncoder) else rng.standard_normal(shape))


def test_mlp_is_the_formula(x64):
    w = initial_weights(SPECS["mlp"], seed=5)
    x = np.random.default_rng(1).standard_normal((7, 1, 4, 4))
    h = x.reshape(7, 16) @ w["layers.1.weight"].T + w["layers.1.bias"]
    h = h * (1 + erf(h / np.sqrt(2))) / 2
    expected = (h @ w["layers.3.weight"].T + w["layers.3.bias"]).reshape(7, 2, 3)
    np.testing.assert_allclose(build(SPECS["mlp"], 5, "float64")(jnp.asarray(x)), expected, rtol=1e-12, atol=1e-14)


def test_scale_is_the_pinned_softplus(x64):
    net = build(LocScale(MLP((2,), (2,), hidden=())), 0, "float64")
    net = load(net, {"layers.1.weight": np.eye(2), "layers.1.bias": np.zeros(2)})
    raw = np.array([-800.0, -9.0, 0.0, 3.0, 25.0, 60.0])
    loc, scale = net(jnp.stack([jnp.asarray(raw) + 1, jnp.asarray(raw)], -1))
    np.testing.assert_array_equal(loc[:, 0], raw + 1)
    np.testing.assert_allclose(scale[:, 0], np.logaddexp(0, raw + np.log(np.e - 1)) + 1e-4, rtol=1e-14)
    assert scale[2, 0] == pytest.approx(1.0001)


@every_spec
def test_any_leading_axes(spec, x64):
    net, x = build(spec, 0, "float64"), inputs(spec, 2, 3)
    whole = jax.tree.leaves(net(x))
    assert all(out.shape == (2, 3, *spec.out_shape) for out in whole)
    for i, j in np.ndindex(2, 3):
        for out, one in zip(whole, jax.tree.leaves(net(x[i, j])), strict=True):
            np.testing.assert_allclose(one, out[i, j], rtol=1e-12, atol=1e-13)
    for out in jax.tree.leaves(net(x[:0])):
        assert out.shape == (0, 3, *spec.out_shape)


@every_spec
def test_inexact_arrays_are_the_weights(spec):
    net, weights = build(spec, 2), initial_weights(spec, 2)
    params, static = eqx.partition(net, eqx.is_inexact_array)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == sum(w.size for w in weights.values())
    assert jax.tree.leaves(static) == []
    own = state(net)
    assert list(own) == list(weights)
    assert all(own[name].dtype == np.float32 for name in own)
    assert all((own[name] == weights[name].astype("float32")).all() for name in own)


@every_spec
def test_load_undoes_state(spec):
    first, second = build(spec, 0), build(spec, 1)
    moved = load(second, state(first))
    x = inputs(spec, 2)
    for a, b in zip(jax.tree.leaves(first(x)), jax.tree.leaves(moved(x)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert jax.tree.structure(moved) == jax.tree.structure(first)


def test_patches_are_blocks_of_the_image(x64):
    """A patch is a block of pixels: a picture constant on blocks gives constant patches, and un-patching inverts."""
    from mmppl.nets.equinox import _Patch, _Unpatch
    from mmppl.nets.layers import Patch, Unpatch

    shape = (2, 8, 12)
    image = np.random.default_rng(0).standard_normal((3, *shape))
    tokens = _Patch(Patch(shape, 4))(jnp.asarray(image))
    expected = [image[:, :, r : r + 4, c : c + 4].reshape(3, -1) for r in (0, 4) for c in (0, 4, 8)]
    np.testing.assert_array_equal(tokens, np.stack(expected, 1))
    np.testing.assert_array_equal(_Unpatch(Unpatch(shape, 4))(tokens), image)


def test_mixer_block_is_the_formula(x64):
    spec = TokenEncoder(3, 5, (2,), width=4)
    w, ids = initial_weights(spec, 0), np.array([4, 0, 2])

    def norm(x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)

    h = w["layers.0.weight"][ids]
    h = h + w["layers.1.layers.2.weight"] @ norm(h) + w["layers.1.layers.2.bias"][:, None]
    u = norm(h) @ w["layers.2.layers.1.weight"].T + w["layers.2.layers.1.bias"]
    u = u * (1 + erf(u / np.sqrt(2))) / 2
    h = h + u @ w["layers.2.layers.3.weight"].T + w["layers.2.layers.3.bias"]
    expected = w["layers.5.weight"] @ norm(h).ravel() + w["layers.5.bias"]
    np.testing.assert_allclose(build(spec, 0, "float64")(jnp.asarray(ids)), expected, rtol=1e-12)


@every_spec
def test_jit_compiles_once(spec):
    traces = []

    @eqx.filter_jit
    def run(net, x):
        traces.append(1)
        return net(x)

    x = inputs(spec, 2)
    net = build(spec, 0)
    for seed in range(3):
        jitted = run(load(net, state(build(spec, seed))), x)
    for a, b in zip(jax.tree.leaves(jitted), jax.tree.leaves(build(spec, 2)(x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    assert len(traces) == 1


def test_zero_last_is_the_zero_function():
    assert (build(Energy(4, zero_last=True), 0)(jnp.ones((5, 4))) == 0).all()


def test_bad_use_is_refused():
    with pytest.raises(OptionError, match="Expected dtype 'float32' or 'float64'; got 'int8'"):
        build(Energy(2), 0, "int8")
    with pytest.raises(OptionError, match="Expected JAX's x64 flag"):
        build(Energy(2), 0, "float64")
    with pytest.raises(DataError, match=r"Expected an input of shape \(\*, 2\); got \(5, 3\)"):
        build(Energy(2), 0)(jnp.ones((5, 3)))
    with pytest.raises(DataError, match="missing"):
        load(build(Energy(2), 0), {})
