"""mmppl on NumPyro: the same public names as :mod:`mmppl.pyro`, over NumPyro, JAX and Equinox."""

try:
    import equinox  # noqa: F401
    import numpyro  # noqa: F401
except ImportError as error:
    from mmppl.errors import HostError

    raise HostError("NumPyro is not installed; run: pip install 'mmppl[numpyro]'") from error

from mmppl.inference.objectives import WarmUp
from mmppl.numpyro import host, kernels, objectives, priors
from mmppl.numpyro.aggregation import GeometricMean, MixtureOfExperts, MixtureOfProducts, Product
from mmppl.numpyro.discretized import DiscretizedLogistic
from mmppl.numpyro.energy import EnergyTilted
from mmppl.numpyro.host import likelihood
from mmppl.numpyro.joint_score import Diffusion, JointScore, MultiTask
from mmppl.numpyro.kernels import *  # noqa: F403
from mmppl.numpyro.low_rank import LowRankNormal
from mmppl.numpyro.normalizing_flow import NormalizingFlow, spline_flow
from mmppl.numpyro.objectives import *  # noqa: F403
from mmppl.numpyro.padded import PaddedCategorical
from mmppl.numpyro.pooled import Pooled, private_posteriors
from mmppl.numpyro.primitives import as_batch, build, net, observe, plate
from mmppl.numpyro.priors import *  # noqa: F403
from mmppl.numpyro.reduced import Reduced
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
