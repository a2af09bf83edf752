"""Layers of :mod:`mmppl.nets.image_layers` that hold no others, as modules of torch."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mmppl.nets import image_layers as I
from mmppl.nets import layers as L

__all__ = ["MODULES", "Fixed"]


class Fixed(nn.Module):
    """A layer without weights."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def extra_repr(self) -> str:
        return str(self.layer)


class _Weighted(Fixed):
    def __init__(self, layer: Any, *shape: int, bias: bool = True) -> None:
        super().__init__(layer)
        self.weight = nn.Parameter(torch.empty(shape))
        if bias:
            self.bias = nn.Parameter(torch.empty(shape[0]))


class _Pick(Fixed):
    def forward(self, x, context=None):
        return torch.cat([x[..., a:b] for a, b in self.layer.spans], -1)


class _Rows(Fixed):
    def forward(self, x, context=None):
        return x[..., self.layer.start : self.layer.stop, :]


class _Tap(Fixed):
    def forward(self, x, context=None):
        context.taps[self.layer.name] = x
        return x


class _Convolution(_Weighted):
    def __init__(self, layer: I.Convolution) -> None:
        super().__init__(layer, layer.outputs, layer.inputs, 3, 3)

    def forward(self, x, context=None):
        flat = x.reshape(-1, *x.shape[-3:]).permute(0, 3, 1, 2)
        out = functional.conv2d(flat, self.weight, self.bias, padding=1)
        return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], self.layer.outputs)


class _Fold(Fixed):
    def forward(self, x, context=None):
        p, (*lead, h, w, c) = self.layer.size, x.shape
        k = len(lead)
        x = x.reshape(*lead, h // p, p, w // p, p, c).permute(*range(k), k, k + 2, k + 1, k + 3, k + 4)
        return x.reshape(*lead, h // p, w // p, p * p * c)


class _Unfold(Fixed):
    def forward(self, x, context=None):
        p, (*lead, h, w, c) = self.layer.size, x.shape
        k = len(lead)
        x = x.reshape(*lead, h, w, p, p, c // p**2).permute(*range(k), k, k + 2, k + 1, k + 3, k + 4)
        return x.reshape(*lead, h * p, w * p, c // p**2)


class _MapNorm(_Weighted):
    def __init__(self, layer: I.MapNorm) -> None:
        super().__init__(layer, layer.dim)

    def forward(self, x, context=None):
        flat = x.reshape(-1, *x.shape[-3:]).permute(0, 3, 1, 2)
        out = functional.group_norm(flat, self.layer.groups, self.weight, self.bias, L.NORM_EPS)
        return out.permute(0, 2, 3, 1).reshape(x.shape)


class _Modulate(_Weighted):
    def __init__(self, layer: I.Modulate) -> None:
        super().__init__(layer, 2 * layer.outputs, layer.inputs)

    def forward(self, x, context=None):
        both = functional.linear(functional.silu(context.vector), self.weight, self.bias)
        factor, shift = both.reshape(*both.shape[:-1], *(1,) * self.layer.axes, both.shape[-1]).chunk(2, -1)
        return x * (1.0 + factor) + shift


class _CrossAttention(_Weighted):
    def __init__(self, layer: I.CrossAttention) -> None:
        super().__init__(layer, 2 * layer.outputs, layer.inputs)

    def forward(self, x, context=None):
        heads = self.layer.heads

        def apart(y):
            return y.reshape(*y.shape[:-1], heads, y.shape[-1] // heads).transpose(-2, -3)

        key, value = functional.linear(context.tokens, self.weight, self.bias).chunk(2, -1)
        query, key, value = apart(x), apart(key), apart(value)
        share = torch.softmax(query @ key.transpose(-1, -2) / float(np.sqrt(query.shape[-1])), -1)
        return (share @ value).transpose(-2, -3).reshape(x.shape)


class _Position(_Weighted):
    def __init__(self, layer: I.Position) -> None:
        super().__init__(layer, *layer.shape, bias=False)

    def forward(self, x, context=None):
        return x + self.weight


class _Prepend(Fixed):
    def forward(self, x, context=None):
        return torch.cat([context.tokens, x], -2)


MODULES = {
    I.Convolution: _Convolution,
    I.CrossAttention: _CrossAttention,
    I.Fold: _Fold,
    I.MapNorm: _MapNorm,
    I.Modulate: _Modulate,
    I.Pick: _Pick,
    I.Position: _Position,
    I.Prepend: _Prepend,
    I.Rows: _Rows,
    I.Tap: _Tap,
    I.Unfold: _Unfold,
}
