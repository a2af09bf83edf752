"""Learnable priors: the mathematics that both hosts share."""

from mmppl.priors.blocks import Blocks
from mmppl.priors.coordinates import Whitening
from mmppl.priors.energy.chain_bias import ChainBias
from mmppl.priors.energy.chains import LangevinChains
from mmppl.priors.energy.normalizer import LEAST_ESS, LogNormalizer
from mmppl.priors.multi_task.evidence import EvidenceTerms
from mmppl.priors.multi_task.heads import BernoulliHead, CategoricalHead, NormalHead, PoissonHead
from mmppl.priors.multi_task.joining import Bump, Curve, FirstStep, StepWeights
from mmppl.priors.multi_task.loss import MultiTaskLoss
from mmppl.priors.multi_task.model import MultiTaskModel
from mmppl.priors.multi_task.shared_space import SharedSpace
from mmppl.priors.reduction.subspaces import Subspaces
from mmppl.priors.score.conditioning import Conditioning
from mmppl.priors.score.guidance import PairwiseGuidance
from mmppl.priors.score.matching import MultiTimeScoreMatching
from mmppl.priors.score.model import ScoreModel
from mmppl.priors.score.probability_flow import ProbabilityFlow
from mmppl.priors.score.smc import TwistedSMC

__all__ = [
    "BernoulliHead",
    "Blocks",
    "Bump",
    "CategoricalHead",
    "ChainBias",
    "Curve",
    "EvidenceTerms",
    "FirstStep",
    "LangevinChains",
    "Conditioning",
    "ProbabilityFlow",
    "Whitening",
    "LEAST_ESS",
    "LogNormalizer",
    "MultiTaskLoss",
    "MultiTaskModel",
    "MultiTimeScoreMatching",
    "NormalHead",
    "PoissonHead",
    "PairwiseGuidance",
    "TwistedSMC",
    "ScoreModel",
    "SharedSpace",
    "StepWeights",
    "Subspaces",
]
