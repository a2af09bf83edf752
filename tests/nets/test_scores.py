"""Nets of joint scores."""

import numpy as np
import pytest

from mmppl.errors import OptionError
from mmppl.nets import ResidualScore, TokenScore, UnetScore, initial_weights


def parameters(spec):
    return sum(w.size for w in initial_weights(spec, 0).values())


@pytest.mark.parametrize(
    ("sizes", "width", "factors", "time_width", "groups", "millions"),
    [
        ((16, 64), 256, (1, 1), 256, 8, 2.35),
        ((64, 128, 16), 1024, (1, 1), 512, 32, 32.7),
        ((160,) * 5, 1536, (1, 1), 512, 32, 72.0),
        ((64, 32), 1024, (1, 1), 512, 32, 32.5),
        ((128, 64), 1536, (1, 1), 512, 32, 70.2),
        ((256, 32), 1536, (2, 2), 512, 32, 197.0),
        ((256, 128, 32), 1536, (1, 1), 512, 32, 70.8),
    ],
)
def test_the_published_net_has_as_many_parameters_as_published(sizes, width, factors, time_width, groups, millions):
    found = parameters(UnetScore(sizes, width, factors, time_width, groups)) / 1e6
    assert found == pytest.approx(millions, rel=3e-3)


@pytest.mark.parametrize("spec", [ResidualScore((2, 3)), TokenScore((2, 3)), UnetScore((2, 3))])
def test_shapes(spec):
    assert (spec.in_shape, spec.out_shape) == ((7,), (5,))


@pytest.mark.parametrize("make", [ResidualScore, TokenScore, UnetScore])
def test_blocks_without_a_dimension_are_refused(make):
    with pytest.raises(OptionError, match="sizes of the blocks"):
        make(())
    with pytest.raises(OptionError, match="sizes of the blocks"):
        make((2, 0))


def test_heads_and_groups_divide_widths():
    with pytest.raises(OptionError, match="heads that divide the width 10"):
        TokenScore((2,), width=10, heads=4)
    with pytest.raises(OptionError, match="8 groups divide; got 12"):
        UnetScore((2,), width=12)


@pytest.mark.parametrize("host", ["equinox", "torch"])
@pytest.mark.parametrize(
    "spec", [ResidualScore((2, 3), width=8), TokenScore((2, 3), width=8), UnetScore((2, 3), 16, groups=4)]
)
def test_the_times_of_blocks_matter_and_so_do_blocks_to_one_another(host, spec):
    from importlib import import_module

    nets = import_module(f"mmppl.nets.{host}")
    rng = np.random.default_rng(0)
    net = nets.build(spec, 0)
    weights = {k: w + 0.3 * rng.standard_normal(w.shape) for k, w in nets.state(net).items()}
    net = nets.load(net, weights)

    def run(x):
        array = import_module({"equinox": "jax.numpy", "torch": "torch"}[host]).asarray(np.float32(x))
        out = net(array)
        return np.asarray(out.detach() if host == "torch" else out)

    base = np.array([[0.1, -0.4, 0.3, 0.7, -1.0, 0.5, 0.5]])
    for place in range(7):
        moved = base.copy()
        moved[0, place] += 0.3
        assert np.all(np.abs(run(moved) - run(base)) > 1e-5), place
