"""mmppl: multi-modal generative models as ordinary Pyro and NumPyro programs.

This module loads neither torch nor JAX. Choose a host with ``import mmppl.numpyro as mm`` or
``import mmppl.pyro as mm``.
"""

from mmppl.batch import Batch, Modality

__all__ = ["Batch", "Modality", "__version__"]
__version__ = "0.1.0"
