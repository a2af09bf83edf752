"""The systems by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mmppl.batch import Modality
from mmppl.errors import OptionError
from mmppl.inference.host import Face
from mmppl.inference.training.program import Program
from mmppl.models.ebm import ebm
from mmppl.models.ebm_plus import ebm_plus
from mmppl.models.ivae import ivae
from mmppl.models.jmvae import jmvae
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
from mmppl.models.sbm import sbm

__all__ = ["SYSTEMS", "make", "settings"]

_ALL = (
    *(jmvae, mvae, mmvae, mopoe, mmjsd, mvtcae, mmvae_plus, nexus),
    *(masked, ivae),
    *(ebm, ebm_plus),
    *(mld, mld_inpaint, mld_uni, sbm, mt_diffusion),
)
SYSTEMS: dict[str, Callable[..., Program]] = {declare.__name__: declare for declare in _ALL}


def make(name: str, modalities: Mapping[str, Modality], *, ppl: Face, **options: Any) -> Program:
    """The program of a published system by name.

    Raises:
        OptionError: If the name or an option is unknown.
    """
    if name not in SYSTEMS:
        raise OptionError(f"Unknown model '{name}'; expected one of {sorted(SYSTEMS)}.")
    return SYSTEMS[name](modalities, ppl=ppl, **options)


def settings(name: str) -> dict[str, Any]:
    """The options of a system with their defaults.

    Example:
        >>> settings("mvae")["random"]
        1
    """
    parameters = inspect.signature(SYSTEMS[name]).parameters
    return {k: p.default for k, p in parameters.items() if p.default is not inspect.Parameter.empty and k != "seed"}
