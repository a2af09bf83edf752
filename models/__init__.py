"""Published systems, one in a file, each declared as a program of either host."""

from mmppl.models.catalogue import SYSTEMS, make
from mmppl.models.ebm import ebm
from mmppl.models.mld import mld
from mmppl.models.mld_inpaint import mld_inpaint
from mmppl.models.mld_uni import mld_uni
from mmppl.models.mmvae import mmvae
from mmppl.models.mopoe import mopoe
from mmppl.models.mvae import mvae
from mmppl.models.sbm import sbm

__all__ = ["SYSTEMS", "ebm", "make", "mld", "mld_inpaint", "mld_uni", "mmvae", "mopoe", "mvae", "sbm"]
