"""Specs as plain ``nn.Module``s. Parameter names are the flat names of :mod:`mmppl.nets.init`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mmppl.errors import DataError
from mmppl.nets import image_layers as I
from mmppl.nets import layers as L
from mmppl.nets.init import initial_weights
from mmppl.nets.spec import Spec
from mmppl.nets.torch_heads import HEADS
from mmppl.nets.torch_images import MODULES, Fixed
from mmppl.nets.transfer import check_dtype, check_input, check_weights

__all__ = ["Net", "build", "load", "state"]


class Net(nn.Module):
    """The net a spec describes: events ``(*, *in_shape)`` to ``(*, *out_shape)``, any leading axes."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec, self.in_shape = spec, spec.in_shape
        self.layers = _chain(spec.layers())

    def forward(self, x, context=None):
        check_input(x.shape, self.in_shape)
        try:
            return _through(self.layers, x, context)
        except RuntimeError as error:
            own = next((w.dtype for w in self.parameters()), x.dtype)
            if own == x.dtype or not x.is_floating_point():
                raise
            raise DataError(
                f"Expected the input of a network in {own}, as its weights are; got {x.dtype}, with torch's default at "
                f"{torch.get_default_dtype()}. Set that back by torch.set_default_dtype, or convert the network."
            ) from error


def build(spec: Spec, seed: int, dtype: str = "float32") -> Net:
    """A new net with the weights of :func:`mmppl.nets.init.initial_weights`; torch's own generator is not touched.

    Arguments:
        spec: The net.
        seed: Seed of the initial weights; the same seed gives the same weights on both hosts.
        dtype: ``"float32"`` or ``"float64"``.

    Raises:
        OptionError: If the dtype is another.

    Example:
        >>> from mmppl.nets import MLP
        >>> net = build(MLP((1, 4, 4), (3,), hidden=(8,)), seed=0)
        >>> net(torch.zeros(5, 2, 1, 4, 4)).shape
        torch.Size([5, 2, 3])
    """
    check_dtype(dtype)
    net = Net(spec).to(getattr(torch, dtype))
    return load(net, initial_weights(spec, seed))


def state(module: nn.Module) -> dict[str, np.ndarray]:
    """Copies of the weights of a module by flat name."""
    return {name: value.detach().cpu().numpy().copy() for name, value in module.state_dict().items()}


def load(module: nn.Module, weights: Mapping[str, np.ndarray]) -> nn.Module:
    """Writes weights by flat name into a module, in its dtype and on its device, and returns it.

    Raises:
        DataError: If names or shapes are not the module's.
    """
    own = module.state_dict()
    check_weights({name: tuple(value.shape) for name, value in own.items()}, weights)
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(torch.tensor(np.asarray(weights[name])))
    return module


class _Weighted(nn.Module):
    def __init__(self, *shape: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))
        if bias:
            self.bias = nn.Parameter(torch.empty(shape[0]))

    def extra_repr(self) -> str:
        return str(tuple(self.weight.shape))


class _Linear(_Weighted):
    def __init__(self, layer: L.Linear | L.Shift) -> None:
        super().__init__(layer.outputs, layer.inputs)

    def forward(self, x, context=None):
        return functional.linear(x, self.weight, self.bias)


class _Norm(_Weighted):
    def __init__(self, layer: L.Norm) -> None:
        super().__init__(layer.dim)

    def forward(self, x, context=None):
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, L.NORM_EPS)


class _Embed(_Weighted):
    def __init__(self, layer: L.Embed) -> None:
        super().__init__(layer.vocabulary, layer.dim, bias=False)

    def forward(self, x, context=None):
        return functional.embedding(x.long(), self.weight)


class _Scale(_Weighted):
    def __init__(self, layer: L.Scale) -> None:
        super().__init__(*layer.shape, bias=False)

    def forward(self, x, context=None):
        first, *rest = x if isinstance(x, tuple) else (x,)
        return first, torch.exp(L.SCALE_RATE * self.weight) + L.SCALE_FLOOR, *rest


class _Factors(_Weighted):
    def __init__(self, layer: L.Factors) -> None:
        super().__init__(layer.rank, *layer.shape, bias=False)

    def forward(self, x, context=None):
        return x, L.FACTOR_RATE * self.weight


