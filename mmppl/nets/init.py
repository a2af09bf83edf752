"""Initial weights, drawn once with numpy: both hosts start from exactly the same numbers."""

from collections.abc import Callable, Iterator, Mapping
from math import prod

import numpy as np

from mmppl.errors import OutOfMemoryError
from mmppl.memory import memory
from mmppl.nets.image_layers import Convolution, CrossAttention, Given, MapNorm, Modulate, Position, Read
from mmppl.nets.layers import (
    FACTOR_RATE,
    BlockEmbed,
    BlockHead,
    Condition,
    Embed,
    Factors,
    GroupNorm,
    Layer,
    Linear,
    Norm,
    Residual,
    Scale,
    Shift,
    Skip,
    Standardize,
)
from mmppl.nets.spec import Spec

__all__ = ["check_size", "initial_weights"]

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
BYTES = 8  # of a weight, which is drawn in double precision


def initial_weights(spec: Spec, seed: int) -> dict[str, np.ndarray]:
    r"""The weights of a new net by flat name, float64.

    With n the number of inputs of a linear layer, and both hosts' own default for it,

    .. math:: W_{ij}, b_i \sim \mathrm{U}(-n^{-1/2}, n^{-1/2});

    rows of an embedding are standard normal; a normalisation starts at scale 1 and shift 0, a learned scale at 1.

    Arguments:
        spec: The net.
        seed: Seed of numpy's generator. No global generator is read or changed.

    Raises:
        OutOfMemoryError: If the weights would not fit into memory.

    Returns:
        Arrays by name: ``"layers.1.weight"`` of shape ``(outputs, inputs)``, ``"layers.1.bias"``, and so on, where
        the number is the layer's place in ``spec.layers()``.

    Example:
        >>> from mmppl.nets import MLP
        >>> {name: w.shape for name, w in initial_weights(MLP((3,), (), hidden=(4,)), seed=0).items()}
        {'layers.1.weight': (4, 3), 'layers.1.bias': (4,), 'layers.3.weight': (1, 4), 'layers.3.bias': (1,)}
    """
    check_size({type(spec).__name__: spec})
    rng = np.random.default_rng(seed)
    return {name: draw(rng, shape) for name, shape, draw in _chain(spec.layers(), "")}


def check_size(specs: Mapping[str, Spec]) -> None:
    """Checks, before a weight is drawn, that networks fit into memory.

    Arguments:
        specs: The networks by name.

    Raises:
        OutOfMemoryError: Names the network and its largest weight.
    """
    sizes = {(net, name): shape for net, spec in specs.items() for name, shape, _ in _chain(spec.layers(), "")}
    asked, there = BYTES * sum(map(prod, sizes.values())), memory()
    if asked > there:
        net, name = max(sizes, key=lambda key: prod(sizes[key]))
        raise OutOfMemoryError(
            f"Expected networks that fit into the {there / 1e9:.3g} GB of memory; got weights of {asked / 1e9:.3g} GB, "
            f"the largest '{name}' {sizes[net, name]} of network '{net}'. Lower the width (hidden=) or, of tokens, the "
            "vocabulary."
        )


def _uniform(bound: float) -> Draw:
    return lambda rng, shape: rng.uniform(-bound, bound, shape)


def _scaled(bounds: np.ndarray) -> Draw:
    return lambda rng, shape: bounds * rng.uniform(-1.0, 1.0, shape)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape)


def _zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape)


def _ones(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.ones(shape)


def _chain(layers: tuple[Layer, ...], prefix: str) -> Iterator[tuple[str, tuple[int, ...], Draw]]:
    """Name and shape of every weight, and how it is drawn."""
    for place, layer in enumerate(layers):
        name = f"{prefix}layers.{place}."
        if isinstance(layer, Residual | Skip | Condition):
            yield from _chain(layer.layers, name)
            if isinstance(layer, Residual):
                yield from _chain(layer.shortcut, f"{name}shortcut.")
        elif isinstance(layer, Given):
            yield from _chain(layer.layers, name)
            yield from _chain(layer.vector, f"{name}vector.")
            yield from _chain(layer.tokens, f"{name}tokens.")
        elif isinstance(layer, Read):
            for i, (_, chain) in enumerate(layer.parts):
                yield from _chain(chain, f"{name}parts.{i}.")
        elif isinstance(layer, Convolution):
            draw = _uniform(0.0 if layer.zero else (9 * layer.inputs) ** -0.5)
            yield name + "weight", (layer.outputs, layer.inputs, 3, 3), draw
            yield name + "bias", (layer.outputs,), draw
        elif isinstance(layer, CrossAttention | Modulate):
            draw = _uniform(layer.inputs**-0.5)
            yield name + "weight", (2 * layer.outputs, layer.inputs), draw
            yield name + "bias", (2 * layer.outputs,), draw
        elif isinstance(layer, Position):
            yield name + "weight", tuple(layer.shape), _uniform(0.1)
        elif isinstance(layer, Linear | Shift):
            draw = _uniform(0.0 if isinstance(layer, Linear) and layer.zero else layer.inputs**-0.5)
            yield name + "weight", (layer.outputs, layer.inputs), draw
            yield name + "bias", (layer.outputs,), draw
        elif isinstance(layer, BlockEmbed):
            bounds = np.concatenate([np.full((size, 1), size**-0.5) for size in layer.sizes])
            yield (
                name + "weight",
                (len(bounds), layer.width),
                _scaled(bounds),
            )
            yield name + "bias", (len(layer.sizes), layer.width), _normal
        elif isinstance(layer, BlockHead):
            draw = _uniform(0.0 if layer.zero else layer.width**-0.5)
            yield name + "weight", (sum(layer.sizes), layer.width), draw
            yield name + "bias", (sum(layer.sizes),), draw
        elif isinstance(layer, Embed):
            yield name + "weight", (layer.vocabulary, layer.dim), _normal
        elif isinstance(layer, Standardize):
            yield name + "centre", tuple(layer.shape), _zeros
            yield name + "spread", tuple(layer.shape), _ones
        elif isinstance(layer, Scale):
            yield name + "weight", tuple(layer.shape), _zeros
        elif isinstance(layer, Factors):
            yield name + "weight", (layer.rank, *layer.shape), _uniform(0.15 / FACTOR_RATE)
        elif isinstance(layer, Norm | GroupNorm | MapNorm):
            yield name + "weight", (layer.dim,), _ones
            yield name + "bias", (layer.dim,), _zeros
