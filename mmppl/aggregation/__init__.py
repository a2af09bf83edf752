"""Posteriors that answer for any subset of modalities, built from one expert per modality."""

from mmppl.aggregation.base import Experts, stack_experts
from mmppl.aggregation.geometric import GeometricMean
from mmppl.aggregation.mixture import Mixture, all_subsets
from mmppl.aggregation.product import Product

__all__ = ["Experts", "GeometricMean", "Mixture", "Product", "all_subsets", "stack_experts"]
