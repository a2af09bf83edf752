"""Nets over images: what comes out where, and what is refused."""

import numpy as np
import pytest
import torch

from mmppl.errors import OptionError
from mmppl.nets import ImageTransformer, ImageUNet
from mmppl.nets import torch as torch_nets
from mmppl.nets.image_layers import Fold, Unfold
from mmppl.nets.images import _from_map, _to_map

# Blocks: a class, an image with two channels, a vector, and an image with one channel.
SIZES, IMAGE, IMAGES = (3, 32, 2, 16), (2, 4, 4), (1, 3)
NETS = {
    "unet": ImageUNet(SIZES, IMAGE, IMAGES, width=4, heads=2, factors=(1, 2)),
    "dit": ImageTransformer(SIZES, IMAGE, IMAGES, width=8, depth=1, patch=2),
}


class Chain:
    """A net of layers alone."""

    def __init__(self, layers, shape, out):
        self.in_shape, self.out_shape, self.steps = shape, out, layers

    def layers(self):
        return self.steps


@pytest.mark.parametrize("name", NETS)
def test_numbers_come_out_in_the_order_of_the_coordinates(name):
    """With zero weights the last layers say their biases: a number for each channel, each coordinate of a vector."""
    net = torch_nets.build(NETS[name], 0)
    biases = {n: p for n, p in net.named_parameters() if ".parts." in n and n.endswith("bias")}
    last = {}
    for n, p in biases.items():
        last[int(n.split(".parts.")[1].split(".")[0])] = p
    with torch.no_grad():
        # First the images' head: three channels twice, and for the transformer each of four pixels of a patch.
        wide = torch.arange(6.0)
        last[0].copy_(wide if name == "unet" else wide.repeat(4))
        last[1].copy_(torch.arange(10.0, 16.0))
        last[2].copy_(torch.arange(20.0, 24.0))
        out = net(torch.randn(5, *NETS[name].in_shape))
    said = [10, 11, 12, *[0] * 16, *[1] * 16, 20, 21, *[2] * 16]
    second = [13, 14, 15, *[3] * 16, *[4] * 16, 22, 23, *[5] * 16]
    np.testing.assert_array_equal(out.numpy(), np.tile([*said, *second], (5, 1)))


def test_maps_are_images_with_channels_last():
    x = torch.arange(24.0).reshape(1, 24)
    there = torch_nets.build(Chain(_to_map(2, 3, 4), (24,), (3, 4, 2)), 0)(x)
    assert torch.equal(there, x.reshape(1, 2, 3, 4).permute(0, 2, 3, 1))
    back = torch_nets.build(Chain(_from_map(2, 3, 4), (3, 4, 2), (24,)), 0)(there)
    assert torch.equal(back, x)


def test_squares_fold_into_channels():
    x = torch.arange(32.0).reshape(1, 4, 4, 2)
    folded = torch_nets.build(Chain((Fold(2),), (4, 4, 2), (2, 2, 8)), 0)(x)
    assert folded[0, 0, 1].tolist() == [
        *x[0, 0, 2].tolist(),
        *x[0, 0, 3].tolist(),
        *x[0, 1, 2].tolist(),
        *x[0, 1, 3].tolist(),
    ]
    assert torch.equal(torch_nets.build(Chain((Fold(2), Unfold(2)), (4, 4, 2), (4, 4, 2)), 0)(x), x)


@pytest.mark.parametrize("name", NETS)
def test_what_is_beside_the_image_reaches_it(name):
    """Codes, a class, a vector and another image each change what is said of the image."""
    torch.manual_seed(0)
    net = torch_nets.build(NETS[name], 0)
    with torch.no_grad():
        for p in net.parameters():
            if not p.any():
                p.copy_(0.1 * torch.randn_like(p))
        x = torch.rand(1, *NETS[name].in_shape)
        for place in (0, 36, 40, 53, 54, 56):
            other = x.clone()
            other[0, place] += 1.0
            assert not torch.allclose(net(other)[0, 3:35], net(x)[0, 3:35]), place


def test_what_cannot_be_built_is_said():
    with pytest.raises(OptionError, match="height and width 4 divides, for 3 levels"):
        ImageUNet((36,), (1, 6, 6))
    with pytest.raises(OptionError, match="heads that divide the deepest width 6; got 4"):
        ImageUNet((64,), (1, 8, 8), width=6, factors=(1,))
    with pytest.raises(OptionError, match=r"blocks \[1\] of the sizes \(64, 10\)"):
        ImageUNet((64, 10), (1, 8, 8), (0, 1))
    with pytest.raises(OptionError, match="Expected a patch that divides the image"):
        ImageTransformer((64,), (1, 8, 8), patch=3)
    with pytest.raises(OptionError, match="Expected a tap among"):
        ImageTransformer((64,), (1, 8, 8), taps=("token",))
