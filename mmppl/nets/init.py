"""Initial weights, drawn once with numpy: both hosts start from exactly the same numbers."""

from collections.abc import Iterator

import numpy as np

from mmppl.nets.layers import (
    BlockEmbed,
    BlockHead,
    Condition,
    Embed,
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

__all__ = ["initial_weights"]


def initial_weights(spec: Spec, seed: int) -> dict[str, np.ndarray]:
    r"""The weights of a new net by flat name, float64.

    With n the number of inputs of a linear layer, and both hosts' own default for it,

    .. math:: W_{ij}, b_i \sim \mathrm{U}(-n^{-1/2}, n^{-1/2});

    rows of an embedding are standard normal; a normalisation starts at scale 1 and shift 0, a learned scale at 1.

    Arguments:
        spec: The net.
        seed: Seed of numpy's generator. No global generator is read or changed.

    Returns:
        Arrays by name: ``"layers.1.weight"`` of shape ``(outputs, inputs)``, ``"layers.1.bias"``, and so on, where
        the number is the layer's place in ``spec.layers()``.

    Example:
        >>> from mmppl.nets import MLP
        >>> {name: w.shape for name, w in initial_weights(MLP((3,), (), hidden=(4,)), seed=0).items()}
        {'layers.1.weight': (4, 3), 'layers.1.bias': (4,), 'layers.3.weight': (1, 4), 'layers.3.bias': (1,)}
    """
    return dict(_chain(spec.layers(), np.random.default_rng(seed), ""))


def _chain(layers: tuple[Layer, ...], rng: np.random.Generator, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    for place, layer in enumerate(layers):
        name = f"{prefix}layers.{place}."
        if isinstance(layer, Residual | Skip | Condition):
            yield from _chain(layer.layers, rng, name)
            if isinstance(layer, Residual):
                yield from _chain(layer.shortcut, rng, f"{name}shortcut.")
        elif isinstance(layer, Linear | Shift):
            bound = 0.0 if isinstance(layer, Linear) and layer.zero else layer.inputs**-0.5
            yield name + "weight", rng.uniform(-bound, bound, (layer.outputs, layer.inputs))
            yield name + "bias", rng.uniform(-bound, bound, layer.outputs)
        elif isinstance(layer, BlockEmbed):
            bounds = np.concatenate([np.full((size, 1), size**-0.5) for size in layer.sizes])
            yield name + "weight", bounds * rng.uniform(-1.0, 1.0, (len(bounds), layer.width))
            yield name + "bias", rng.standard_normal((len(layer.sizes), layer.width))
        elif isinstance(layer, BlockHead):
            bound = 0.0 if layer.zero else layer.width**-0.5
            yield name + "weight", rng.uniform(-bound, bound, (sum(layer.sizes), layer.width))
            yield name + "bias", rng.uniform(-bound, bound, sum(layer.sizes))
        elif isinstance(layer, Embed):
            yield name + "weight", rng.standard_normal((layer.vocabulary, layer.dim))
        elif isinstance(layer, Standardize):
            yield name + "centre", np.zeros(layer.shape)
            yield name + "spread", np.ones(layer.shape)
        elif isinstance(layer, Scale):
            yield name + "weight", np.zeros(layer.shape)
        elif isinstance(layer, Norm | GroupNorm):
            yield name + "weight", np.ones(layer.dim)
            yield name + "bias", np.zeros(layer.dim)
