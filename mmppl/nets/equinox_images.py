"""Layers of :mod:`mmppl.nets.image_layers` that hold no others, as Equinox modules."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mmppl.nets import image_layers as I
from mmppl.nets import layers as L
from mmppl.nets.equinox_bfloat16 import factors, single
from mmppl.nets.equinox_rows import flattened

__all__ = ["FIXED", "WEIGHTED", "Fixed"]


class Fixed(eqx.Module):
    """A layer without weights."""

    layer: Any = eqx.field(static=True)


class _Weighted(eqx.Module):
    weight: jax.Array
    bias: jax.Array
    layer: Any = eqx.field(static=True)


class _Pick(Fixed):
    def __call__(self, x, context=None):
        return jnp.concatenate([x[..., a:b] for a, b in self.layer.spans], -1)


class _Rows(Fixed):
    def __call__(self, x, context=None):
        return x[..., self.layer.start : self.layer.stop, :]


class _Tap(Fixed):
    def __call__(self, x, context=None):
        context.taps[self.layer.name] = x
        return x


class _Convolution(_Weighted):
    def __call__(self, x, context=None):
        axes = ("NHWC", "HWIO", "NHWC")
        x, shaped = flattened(x, 3)
        flat, weight, bias = factors(x, self.weight, self.bias)
        # On a CPU, XLA's convolutions within a loop are ten times as slow by kernels whose outputs come first.
        kernel = weight.transpose(2, 3, 1, 0)
        return shaped(jax.lax.conv_general_dilated(flat, kernel, (1, 1), "SAME", dimension_numbers=axes) + bias)


class _Fold(Fixed):
    def __call__(self, x, context=None):
        p, (*lead, h, w, c) = self.layer.size, x.shape
        k = len(lead)
        x = x.reshape(*lead, h // p, p, w // p, p, c).transpose(*range(k), k, k + 2, k + 1, k + 3, k + 4)
        return x.reshape(*lead, h // p, w // p, p * p * c)


class _Unfold(Fixed):
    def __call__(self, x, context=None):
        p, (*lead, h, w, c) = self.layer.size, x.shape
        k = len(lead)
        x = x.reshape(*lead, h, w, p, p, c // p**2).transpose(*range(k), k, k + 2, k + 1, k + 3, k + 4)
        return x.reshape(*lead, h * p, w * p, c // p**2)


class _MapNorm(_Weighted):
    def __call__(self, x, context=None):
        parts = single(x).reshape(*x.shape[:-3], -1, self.layer.groups, x.shape[-1] // self.layer.groups)
        centred = parts - jnp.mean(parts, (-3, -1), keepdims=True)
        variance = jnp.mean(centred * centred, (-3, -1), keepdims=True)
        return (centred * jax.lax.rsqrt(variance + L.NORM_EPS)).reshape(x.shape) * self.weight + self.bias


class _Modulate(_Weighted):
    def __call__(self, x, context=None):
        vector, weight, bias = factors(jax.nn.silu(context.vector), self.weight, self.bias)
        both = vector @ weight.T + bias
        both = both.reshape(*both.shape[:-1], *(1,) * self.layer.axes, both.shape[-1])
        factor, shift = jnp.split(both, 2, -1)
        return x * (1.0 + factor) + shift


class _CrossAttention(_Weighted):
    def __call__(self, x, context=None):
        heads = self.layer.heads

        def apart(y):
            return jnp.swapaxes(y.reshape(*y.shape[:-1], heads, y.shape[-1] // heads), -2, -3)

        tokens, query, weight, bias = factors(context.tokens, apart(x), self.weight, self.bias)
        key, value = (apart(y) for y in jnp.split(tokens @ weight.T + bias, 2, -1))
        scores = single(query @ jnp.swapaxes(key, -1, -2)) / float(np.sqrt(query.shape[-1]))
        share, value = factors(jax.nn.softmax(scores, -1), value)
        return jnp.swapaxes(share @ value, -2, -3).reshape(x.shape)


class _Position(eqx.Module):
    weight: jax.Array
    layer: Any = eqx.field(static=True)

    def __call__(self, x, context=None):
        return x + self.weight


class _Prepend(Fixed):
    def __call__(self, x, context=None):
        return jnp.concatenate([context.tokens, x], -2)


WEIGHTED = {
    I.Convolution: _Convolution,
    I.CrossAttention: _CrossAttention,
    I.MapNorm: _MapNorm,
    I.Modulate: _Modulate,
    I.Position: _Position,
}
FIXED = {
    I.Fold: _Fold,
    I.Pick: _Pick,
    I.Prepend: _Prepend,
    I.Rows: _Rows,
    I.Tap: _Tap,
    I.Unfold: _Unfold,
}
