"""Specs, defaults and initial weights: all that needs no framework."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from mmppl import Modality
from mmppl.errors import DataError, OptionError
from mmppl.nets import (
    MLP,
    Energy,
    LocScale,
    PatchDecoder,
    PatchEncoder,
    Standardized,
    TokenDecoder,
    TokenEncoder,
    Unstandardized,
    decoder,
    encoder,
    energy,
    initial_weights,
)
from mmppl.nets.layers import Linear
from mmppl.nets.transfer import check_input, check_weights


def test_import_loads_no_framework():
    code = "import sys, mmppl.nets; print([n for n in ('torch', 'jax', 'equinox') if n in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_linear_weights_are_uniform_with_the_pinned_bound():
    weights = initial_weights(MLP((100,), (50,), hidden=(200,)), seed=3)
    for place, inputs in ((1, 100), (3, 200)):
        bound = inputs**-0.5
        for name in ("weight", "bias"):
            values = weights[f"layers.{place}.{name}"].ravel()
            assert stats.kstest(values, stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-3
            assert np.abs(values).max() <= bound
    assert weights["layers.1.weight"].var() == pytest.approx(1 / 300, rel=0.02)


def test_embeddings_are_standard_normal_and_norms_start_as_identity():
    weights = initial_weights(TokenEncoder(5, 200, (4,), width=64), seed=0)
    assert stats.kstest(weights["layers.0.weight"].ravel(), "norm").pvalue > 1e-3
    assert (weights["layers.1.layers.0.weight"] == 1).all()
    assert (weights["layers.1.layers.0.bias"] == 0).all()


def test_a_seed_fixes_the_weights_and_leaves_numpys_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, same, other = (initial_weights(Energy(4), seed=s) for s in (1, 1, 2))
    assert all((first[name] == same[name]).all() for name in first)
    assert all((first[name] != other[name]).any() for name in first)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_zero_last_zeroes_the_last_layer_only():
    weights = initial_weights(Energy(4, hidden=(8,), zero_last=True), seed=0)
    zero = [name for name, value in weights.items() if not value.any()]
    assert zero == ["layers.3.weight", "layers.3.bias"]


@pytest.mark.parametrize(
    ("modality", "kind", "out_shape"),
    [
        (Modality((6,)), MLP, (6,)),
        (Modality((1, 16, 16), kind="image"), MLP, (1, 16, 16)),
        (Modality((3, 16, 16), kind="image"), MLP, (3, 16, 16)),
        (Modality((3, 28, 28), kind="image"), PatchEncoder, (3, 28, 28)),
        (Modality((3, 33, 33), kind="image"), MLP, (3, 33, 33)),
        (Modality((5,), kind="tokens", vocabulary=27), TokenEncoder, (5, 27)),
    ],
)
def test_defaults_follow_the_modality(modality, kind, out_shape):
    head, mirror = encoder(modality, 7, hidden=32, family="laplace"), decoder(modality, 7, hidden=32)
    assert isinstance(head, LocScale)
    seen = head.body
    if modality.kind != "tokens":
        assert isinstance(seen, Standardized)
        assert isinstance(mirror, Unstandardized)
        seen = seen.body
    assert type(seen) is kind
    assert (head.in_shape, head.out_shape, head.family) == (modality.shape, (7,), "laplace")
    assert (mirror.in_shape, mirror.out_shape) == ((7,), out_shape)


@pytest.mark.parametrize(("side", "size"), [(28, 4), (32, 4), (64, 8), (128, 16), (256, 16), (36, 4)])
def test_large_images_get_few_patches(side, size):
    assert encoder(Modality((3, side, side), kind="image"), 4).body.body.size == size


def test_default_energy_is_a_plain_mlp():
    spec = energy(3, hidden=(8, 8))
    assert spec.layers() == MLP((3,), (), (8, 8)).layers()
    assert [layer.outputs for layer in spec.layers() if isinstance(layer, Linear)] == [8, 8, 1]


def test_specs_are_hashable_whatever_sequence_they_were_given():
    specs = (
        MLP([2, 3], [4], hidden=[5]),
        MLP((2, 3), (4,), hidden=(5,)),
        Energy(2, hidden=[3]),
        Energy(2, hidden=(3,)),
    )
    assert len(set(specs)) == 2
    assert PatchEncoder([1, 8, 8], [2]) == PatchEncoder((1, 8, 8), (2,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP((2,), (2,), activation="sine"), r"Expected an activation among .*; got 'sine'"),
        (lambda: Energy(2, activation="sine"), r"Expected an activation among"),
        (lambda: TokenDecoder((2,), 5, 9, activation="sine"), r"Expected an activation among"),
        (lambda: PatchEncoder((3, 30, 28), (2,)), r"divisible by the patch size 4; got \(3, 30, 28\)"),
        (lambda: PatchDecoder((2,), (28, 28)), "Expected out_shape to be 3 values"),
        (lambda: TokenEncoder(5, 9, (2,), blocks=0), r"Expected blocks >= 1; got 0"),
        (lambda: LocScale(MLP((2,), (3,))), r"out_shape \(2 \* D,\); got \(3,\)"),
        (lambda: encoder(Modality((2,)), 2, family="cauchy"), r"Expected a family among .*; got 'cauchy'"),
    ],
)
def test_bad_specs_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()


def test_foreign_weights_are_refused():
    own = {"a": (2, 3), "b": (2,)}
    with pytest.raises(DataError, match=r"got \['b'\] missing and \['c'\] too many"):
        check_weights(own, {"a": np.ones((2, 3)), "c": np.ones(2)})
    with pytest.raises(DataError, match=r"weight 'b' of shape \(2,\); got \(3,\)"):
        check_weights(own, {"a": np.ones((2, 3)), "b": np.ones(3)})


@pytest.mark.parametrize("shape", [(2, 16, 16), (16, 16), (5, 1, 16), ()])
def test_inputs_of_another_shape_are_refused(shape):
    with pytest.raises(DataError, match=r"Expected an input of shape \(\*, 1, 16, 16\); got "):
        check_input(shape, (1, 16, 16))


@pytest.mark.parametrize("shape", [(1, 16, 16), (0, 1, 16, 16), (4, 2, 1, 16, 16)])
def test_inputs_with_any_leading_axes_pass(shape):
    check_input(shape, (1, 16, 16))
