"""A batch that has the shapes of a program's data, for runs that ask for places and names alone."""

from collections.abc import Mapping

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.covariates import Covariate

__all__ = ["example"]


def example(
    modalities: Mapping[str, Modality], num: int = 2, covariates: Mapping[str, Covariate] | None = None
) -> Batch:
    """A batch of zeros in the shapes of the modalities, everything present; covariates are ones."""
    values, elements = {}, {}
    for name, modality in modalities.items():
        values[name] = np.zeros((num, *modality.shape), modality.dtype)
        if modality.partial:
            elements[name] = np.ones(values[name].shape, bool)
    ones = {n: np.ones((num, c.size)[: 1 + (c.names is not None)], np.float32) for n, c in (covariates or {}).items()}
    return Batch(values, elements, covariates=ones)
