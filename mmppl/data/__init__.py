"""Data sets by name, from files, tables and arrays, and seeded minibatches; everything here is plain numpy."""

from mmppl.data.anndata_objects import from_anndata, to_anndata
from mmppl.data.arrays import batch_of
from mmppl.data.captions import Vocabulary
from mmppl.data.dataset import Dataset
from mmppl.data.hiding import hide
from mmppl.data.image_folders import from_images
from mmppl.data.labelled_mixture import LabelledMixture
from mmppl.data.linear_gaussian import LinearGaussian
from mmppl.data.loading import load
from mmppl.data.minibatches import blocks, minibatches
from mmppl.data.mixture_views import MixtureViews
from mmppl.data.mudata_objects import from_mudata, to_mudata
from mmppl.data.npz import read_npz, write_npz
from mmppl.data.pandas_frames import from_pandas, to_pandas
from mmppl.data.patch_masks import patch_masks, restored, with_labels, with_masks
from mmppl.data.row_files import RowFiles, open_rows, write_rows
from mmppl.data.row_source import RowSource
from mmppl.data.xarray_datasets import from_xarray, to_xarray

__all__ = [
    "Dataset",
    "LabelledMixture",
    "LinearGaussian",
    "MixtureViews",
    "RowFiles",
    "RowSource",
    "Vocabulary",
    "batch_of",
    "blocks",
    "from_anndata",
    "from_images",
    "from_mudata",
    "from_pandas",
    "from_xarray",
    "hide",
    "load",
    "minibatches",
    "open_rows",
    "patch_masks",
    "read_npz",
    "restored",
    "to_anndata",
    "to_mudata",
    "to_pandas",
    "to_xarray",
    "with_labels",
    "with_masks",
    "write_npz",
    "write_rows",
]
