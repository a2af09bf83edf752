"""Posteriors that answer for any subset of modalities, from an expert or from features of each modality."""

from mmppl.aggregation.base import Experts, stack_experts, stack_features
from mmppl.aggregation.mixture import Mixture
from mmppl.aggregation.pooled import Pooled, pool, private_posteriors, where_present
from mmppl.aggregation.product import GeometricMean, Product
from mmppl.subsets import all_subsets

__all__ = [
    "Experts",
    "GeometricMean",
    "Mixture",
    "Pooled",
    "Product",
    "all_subsets",
    "pool",
    "private_posteriors",
    "where_present",
    "stack_experts",
    "stack_features",
]
