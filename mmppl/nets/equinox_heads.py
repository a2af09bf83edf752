"""Heads of networks, which split their outputs, as Equinox modules."""

import jax
import jax.numpy as jnp
import numpy as np

from mmppl.nets import layers as L
from mmppl.nets.equinox_bfloat16 import single
from mmppl.nets.equinox_images import Fixed

__all__ = ["HEADS"]


class _SplitScale(Fixed):
    def __call__(self, x, context=None):
        (size, *rest), rank = self.layer.shape, self.layer.rank
        loc, raw, rows = jnp.split(x, (size, 2 * size), axis=-len(self.layer.shape))
        scale = _scale(raw, self.layer.floor)
        return (loc, scale, rows.reshape(*x.shape[: -1 - len(rest)], rank, size, *rest)) if rank else (loc, scale)


class _Split(Fixed):
    def __call__(self, x, context=None):
        loc, raw = x[..., : self.layer.dim], x[..., self.layer.dim :]
        return loc, _scale(raw, self.layer.floor)


class _SplitFactor(Fixed):
    def __call__(self, x, context=None):
        loc, raw, below = jnp.split(x, (self.layer.dim, 2 * self.layer.dim), axis=-1)
        ends = jnp.broadcast_to(jnp.asarray([0.0, 1.0], x.dtype), (*x.shape[:-1], 2))
        unit = jnp.concatenate([below, ends], axis=-1)[..., np.array(self.layer.places)]
        return loc, unit / _scale(raw, self.layer.floor)[..., None]


class _MixtureSplit(Fixed):
    def __call__(self, x, context=None):
        number, dim = self.layer.components, self.layer.dim
        parts = x.reshape(*x.shape[:-1], number, 2 * dim + 1)
        loc, raw, logits = parts[..., :dim], parts[..., dim : 2 * dim], parts[..., 2 * dim]
        return loc, _scale(raw, self.layer.floor), logits


def _scale(raw, floor):
    return jax.nn.softplus(single(raw) + L.SOFTPLUS_ONE) + floor


HEADS = {
    L.MixtureSplit: _MixtureSplit,
    L.Split: _Split,
    L.SplitFactor: _SplitFactor,
    L.SplitScale: _SplitScale,
}
