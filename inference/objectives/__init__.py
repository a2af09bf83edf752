"""Objectives: rows of one table. Each host joins them to its own ELBO class."""

from mmppl.inference.objectives.base import Objective
from mmppl.inference.objectives.elbo import ELBO
from mmppl.inference.objectives.jmvae import JMVAE
from mmppl.inference.objectives.masked import Masked
from mmppl.inference.objectives.mmjsd import MMJSD
from mmppl.inference.objectives.mmvae import MMVAE
from mmppl.inference.objectives.mmvae_plus import MMVAEPlus
from mmppl.inference.objectives.mopoe import MoPoE
from mmppl.inference.objectives.mvae import MVAE
from mmppl.inference.objectives.mvtcae import MVTCAE
from mmppl.inference.objectives.refined import Refined
from mmppl.inference.objectives.schedules import WarmUp
from mmppl.inference.objectives.terms import References, Terms

__all__ = [
    "ELBO",
    "JMVAE",
    "MMJSD",
    "MMVAE",
    "MMVAEPlus",
    "MVAE",
    "MVTCAE",
    "Masked",
    "MoPoE",
    "Objective",
    "References",
    "Refined",
    "Terms",
    "WarmUp",
]
