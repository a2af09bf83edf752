"""The Pyro face: the same public names as :mod:`mmppl.numpyro`, over Pyro and torch."""

try:
    import pyro  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    from mmppl.errors import HostError

    raise HostError("Pyro is not installed; run: pip install 'mmppl[pyro]'") from error

from mmppl.inference.objectives import WarmUp
from mmppl.priors import (
    Conditioning,
    LangevinChains,
    MultiTaskLoss,
    MultiTaskModel,
    MultiTimeScoreMatching,
    PairwiseGuidance,
    ProbabilityFlow,
    ScoreModel,
    SharedSpace,
    Subspaces,
    TwistedSMC,
    Whitening,
)
from mmppl.pyro import host, kernels, objectives
from mmppl.pyro.aggregation import GeometricMean, MixtureOfExperts, MixtureOfProducts, Product
from mmppl.pyro.conditional import Conditional
from mmppl.pyro.discretized import DiscretizedLogistic
from mmppl.pyro.energy import EnergyTilted
from mmppl.pyro.joint_score import Diffusion, JointScore, MultiTask
from mmppl.pyro.kernels import *  # noqa: F403
from mmppl.pyro.mixture import GaussianMixture, VampPrior
from mmppl.pyro.normalizing_flow import NormalizingFlow, spline_flow
from mmppl.pyro.objectives import *  # noqa: F403
from mmppl.pyro.observed import likelihood
from mmppl.pyro.padded import PaddedCategorical
from mmppl.pyro.pooled import Pooled, private_posteriors
from mmppl.pyro.primitives import as_batch, build, net, observe, plate
from mmppl.pyro.reduced import Reduced
from mmppl.pyro.smoothed import SmoothedLaplace

__all__ = [
    *kernels.__all__,
    *objectives.__all__,
    "LangevinChains",
    "Conditional",
    "Conditioning",
    "Diffusion",
    "DiscretizedLogistic",
    "EnergyTilted",
    "ProbabilityFlow",
    "Whitening",
    "GaussianMixture",
    "GeometricMean",
    "JointScore",
    "MixtureOfExperts",
    "MixtureOfProducts",
    "MultiTask",
    "MultiTaskLoss",
    "MultiTaskModel",
    "MultiTimeScoreMatching",
    "NormalizingFlow",
    "PaddedCategorical",
    "PairwiseGuidance",
    "TwistedSMC",
    "Pooled",
    "Product",
    "Reduced",
    "ScoreModel",
    "SmoothedLaplace",
    "SharedSpace",
    "Subspaces",
    "VampPrior",
    "WarmUp",
    "as_batch",
    "build",
    "host",
    "likelihood",
    "net",
    "observe",
    "plate",
    "private_posteriors",
    "spline_flow",
]