class _Standardize(nn.Module):
    def __init__(self, layer: L.Standardize) -> None:
        super().__init__()
        self.centre, self.spread = nn.Parameter(torch.empty(layer.shape)), nn.Parameter(torch.empty(layer.shape))
        self.inverse = layer.inverse

    def forward(self, x, context=None):
        centre, spread = self.centre.detach(), self.spread.detach()
        if not self.inverse:
            return (x - centre) / spread
        if not isinstance(x, tuple):
            return centre + spread * x
        return (centre + spread * x[0], *(spread * part for part in x[1:]))


class _Residual(nn.Module):
    def __init__(self, layer: L.Residual) -> None:
        super().__init__()
        self.layers, self.shortcut = _chain(layer.layers), nn.Module()
        self.shortcut.layers = _chain(layer.shortcut)

    def forward(self, x, context=None):
        return _through(self.shortcut.layers, x, context) + _through(self.layers, x, context)


class _Skip(nn.Module):
    def __init__(self, layer: L.Skip) -> None:
        super().__init__()
        self.layers = _chain(layer.layers)

    def forward(self, x, context=None):
        return torch.cat([_through(self.layers, x, context), x], -1)


class _Condition(nn.Module):
    def __init__(self, layer: L.Condition) -> None:
        super().__init__()
        self.layers, self.dim = _chain(layer.layers), layer.dim

    def forward(self, x, context=None):
        return x[..., : self.dim], _through(self.layers, x[..., self.dim :], None)


class _Chain(nn.Module):
    def __init__(self, layers: tuple[L.Layer, ...]) -> None:
        super().__init__()
        self.layers = _chain(layers)

    def forward(self, x, context=None):
        return _through(self.layers, x, context)


class _Given(_Chain):
    def __init__(self, layer: I.Given) -> None:
        super().__init__(layer.layers)
        self.vector, self.tokens = _Chain(layer.vector), _Chain(layer.tokens)

    def forward(self, x, context=None):
        return super().forward(x), I.Sides(self.vector(x), self.tokens(x), {})


class _Read(nn.Module):
    def __init__(self, layer: I.Read) -> None:
        super().__init__()
        self.taps, self.parts = [tap for tap, _ in layer.parts], nn.ModuleList(_Chain(x) for _, x in layer.parts)

    def forward(self, x, context=None):
        return torch.cat([part(context.taps[tap]) for tap, part in zip(self.taps, self.parts, strict=True)], -1)


class _Shift(_Linear):
    def forward(self, x, context=None):
        return x + super().forward(functional.silu(context), None)


class _GroupNorm(_Weighted):
    def __init__(self, layer: L.GroupNorm) -> None:
        super().__init__(layer.dim)
        self.groups = layer.groups

    def forward(self, x, context=None):
        flat = x.reshape(-1, x.shape[-1])
        return functional.group_norm(flat, self.groups, self.weight, self.bias, L.NORM_EPS).reshape(x.shape)


class _BlockEmbed(_Weighted):
    def __init__(self, layer: L.BlockEmbed) -> None:
        super().__init__(sum(layer.sizes), layer.width, bias=False)
        self.bias = nn.Parameter(torch.empty(len(layer.sizes), layer.width))
        self.sizes = layer.sizes

    def forward(self, x, context=None):
        pairs = zip(x.split(self.sizes, -1), self.weight.split(self.sizes), strict=True)
        return torch.stack([part @ weight for part, weight in pairs], -2) + self.bias


class _BlockHead(_Weighted):
    def __init__(self, layer: L.BlockHead) -> None:
        super().__init__(sum(layer.sizes), layer.width)
        self.sizes = layer.sizes

    def forward(self, x, context=None):
        pairs = zip(x.unbind(-2), self.weight.split(self.sizes), strict=True)
        return torch.cat([part @ weight.T for part, weight in pairs], -1) + self.bias


class _Activation(Fixed):
    def forward(self, x, context=None):
        return getattr(functional, self.layer.name)(x)


class _Log1p(Fixed):
    def forward(self, x, context=None):
        return torch.log1p(x)


class _Beside(Fixed):
    def forward(self, x, context=None):
        return torch.cat([x, context[1].to(x.dtype).expand(*x.shape[:-1], self.layer.size)], -1)


