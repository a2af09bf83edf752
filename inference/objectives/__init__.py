"""Objectives: rows of one table. Each face joins them to its host's ELBO class."""

from mmppl.inference.objectives.base import Objective, Terms
from mmppl.inference.objectives.elbo import ELBO
from mmppl.inference.objectives.mmvae import MMVAE
from mmppl.inference.objectives.mopoe import MoPoE
from mmppl.inference.objectives.mvae import MVAE

__all__ = ["ELBO", "MMVAE", "MVAE", "MoPoE", "Objective", "Terms"]
