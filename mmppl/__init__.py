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
    """Reads a fitted program back from a run folder.

    Arguments:
        path: The run folder, of ``fit(out=path)``, ``Fitted.save(path)`` or ``mmppl fit``.
        program: The program, where it is a user-defined one.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``, where a published system is to run on the other host.

    Returns:
        The program with its weights and history; see :func:`mmppl.models.load` for the rest.
    """
    from mmppl import models

    return models.load(path, program, ppl=ppl)


def citation(program: Any) -> str:
    """Entries of BibTeX that are to be cited for a program.

    Arguments:
        program: A program; see :func:`mmppl.models.citation.citation`.
    """
    from mmppl.models.citation import citation as entries

    return entries(program)
