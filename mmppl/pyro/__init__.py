"""The Pyro face: the same public names as :mod:`mmppl.numpyro`, over Pyro and torch."""

try:
    import pyro  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    from mmppl.errors import HostError

    raise HostError("Pyro is not installed; run: pip install 'mmppl[pyro]'") from error

from mmppl.priors import Chains, Conditioning, Flow, MultiTime, Pairwise, Particles, ScoreModel, Subspaces
from mmppl.pyro import host
from mmppl.pyro.aggregation import MixtureOfExperts, MixtureOfProducts, Product
from mmppl.pyro.energy import EnergyTilted
from mmppl.pyro.joint_score import Diffusion, JointScore
from mmppl.pyro.kernels import MALA, ULA
from mmppl.pyro.mixture import GaussianMixture, VampPrior
from mmppl.pyro.normalizing_flow import NormalizingFlow, spline_flow
from mmppl.pyro.objectives import ELBO, MMVAE, MVAE, MoPoE
from mmppl.pyro.padded import PaddedCategorical
from mmppl.pyro.primitives import as_batch, build, net, observe, plate
from mmppl.pyro.reduced import Reduced
from mmppl.pyro.smoothed import SmoothedLaplace

__all__ = [
    "ELBO",
    "MALA",
    "MMVAE",
    "MVAE",
    "ULA",
    "Chains",
    "Conditioning",
    "Diffusion",
    "EnergyTilted",
    "Flow",
    "GaussianMixture",
    "JointScore",
    "MixtureOfExperts",
    "MixtureOfProducts",
    "MoPoE",
    "MultiTime",
    "NormalizingFlow",
    "PaddedCategorical",
    "Pairwise",
    "Particles",
    "Product",
    "Reduced",
    "ScoreModel",
    "SmoothedLaplace",
    "Subspaces",
    "VampPrior",
    "as_batch",
    "build",
    "host",
    "net",
    "observe",
    "plate",
    "spline_flow",
]
