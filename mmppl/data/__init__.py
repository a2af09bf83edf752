"""Data sets by name, the `.npz` contract, and seeded minibatches; everything here is plain numpy."""

from mmppl.data.captions import Vocabulary
from mmppl.data.dataset import Dataset
from mmppl.data.hiding import hide
from mmppl.data.labelled_mixture import LabelledMixture
from mmppl.data.linear_gaussian import LinearGaussian
from mmppl.data.loading import load
from mmppl.data.minibatches import blocks, minibatches
from mmppl.data.mixture_views import MixtureViews
from mmppl.data.npz import read_npz, write_npz

__all__ = [
    "Dataset",
    "LabelledMixture",
    "LinearGaussian",
    "MixtureViews",
    "Vocabulary",
    "blocks",
    "hide",
    "load",
    "minibatches",
    "read_npz",
    "write_npz",
]
