"""The NumPyro face: the same public names as :mod:`mmppl.pyro`, over NumPyro, JAX and Equinox."""

try:
    import equinox  # noqa: F401
    import numpyro  # noqa: F401
except ImportError as error:
    from mmppl.errors import HostError

    raise HostError("NumPyro is not installed; run: pip install 'mmppl[numpyro]'") from error

from mmppl.inference.objectives import WarmUp
from mmppl.numpyro import host
from mmppl.numpyro.aggregation import GeometricMean, MixtureOfExperts, MixtureOfProducts, Product
from mmppl.numpyro.conditional import Conditional
from mmppl.numpyro.energy import EnergyTilted
from mmppl.numpyro.joint_score import Diffusion, JointScore, MultiTask
from mmppl.numpyro.kernels import (
    HMC,
    MALA,
    SGLD,
    ULA,
    AnnealedLangevin,
    RandomWalk,
    TemperedLangevin,
    UnderdampedLangevin,
)
from mmppl.numpyro.mixture import GaussianMixture, VampPrior
from mmppl.numpyro.normalizing_flow import NormalizingFlow, spline_flow
from mmppl.numpyro.objectives import ELBO, JMVAE, MMJSD, MMVAE, MVAE, MVTCAE, Masked, MMVAEPlus, MoPoE, Refined
from mmppl.numpyro.padded import PaddedCategorical
from mmppl.numpyro.pooled import Pooled, private_posteriors
from mmppl.numpyro.primitives import as_batch, build, net, observe, plate
from mmppl.numpyro.reduced import Reduced
from mmppl.numpyro.smoothed import SmoothedLaplace
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
    "ELBO",
    "JMVAE",
    "HMC",
    "MALA",
    "MMJSD",
    "MMVAE",
    "MVAE",
    "MVTCAE",
    "SGLD",
    "ULA",
    "AnnealedLangevin",
    "LangevinChains",
    "Conditional",
    "Conditioning",
    "Diffusion",
    "EnergyTilted",
    "ProbabilityFlow",
    "Whitening",
    "GaussianMixture",
    "GeometricMean",
    "JointScore",
    "MMVAEPlus",
    "MixtureOfExperts",
    "MixtureOfProducts",
    "Masked",
    "MoPoE",
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
    "RandomWalk",
    "Reduced",
    "Refined",
    "ScoreModel",
    "SmoothedLaplace",
    "SharedSpace",
    "Subspaces",
    "VampPrior",
    "WarmUp",
    "TemperedLangevin",
    "UnderdampedLangevin",
    "as_batch",
    "build",
    "host",
    "net",
    "observe",
    "plate",
    "private_posteriors",
    "spline_flow",
]
