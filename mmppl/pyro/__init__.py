"""mmppl on Pyro: the same public names as :mod:`mmppl.numpyro`, over Pyro and torch."""

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
from mmppl.pyro import host, kernels, objectives, priors
from mmppl.pyro.aggregation import GeometricMean, MixtureOfExperts, MixtureOfProducts, Product
from mmppl.pyro.discretized import DiscretizedLogistic
from mmppl.pyro.energy import EnergyTilted
from mmppl.pyro.host import likelihood
from mmppl.pyro.joint_score import Diffusion, JointScore, MultiTask
from mmppl.pyro.kernels import *  # noqa: F403
from mmppl.pyro.low_rank import LowRankNormal
from mmppl.pyro.normalizing_flow import NormalizingFlow, spline_flow
from mmppl.pyro.objectives import *  # noqa: F403
from mmppl.pyro.padded import PaddedCategorical
from mmppl.pyro.pooled import Pooled, private_posteriors
from mmppl.pyro.primitives import as_batch, build, net, observe, plate
from mmppl.pyro.priors import *  # noqa: F403
from mmppl.pyro.reduced import Reduced

__all__ = [
    *kernels.__all__,
    *objectives.__all__,
    *priors.__all__,
    "Conditioning",
    "Diffusion",
    "DiscretizedLogistic",
    "LowRankNormal",
    "EnergyTilted",
    "GeometricMean",
    "JointScore",
    "LangevinChains",
    "MixtureOfExperts",
    "MixtureOfProducts",
    "MultiTask",
    "MultiTaskLoss",
    "MultiTaskModel",
    "MultiTimeScoreMatching",
    "NormalizingFlow",
    "PaddedCategorical",
    "PairwiseGuidance",
    "Pooled",
    "ProbabilityFlow",
    "Product",
    "Reduced",
    "ScoreModel",
    "SharedSpace",
    "Subspaces",
    "TwistedSMC",
    "WarmUp",
    "Whitening",
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
