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
from mmppl.pyro.kernels import (
    HMC,
    MALA,
    SGLD,
    ULA,
    AnnealedLangevin,
    RandomWalk,
    TemperedLangevin,
    UnderdampedLangevin,
)
from mmppl.pyro.objectives import ELBO, MMVAE, MVAE, MoPoE
from mmppl.pyro.primitives import as_batch, build, net, observe, plate
from mmppl.pyro.reduced import Reduced
from mmppl.pyro.smoothed import SmoothedLaplace

__all__ = [
    "ELBO",
    "HMC",
    "MALA",
    "MMVAE",
    "MVAE",
    "SGLD",
    "ULA",
    "AnnealedLangevin",
    "Chains",
    "Conditioning",
    "Diffusion",
    "EnergyTilted",
    "Flow",
    "JointScore",
    "MixtureOfExperts",
    "MixtureOfProducts",
    "MoPoE",
    "MultiTime",
    "Pairwise",
    "Particles",
    "Product",
    "RandomWalk",
    "Reduced",
    "ScoreModel",
    "SmoothedLaplace",
    "Subspaces",
    "TemperedLangevin",
    "UnderdampedLangevin",
    "as_batch",
    "build",
    "host",
    "net",
    "observe",
    "plate",
]
