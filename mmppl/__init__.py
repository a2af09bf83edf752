"""mmppl: multi-modal generative models as ordinary Pyro and NumPyro programs.

This module loads neither torch nor JAX. Choose a host with ``import mmppl.numpyro as mm`` or
``import mmppl.pyro as mm``.
"""

from typing import Any

from mmppl.batch import Batch, Modality
from mmppl.compilation import cache_compilation
from mmppl.covariates import Covariate

__all__ = ["Batch", "Covariate", "Modality", "__version__", "cache_compilation", "citation", "load"]
__version__ = "0.1.0"


def load(path: Any, program: Any = None, *, ppl: Any = None) -> Any:
    """Reads a fitted program back from a run folder; see :func:`mmppl.models.load`."""
    from mmppl import models

    return models.load(path, program, ppl=ppl)


def citation(program: Any) -> str:
    """Entries of BibTeX that are to be cited for a program; see :func:`mmppl.models.citation.citation`."""
    from mmppl.models.citation import citation as entries

    return entries(program)
