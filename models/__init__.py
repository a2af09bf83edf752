"""Published systems, one in a file, each declared as a program of either host."""

from mmppl.models.catalogue import SYSTEMS, make
from mmppl.models.ebm import ebm
from mmppl.models.mmvae import mmvae
from mmppl.models.mopoe import mopoe
from mmppl.models.mvae import mvae

__all__ = ["SYSTEMS", "ebm", "make", "mmvae", "mopoe", "mvae"]
