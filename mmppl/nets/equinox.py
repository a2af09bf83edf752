"""Specs as Equinox modules, whose inexact arrays are the weights. No ``vmap``: leading axes pass through."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mmppl._backend.jax_arrays import to_jax
from mmppl.errors import OptionError
from mmppl.nets import image_layers as I
from mmppl.nets import layers as L
from mmppl.nets.equinox_bfloat16 import factors, single
from mmppl.nets.equinox_heads import HEADS
from mmppl.nets.equinox_images import FIXED, WEIGHTED, Fixed
from mmppl.nets.equinox_rows import flattened, rows_at
from mmppl.nets.init import initial_weights
from mmppl.nets.spec import Spec
from mmppl.nets.transfer import check_dtype, check_input, check_weights

__all__ = ["Net", "build", "load", "state"]


def _gelu(x):
    # As torch writes it; jax.nn.gelu goes through erfc, which is slower on the CPU.
    return 0.5 * x * (1.0 + jax.lax.erf(x * 0.5**0.5))


ACTIVATIONS = {"gelu": _gelu, "relu": jax.nn.relu, "silu": jax.nn.silu, "tanh": jnp.tanh}


class Net(eqx.Module):
    """The net a spec describes: events ``(*, *in_shape)`` to ``(*, *out_shape)``, any leading axes."""

    layers: tuple
    spec: Any = eqx.field(static=True)
    in_shape: tuple[int | None, ...] = eqx.field(static=True)

    def __call__(self, x, context=None):
        check_input(x.shape, self.in_shape)
        with rows_at(x.ndim - len(self.in_shape) - 1):
            return single(_through(self.layers, x, context))


def build(spec: Spec, seed: int, dtype: str = "float32") -> Net:
    """A new net with the weights of :func:`mmppl.nets.init.initial_weights`.

    Arguments:
        spec: The net.
        seed: Seed of the initial weights; the same seed gives the same weights on both hosts.
        dtype: ``"float32"`` or ``"float64"``.

    Raises:
        OptionError: If the dtype is another, or float64 while JAX's x64 flag is off.

    Example:
        >>> from mmppl.nets import MLP
        >>> net = build(MLP((1, 4, 4), (3,), hidden=(8,)), seed=0)
        >>> net(jnp.zeros((5, 2, 1, 4, 4))).shape
        (5, 2, 3)
    """
    check_dtype(dtype)
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise OptionError("Expected JAX's x64 flag for float64 weights; got it off. Set jax_enable_x64 first.")
    weights = {name: to_jax(value, dtype) for name, value in initial_weights(spec, seed).items()}
    return Net(_chain(spec.layers(), weights, ""), spec, spec.in_shape)


def state(module: Any) -> dict[str, np.ndarray]:
    """Copies of the arrays of a module by flat name."""
    return {name: np.array(value) for name, value in _arrays(module).items()}


def load(module: Any, weights: Mapping[str, np.ndarray]) -> Any:
    """The module with weights given by flat name, in its own dtypes.

    Raises:
        DataError: If names or shapes are not the module's.
    """
    own = _arrays(module)
    check_weights({name: value.shape for name, value in own.items()}, weights)
    new = [to_jax(np.asarray(weights[name]), value.dtype) for name, value in own.items()]
    arrays, rest = eqx.partition(module, eqx.is_array)
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(arrays), new), rest)


def _arrays(module: Any) -> dict[str, jax.Array]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(eqx.filter(module, eqx.is_array))
    return {jax.tree_util.keystr(path, simple=True, separator="."): value for path, value in leaves}


class _Linear(eqx.Module):
    weight: jax.Array
    bias: jax.Array

    def __call__(self, x, context=None):
        # One plain matrix product: XLA's CPU backend is several times slower on the gradients of a batched one.
        x, shaped = flattened(x, 1)
        flat, weight, bias = factors(x, self.weight, self.bias)
        return shaped(flat @ weight.T + bias)


class _Norm(eqx.Module):
    weight: jax.Array
    bias: jax.Array

    def __call__(self, x, context=None):
        x = single(x)
        centred = x - jnp.mean(x, -1, keepdims=True)
        variance = jnp.mean(centred * centred, -1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + L.NORM_EPS) * self.weight + self.bias


class _Embed(eqx.Module):
    weight: jax.Array

    def __call__(self, x, context=None):
        return jnp.take(self.weight, x, axis=0)


class _Scale(eqx.Module):
    weight: jax.Array

    def __call__(self, x, context=None):
        first, *rest = x if isinstance(x, tuple) else (x,)
        return first, jnp.exp(L.SCALE_RATE * self.weight) + L.SCALE_FLOOR, *rest


class _Factors(eqx.Module):
    weight: jax.Array

    def __call__(self, x, context=None):
        return x, L.FACTOR_RATE * self.weight


class _Standardize(eqx.Module):
    centre: jax.Array
    spread: jax.Array
    layer: Any = eqx.field(static=True)

    def __call__(self, x, context=None):
        centre, spread = jax.lax.stop_gradient((self.centre, self.spread))
        if not self.layer.inverse:
            return (x - centre) / spread
        if not isinstance(x, tuple):
            return centre + spread * x
        return (centre + spread * x[0], *(spread * part for part in x[1:]))


class _Chain(eqx.Module):
    layers: tuple

    def __call__(self, x, context=None):
        return _through(self.layers, x, context)


class _Given(eqx.Module):
    layers: tuple
    vector: _Chain
    tokens: _Chain

    def __call__(self, x, context=None):
        return _through(self.layers, x, None), I.Sides(self.vector(x), self.tokens(x), {})


class _Read(eqx.Module):
    parts: tuple
    taps: tuple = eqx.field(static=True)

    def __call__(self, x, context=None):
        return jnp.concatenate([part(context.taps[tap]) for tap, part in zip(self.taps, self.parts, strict=True)], -1)


class _Residual(eqx.Module):
    layers: tuple
    shortcut: _Chain

    def __call__(self, x, context=None):
        return _through(self.shortcut.layers, x, context) + _through(self.layers, x, context)


class _Skip(eqx.Module):
    layers: tuple

    def __call__(self, x, context=None):
        return jnp.concatenate([_through(self.layers, x, context), x], -1)


class _Condition(eqx.Module):
    layers: tuple
    dim: int = eqx.field(static=True)

    def __call__(self, x, context=None):
        return x[..., : self.dim], _through(self.layers, x[..., self.dim :], None)


class _Shift(_Linear):
    def __call__(self, x, context=None):
        return x + super().__call__(jax.nn.silu(context), None)


class _BlockEmbed(eqx.Module):
    weight: jax.Array
    bias: jax.Array
    sizes: tuple = eqx.field(static=True)

    def __call__(self, x, context=None):
        ends = np.cumsum(self.sizes)
        x, weight, bias = factors(x, self.weight, self.bias)
        return (
            jnp.stack([x[..., e - n : e] @ weight[e - n : e] for e, n in zip(ends, self.sizes, strict=True)], -2) + bias
        )


class _BlockHead(eqx.Module):
    weight: jax.Array
    bias: jax.Array
    sizes: tuple = eqx.field(static=True)

    def __call__(self, x, context=None):
        ends = np.cumsum(self.sizes)
        x, weight, bias = factors(x, self.weight, self.bias)
        parts = [x[..., m, :] @ weight[e - n : e].T for m, (e, n) in enumerate(zip(ends, self.sizes, strict=True))]
        return jnp.concatenate(parts, -1) + bias


class _Activation(Fixed):
    def __call__(self, x, context=None):
        return ACTIVATIONS[self.layer.name](x)


class _Log1p(Fixed):
    def __call__(self, x, context=None):
        return jnp.log1p(x)


class _Beside(Fixed):
    def __call__(self, x, context=None):
        return jnp.concatenate([x, jnp.broadcast_to(context[1], (*x.shape[:-1], self.layer.size)).astype(x.dtype)], -1)


class _WithMask(Fixed):
    def __call__(self, x, context=None):
        context = context[0] if isinstance(context, tuple) else context
        there = jnp.ones_like(x) if context is None else jnp.broadcast_to(context, x.shape).astype(x.dtype)
        seen = x if context is None else jnp.where(context, x, 0.0)
        return jnp.concatenate([seen, there], -len(self.layer.shape))


class _MissingId(Fixed):
    def __call__(self, x, context=None):
        context = context[0] if isinstance(context, tuple) else context
        return x if context is None else jnp.where(context, x, self.layer.number)


class _Reshape(Fixed):
    def __call__(self, x, context=None):
        return x.reshape(x.shape[: x.ndim - len(self.layer.inputs)] + self.layer.outputs)


class _TimeFeatures(Fixed):
    def __call__(self, x, context=None):
        t = jnp.maximum(x, 0.0)[..., None]
        angle = t * (np.pi * 2.0 ** np.arange(self.layer.waves)).astype(x.dtype)
        flags = [(x == 0.0)[..., None].astype(x.dtype), (x < 0.0)[..., None].astype(x.dtype)]
        return jnp.concatenate([jnp.log(t + 1e-3), jnp.sin(angle), jnp.cos(angle), *flags], -1)


class _GroupNorm(eqx.Module):
    weight: jax.Array
    bias: jax.Array
    groups: int = eqx.field(static=True)

    def __call__(self, x, context=None):
        parts = single(x).reshape(*x.shape[:-1], self.groups, -1)
        centred = parts - jnp.mean(parts, -1, keepdims=True)
        variance = jnp.mean(centred * centred, -1, keepdims=True)
        return (centred * jax.lax.rsqrt(variance + L.NORM_EPS)).reshape(x.shape) * self.weight + self.bias


class _Attention(Fixed):
    def __call__(self, x, context=None):
        width = x.shape[-1] // 3
        parts = x.reshape(*x.shape[:-1], 3, self.layer.heads, width // self.layer.heads)
        query, key, value = factors(*(jnp.swapaxes(parts[..., i, :, :], -2, -3) for i in range(3)))
        scores = single(query @ jnp.swapaxes(key, -1, -2)) / float(np.sqrt(query.shape[-1]))
        if self.layer.masked:
            scores = jnp.where(context[..., None, None, :], scores, L.HIDDEN)
        share, value = factors(jax.nn.softmax(scores, -1), value)
        mixed = jnp.swapaxes(share @ value, -2, -3)
        return mixed.reshape(*mixed.shape[:-2], width)


class _Pool(Fixed):
    def __call__(self, x, context=None):
        return jnp.sum(jnp.where(context[..., None], x, 0.0), -2, keepdims=self.layer.keep)


class _Swap(Fixed):
    def __call__(self, x, context=None):
        return jnp.swapaxes(x, -1, -2)


class _Patch(Fixed):
    def __call__(self, x, context=None):
        (c, h, w), p = self.layer.shape, self.layer.size
        k = x.ndim - 3
        x = x.reshape(*x.shape[:k], c, h // p, p, w // p, p).transpose(*range(k), k + 1, k + 3, k, k + 2, k + 4)
        return x.reshape(*x.shape[:k], self.layer.tokens, self.layer.values)


class _Unpatch(Fixed):
    def __call__(self, x, context=None):
        (c, h, w), p = self.layer.shape, self.layer.size
        k = x.ndim - 2
        x = x.reshape(*x.shape[:k], h // p, w // p, c, p, p).transpose(*range(k), k + 2, k, k + 3, k + 1, k + 4)
        return x.reshape(*x.shape[:k], c, h, w)


_WEIGHTED = {L.Linear: _Linear, L.Norm: _Norm, L.Embed: _Embed, L.Shift: _Shift, L.Scale: _Scale, L.Factors: _Factors}
_BLOCKS = {L.BlockEmbed: (_BlockEmbed, "sizes"), L.BlockHead: (_BlockHead, "sizes")}
_SHAPED = _BLOCKS | {L.GroupNorm: (_GroupNorm, "groups")}
_FIXED = (
    {
        L.Activation: _Activation,
        L.Attention: _Attention,
        L.Beside: _Beside,
        L.Log1p: _Log1p,
        L.MissingId: _MissingId,
        L.Reshape: _Reshape,
        L.Swap: _Swap,
        L.Patch: _Patch,
        L.Pool: _Pool,
        L.TimeFeatures: _TimeFeatures,
        L.Unpatch: _Unpatch,
        L.WithMask: _WithMask,
    }
    | FIXED
    | HEADS
)


def _through(layers: tuple, x: Any, context: Any) -> Any:
    for layer in layers:
        if isinstance(layer, _Condition | _Given):
            x, context = layer(x, context)
        else:
            x = layer(x, context)
    return x


def _chain(layers: tuple[L.Layer, ...], weights: Mapping[str, jax.Array], prefix: str) -> tuple:
    out: list = []
    for place, layer in enumerate(layers):
        name = f"{prefix}layers.{place}."
        own = {key: weights[name + key] for key in ("weight", "bias") if name + key in weights}
        if isinstance(layer, L.Residual):
            shortcut = _Chain(_chain(layer.shortcut, weights, f"{name}shortcut."))
            out.append(_Residual(_chain(layer.layers, weights, name), shortcut))
        elif isinstance(layer, L.Skip):
            out.append(_Skip(_chain(layer.layers, weights, name)))
        elif isinstance(layer, L.Condition):
            out.append(_Condition(_chain(layer.layers, weights, name), layer.dim))
        elif isinstance(layer, I.Given):
            sides = (
                _Chain(_chain(x, weights, f"{name}{n}."))
                for n, x in (("vector", layer.vector), ("tokens", layer.tokens))
            )
            out.append(_Given(_chain(layer.layers, weights, name), *sides))
        elif isinstance(layer, I.Read):
            parts = (_Chain(_chain(x, weights, f"{name}parts.{i}.")) for i, (_, x) in enumerate(layer.parts))
            out.append(_Read(tuple(parts), tuple(tap for tap, _ in layer.parts)))
        elif isinstance(layer, L.Standardize):
            out.append(_Standardize(weights[f"{name}centre"], weights[f"{name}spread"], layer))
        elif type(layer) in _WEIGHTED:
            out.append(_WEIGHTED[type(layer)](**own))
        elif type(layer) in _SHAPED:
            module, shape = _SHAPED[type(layer)]
            out.append(module(**own, **{shape: getattr(layer, shape)}))
        elif type(layer) in WEIGHTED:
            out.append(WEIGHTED[type(layer)](**own, layer=layer))
        else:
            out.append(_FIXED[type(layer)](layer))
    return tuple(out)
