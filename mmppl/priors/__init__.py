"""Learnable priors: the mathematics that both hosts share."""

from mmppl.priors.blocks import Blocks
from mmppl.priors.chains import Chains
from mmppl.priors.conditioning import Conditioning
from mmppl.priors.flow import Flow
from mmppl.priors.frame import Frame
from mmppl.priors.joint_score import ScoreModel
from mmppl.priors.multi_time import MultiTime
from mmppl.priors.normalizer import LogNormalizer
from mmppl.priors.pairwise import Pairwise
from mmppl.priors.subspaces import Subspaces
from mmppl.priors.twisted import Particles

__all__ = [
    "Blocks",
    "Chains",
    "Conditioning",
    "Flow",
    "Frame",
    "LogNormalizer",
    "MultiTime",
    "Pairwise",
    "Particles",
    "ScoreModel",
    "Subspaces",
]
