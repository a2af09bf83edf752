"""Learnable priors: the mathematics, without a host."""

from mmppl.priors.chains import Chains
from mmppl.priors.normalizer import LogNormalizer

__all__ = ["Chains", "LogNormalizer"]
