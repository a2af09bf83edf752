"""Learnable priors: the mathematics that both hosts share."""

from mmppl.priors.blocks import Blocks
from mmppl.priors.chains import Chains
from mmppl.priors.conditioning import Conditioning
from mmppl.priors.flow import Flow
from mmppl.priors.frame import Frame
from mmppl.priors.joint_score import ScoreModel
from mmppl.priors.multi_task import MultiTaskModel
from mmppl.priors.multi_task_learning import MultiTaskLearning
from mmppl.priors.multi_time import MultiTime
from mmppl.priors.normalizer import LEAST_ESS, LogNormalizer
from mmppl.priors.pairwise import Pairwise
from mmppl.priors.shared_space import SharedSpace
from mmppl.priors.subspaces import Subspaces
from mmppl.priors.twisted import Particles

__all__ = [
    "Blocks",
    "Chains",
    "Conditioning",
    "Flow",
    "Frame",
    "LEAST_ESS",
    "LogNormalizer",
    "MultiTaskLearning",
    "MultiTaskModel",
    "MultiTime",
    "Pairwise",
    "Particles",
    "ScoreModel",
    "SharedSpace",
    "Subspaces",
]
