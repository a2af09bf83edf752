"""Nets: one description without a framework, built as ``nn.Module`` or as Equinox modules with the same weights.

Build a spec with ``mmppl.nets.torch.build(spec, seed)`` or ``mmppl.nets.equinox.build(spec, seed)``; ``state`` and
``load`` of either carry the weights to the other.
"""

from mmppl.nets.defaults import decoder, encoder, energy
from mmppl.nets.flat import Flat
from mmppl.nets.images import ImageTransformer, ImageUNet
from mmppl.nets.init import initial_weights
from mmppl.nets.mixers import PatchDecoder, PatchEncoder, TokenDecoder, TokenEncoder
from mmppl.nets.observed import (
    Among,
    Classes,
    Factored,
    Heteroscedastic,
    LogCounts,
    Partial,
    PartialIds,
    Scaled,
    Standardized,
    Unstandardized,
)
from mmppl.nets.scores import PairEnergy, ResidualScore, TokenScore, UnetScore
from mmppl.nets.sets import DeepSets, EquivariantDeepSets, EquivariantTransformer, SetTransformer
from mmppl.nets.spec import MLP, Energy, LocFactor, LocScale, Spec

__all__ = [
    "MLP",
    "Among",
    "Classes",
    "DeepSets",
    "Energy",
    "EquivariantDeepSets",
    "EquivariantTransformer",
    "Flat",
    "ImageTransformer",
    "ImageUNet",
    "Heteroscedastic",
    "LocFactor",
    "LocScale",
    "LogCounts",
    "PairEnergy",
    "Partial",
    "PartialIds",
    "PatchDecoder",
    "PatchEncoder",
    "ResidualScore",
    "Factored",
    "Scaled",
    "SetTransformer",
    "Spec",
    "Standardized",
    "TokenDecoder",
    "TokenEncoder",
    "TokenScore",
    "UnetScore",
    "Unstandardized",
    "decoder",
    "encoder",
    "energy",
    "initial_weights",
]
