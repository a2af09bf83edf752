"""The torch builder: what the parity tests do not already say."""

import numpy as np
import pytest
import torch

from mmppl.errors import DataError, OptionError
from mmppl.nets import MLP, Energy, LocScale, PatchDecoder, PatchEncoder, TokenDecoder, TokenEncoder, initial_weights
from mmppl.nets.torch import build, load, state

SPECS = {
    "mlp": MLP((1, 4, 4), (2, 3), hidden=(8,)),
    "mlp, norm": MLP((5,), (), hidden=(8, 8), norm=True, activation="tanh"),
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
    return torch.tensor(rng.integers(0, 9, shape) if isinstance(spec, TokenEncoder) else rng.standard_normal(shape))


def outputs(y):
    return y if isinstance(y, tuple) else (y,)


@every_spec
def test_any_leading_axes(spec):
    net, x = build(spec, 0, "float64"), inputs(spec, 2, 3)
    whole = outputs(net(x))
    assert all(out.shape == (2, 3, *spec.out_shape) for out in whole)
    for i, j in np.ndindex(2, 3):
        for out, one in zip(whole, outputs(net(x[i, j])), strict=True):
            torch.testing.assert_close(one, out[i, j], rtol=1e-12, atol=1e-13)
    for out in outputs(net(x[:0])):
        assert out.shape == (0, 3, *spec.out_shape)


def test_scale_is_the_pinned_softplus():
    net = build(LocScale(MLP((2,), (2,), hidden=())), 0, "float64")
    load(net, {"layers.1.weight": np.eye(2), "layers.1.bias": np.zeros(2)})
    raw = np.array([-800.0, -9.0, 0.0, 3.0, 20.0, 25.0, 60.0])
    loc, scale = net(torch.tensor(np.stack([raw + 1, raw], -1)))
    np.testing.assert_array_equal(loc[:, 0].detach(), raw + 1)
    np.testing.assert_allclose(scale[:, 0].detach(), np.logaddexp(0, raw + np.log(np.e - 1)) + 1e-4, rtol=1e-14)


@every_spec
def test_parameters_are_the_weights(spec):
    net, weights = build(spec, 2), initial_weights(spec, 2)
    assert [name for name, _ in net.named_parameters()] == list(state(net)) == list(weights)
    assert all(p.dtype == torch.float32 and p.requires_grad for p in net.parameters())
    assert all((state(net)[name] == w.astype("float32")).all() for name, w in weights.items())


def test_state_is_a_copy_and_load_writes_in_place():
    net, other = build(Energy(3), 0), build(Energy(3), 1)
    first, held = state(net), next(net.parameters())
    assert load(net, state(other)) is net
    assert next(net.parameters()) is held
    assert (held.detach().numpy() == state(other)["layers.1.weight"]).all()
    assert (first["layers.1.weight"] != state(net)["layers.1.weight"]).any()


def test_build_leaves_torchs_generator_alone():
    before = torch.get_rng_state()
    build(SPECS["token encoder"], 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_zero_last_is_the_zero_function():
    assert (build(Energy(4, zero_last=True), 0)(torch.ones(5, 4)) == 0).all()


def test_bad_use_is_refused():
    with pytest.raises(OptionError, match="Expected dtype 'float32' or 'float64'; got 'int8'"):
        build(Energy(2), 0, "int8")
    with pytest.raises(DataError, match=r"Expected an input of shape \(\*, 2\); got \(5, 3\)"):
        build(Energy(2), 0)(torch.ones(5, 3))
    with pytest.raises(DataError, match="missing"):
        load(build(Energy(2), 0), {})
