"""The same weights give the same outputs and gradients on both hosts."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mmppl.nets import (
    MLP,
    DeepSets,
    Energy,
    EquivariantDeepSets,
    EquivariantTransformer,
    Factored,
    ImageTransformer,
    ImageUNet,
    LocScale,
    LogCounts,
    PatchDecoder,
    PatchEncoder,
    Scaled,
    SetTransformer,
    TokenDecoder,
    TokenEncoder,
)
from mmppl.nets import equinox as equinox_nets
from mmppl.nets import torch as torch_nets
from mmppl.nets.scores import PairEnergy, ResidualScore, TokenScore, UnetScore

SPECS = {
    "mlp": MLP((1, 8, 8), (2, 3), hidden=(32, 32)),
    "mlp, norm": MLP((5,), (), hidden=(16, 16), norm=True),
    "energy": Energy(4),
    "loc and scale": LocScale(MLP((3,), (8,))),
    "counts": LogCounts(MLP((3,), (2,), hidden=(8,))),
    "learned scale": Scaled(MLP((3,), (2,), hidden=(8,)), (2,)),
    "learned scale beside factors": Scaled(Factored(MLP((3,), (2,), hidden=(8,)), 2), (2,)),
    "patch encoder": PatchEncoder((3, 8, 12), (4,), blocks=2),
    "patch decoder": PatchDecoder((4,), (3, 8, 12), blocks=2),
    "token encoder": TokenEncoder(5, 27, (4,)),
    "token decoder": TokenDecoder((4,), 5, 27),
    "residual score": ResidualScore((3, 5), width=16, depth=2),
    "pair energy": PairEnergy((3, 5), width=16),
    "token score": TokenScore((3, 5), width=16, depth=2),
    "deep sets": DeepSets(3, 2, width=8),
    "deep sets, mixture": DeepSets(3, 2, width=8, components=3),
    "set transformer": SetTransformer(3, 2, width=8, blocks=2, heads=2),
    "equivariant deep sets": EquivariantDeepSets(2, 2, 1, width=8),
    "equivariant transformer": EquivariantTransformer(2, 2, 1, width=8, heads=2),
    "unet score": UnetScore((3, 5), width=16, factors=(1, 2), time_width=8, groups=4),
    "image U-Net": ImageUNet((3, 64, 128), (1, 8, 8), (1, 2), ("output",) * 3, width=4, heads=2, factors=(1, 2)),
    "image U-Net, alone": ImageUNet((64,), (1, 8, 8), width=4, heads=2, factors=(1, 2)),
    "image transformer": ImageTransformer((3, 64, 2), (1, 8, 8), (1,), ("middle", "output", "output"), width=8),
} | {name: MLP((3,), (2,), hidden=(8,), activation=name) for name in ("gelu", "relu", "silu", "tanh")}
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def inputs(spec, dtype):
    rng = np.random.default_rng(1)
    shape = (4, 2, *(3 if size is None else size for size in spec.in_shape))
    if isinstance(spec, TokenEncoder):
        return rng.integers(0, 27, shape)
    x = 3 * rng.standard_normal(shape).astype(dtype)
    return np.abs(x) if isinstance(spec, LogCounts) else x


def masks(spec):
    """Who is present, for nets over sets."""
    return (np.random.default_rng(3).random((4, 2, 3)) < 0.6,) if spec.in_shape[0] is None else ()


def side_by_side(out, xp):
    parts = out if isinstance(out, tuple) else (out,)
    # A learned scale has no batch axes of its own.
    wide = [x if x.shape[:2] == (4, 2) else xp.broadcast_to(x, parts[0].shape) for x in parts]
    return xp.concatenate([x.reshape(4, 2, -1) for x in wide], -1)


def torch_side(net, x):
    out = side_by_side(net(torch.tensor(x), *map(torch.tensor, masks(net.spec))), torch)
    torch.sin(out).sum().backward()
    return out.detach().numpy(), {name: p.grad.numpy() for name, p in net.named_parameters()}


def jax_side(net, x):
    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def value(net):
        out = side_by_side(net(jnp.asarray(x), *map(jnp.asarray, masks(net.spec))), jnp)
        return jnp.sin(out).sum(), out

    (_, out), grads = value(net)
    return np.asarray(out), equinox_nets.state(grads)


def close(a, b, tolerance, scale=1.0):
    assert a.dtype == b.dtype
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(scale, np.abs(a).max()))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_weights_carry_outputs_and_gradients_across(spec, dtype, x64):
    rng = np.random.default_rng(2)
    there = torch_nets.build(spec, 0, dtype)
    # Layers that start at zero would hide those before them.
    drawn = {k: 0.1 * rng.standard_normal(w.shape) if not w.any() else w for k, w in torch_nets.state(there).items()}
    there = torch_nets.load(
        there, {k: drawn[k] if k.endswith("weight") else w for k, w in torch_nets.state(there).items()}
    )
    # From another seed, so that only the transfer can make the two agree.
    here = equinox_nets.load(equinox_nets.build(spec, 1, dtype), torch_nets.state(there))
    x = inputs(spec, dtype)
    (out_a, grads_a), (out_b, grads_b) = torch_side(there, x), jax_side(here, x)
    close(out_a, out_b, TOLERANCE[dtype])
    assert list(grads_a) == list(grads_b)
    # What sums to nearly zero, such as the bias of keys, is as exact as what it is a sum of.
    scale = max(1.0, *(np.abs(grad).max() for grad in grads_a.values()))
    for name, grad in grads_a.items():
        close(grad, grads_b[name], TOLERANCE[dtype], scale)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_seed_gives_both_hosts_the_same_weights(spec):
    ours, theirs = equinox_nets.state(equinox_nets.build(spec, 7)), torch_nets.state(torch_nets.build(spec, 7))
    assert list(ours) == list(theirs)
    assert all((ours[name] == theirs[name]).all() for name in ours)
    back = torch_nets.state(torch_nets.load(torch_nets.build(spec, 8), ours))
    assert all((back[name] == ours[name]).all() for name in ours)