class _WithMask(Fixed):
    def forward(self, x, context=None):
        context = context[0] if isinstance(context, tuple) else context
        there = torch.ones_like(x) if context is None else context.to(x.dtype).expand(x.shape)
        return torch.cat([x if context is None else torch.where(context, x, 0.0), there], -len(self.layer.shape))


class _MissingId(Fixed):
    def forward(self, x, context=None):
        context = context[0] if isinstance(context, tuple) else context
        return x if context is None else torch.where(context, x, self.layer.number)


class _Reshape(Fixed):
    def forward(self, x, context=None):
        return x.reshape(x.shape[: x.ndim - len(self.layer.inputs)] + self.layer.outputs)


class _TimeFeatures(Fixed):
    def forward(self, x, context=None):
        t = x.clamp(min=0.0)[..., None]
        angle = t * (np.pi * 2.0 ** torch.arange(self.layer.waves, dtype=x.dtype, device=x.device))
        flags = [(x == 0.0)[..., None].to(x.dtype), (x < 0.0)[..., None].to(x.dtype)]
        return torch.cat([torch.log(t + 1e-3), torch.sin(angle), torch.cos(angle), *flags], -1)


class _Attention(Fixed):
    def forward(self, x, context=None):
        width = x.shape[-1] // 3
        parts = x.reshape(*x.shape[:-1], 3, self.layer.heads, width // self.layer.heads)
        query, key, value = (part.transpose(-2, -3) for part in parts.unbind(-3))
        scores = query @ key.transpose(-1, -2) / float(np.sqrt(query.shape[-1]))
        if self.layer.masked:
            scores = torch.where(context[..., None, None, :], scores, L.HIDDEN)
        mixed = (torch.softmax(scores, -1) @ value).transpose(-2, -3)
        return mixed.reshape(*mixed.shape[:-2], width)


class _Pool(Fixed):
    def forward(self, x, context=None):
        return torch.where(context[..., None], x, 0.0).sum(-2, keepdim=self.layer.keep)


class _Swap(Fixed):
    def forward(self, x, context=None):
        return x.transpose(-1, -2)


class _Patch(Fixed):
    def forward(self, x, context=None):
        (c, h, w), p = self.layer.shape, self.layer.size
        k = x.ndim - 3
        x = x.reshape(*x.shape[:k], c, h // p, p, w // p, p).permute(*range(k), k + 1, k + 3, k, k + 2, k + 4)
        return x.reshape(*x.shape[:k], self.layer.tokens, self.layer.values)


class _Unpatch(Fixed):
    def forward(self, x, context=None):
        (c, h, w), p = self.layer.shape, self.layer.size
        k = x.ndim - 2
        x = x.reshape(*x.shape[:k], h // p, w // p, c, p, p).permute(*range(k), k + 2, k, k + 3, k + 1, k + 4)
        return x.reshape(*x.shape[:k], c, h, w)


_MODULES = (
    {
        L.Linear: _Linear,
        L.Norm: _Norm,
        L.GroupNorm: _GroupNorm,
        L.Embed: _Embed,
        L.BlockEmbed: _BlockEmbed,
        L.BlockHead: _BlockHead,
        L.Residual: _Residual,
        L.Skip: _Skip,
        L.Condition: _Condition,
        L.Shift: _Shift,
        L.TimeFeatures: _TimeFeatures,
        L.Attention: _Attention,
        L.Log1p: _Log1p,
        L.Beside: _Beside,
        L.MissingId: _MissingId,
        L.WithMask: _WithMask,
        L.Scale: _Scale,
        L.Factors: _Factors,
        L.Activation: _Activation,
        L.Reshape: _Reshape,
        L.Swap: _Swap,
        L.Patch: _Patch,
        L.Pool: _Pool,
        L.Unpatch: _Unpatch,
        L.Standardize: _Standardize,
        I.Given: _Given,
        I.Read: _Read,
    }
    | MODULES
    | HEADS
)


def _through(layers: Any, x: Any, context: Any) -> Any:
    for layer in layers:
        if isinstance(layer, _Condition | _Given):
            x, context = layer(x, context)
        else:
            x = layer(x, context)
    return x


def _chain(layers: tuple[L.Layer, ...]) -> nn.ModuleList:
    return nn.ModuleList(_MODULES[type(layer)](layer) for layer in layers)
