"""Published systems, one in a file, each declared as a program of either host."""

from mmppl.models.catalogue import SYSTEMS, make
from mmppl.models.ebm import ebm
from mmppl.models.ebm_plus import ebm_plus
from mmppl.models.ivae import ivae
from mmppl.models.jmvae import jmvae
from mmppl.models.loading import load
from mmppl.models.masked import masked
from mmppl.models.mld import mld
from mmppl.models.mld_inpaint import mld_inpaint
from mmppl.models.mld_uni import mld_uni
from mmppl.models.mmjsd import mmjsd
from mmppl.models.mmvae import mmvae
from mmppl.models.mmvae_plus import mmvae_plus
from mmppl.models.mopoe import mopoe
from mmppl.models.mt_diffusion import mt_diffusion
from mmppl.models.mvae import mvae
from mmppl.models.mvtcae import mvtcae
from mmppl.models.nexus import nexus
from mmppl.models.refiner import coarse_pairs, refiner
from mmppl.models.sbm import sbm

__all__ = [
    "SYSTEMS",
    "coarse_pairs",
    "ebm",
    "ebm_plus",
    "ivae",
    "jmvae",
    "load",
    "masked",
    "make",
    "mld",
    "mld_inpaint",
    "mld_uni",
    "mmjsd",
    "mmvae",
    "mmvae_plus",
    "mopoe",
    "mt_diffusion",
    "mvae",
    "mvtcae",
    "nexus",
    "refiner",
    "sbm",
]
