"""Convolutions of Equinox's networks, as XLA is given them."""

import jax
import jax.numpy as jnp

import mmppl.numpyro as mm
from mmppl.nets import ImageUNet


def test_kernels_stand_in_the_order_for_which_loops_are_fast():
    """On a CPU, a convolution in a loop takes ten times as long where a kernel's outputs are its first axis."""
    net = mm.build(ImageUNet((64, 3), (1, 8, 8), width=8), 0)
    text = jax.jit(jax.vmap(net)).lower(jnp.zeros((5, 69))).as_text()
    assert "x[0, 1, i, o]->" in text
    assert "x[o, i, 0, 1]->" not in text
