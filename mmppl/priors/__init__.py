"""Learnable priors: the mathematics that both hosts share."""

from mmppl.priors.blocks import Blocks
from mmppl.priors.coordinates import Frame
from mmppl.priors.energy.chains import Chains
from mmppl.priors.energy.normalizer import LEAST_ESS, LogNormalizer
from mmppl.priors.multi_task.loss import MultiTaskLearning
from mmppl.priors.multi_task.model import MultiTaskModel
from mmppl.priors.multi_task.shared_space import SharedSpace
from mmppl.priors.reduction.subspaces import Subspaces
from mmppl.priors.score.conditioning import Conditioning
from mmppl.priors.score.guidance import Pairwise
from mmppl.priors.score.matching import MultiTime
from mmppl.priors.score.model import ScoreModel
from mmppl.priors.score.probability_flow import Flow
from mmppl.priors.score.smc import Particles

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
