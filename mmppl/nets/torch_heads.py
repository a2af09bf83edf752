"""Heads of networks, which split their outputs, as modules of torch."""

import torch
from torch.nn import functional

from mmppl.nets import layers as L
from mmppl.nets.torch_images import Fixed

__all__ = ["HEADS"]


class _SplitScale(Fixed):
    def forward(self, x, context=None):
        size, rank, axis = self.layer.shape[0], self.layer.rank, -len(self.layer.shape)
        loc, raw, rows = torch.split(x, [size, size, rank * size], dim=axis)
        scale = _scale(raw, self.layer.floor)
        return (loc, scale, rows.unflatten(axis, (rank, size))) if rank else (loc, scale)


class _Split(Fixed):
    def forward(self, x, context=None):
        loc, raw = x[..., : self.layer.dim], x[..., self.layer.dim :]
        return loc, _scale(raw, self.layer.floor)


class _SplitFactor(Fixed):
    def __init__(self, layer):
        super().__init__(layer)
        self.places = torch.tensor(layer.places).reshape(-1)

    def forward(self, x, context=None):
        dim = self.layer.dim
        loc, raw, below = x[..., :dim], x[..., dim : 2 * dim], x[..., 2 * dim :]
        ends = torch.stack([torch.zeros_like(x[..., 0]), torch.ones_like(x[..., 0])], dim=-1)
        flat = torch.cat([below, ends], dim=-1).index_select(-1, self.places.to(x.device))
        return loc, flat.unflatten(-1, (dim, dim)) / _scale(raw, self.layer.floor)[..., None]


class _MixtureSplit(Fixed):
    def forward(self, x, context=None):
        number, dim = self.layer.components, self.layer.dim
        parts = x.reshape(*x.shape[:-1], number, 2 * dim + 1)
        loc, raw, logits = parts[..., :dim], parts[..., dim : 2 * dim], parts[..., 2 * dim]
        return loc, _scale(raw, self.layer.floor), logits


def _scale(raw, floor):
    # Torch's own threshold of 20 is linear too early for float64.
    return functional.softplus(raw + L.SOFTPLUS_ONE, threshold=40.0) + floor


HEADS = {
    L.MixtureSplit: _MixtureSplit,
    L.Split: _Split,
    L.SplitFactor: _SplitFactor,
    L.SplitScale: _SplitScale,
}
