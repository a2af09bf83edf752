"""F1 of what is on and off: masks and attributes."""

import numpy as np

from mmppl.checks import checked
from mmppl.errors import DataError
from mmppl.metrics.estimate import Estimate
from mmppl.metrics.numbers import numbers

__all__ = ["f1"]


@checked()
def f1(samples: np.ndarray, data: np.ndarray, threshold: float = 0.5) -> Estimate:
    r"""Mean over data of the F1 score of their values, on where they are above a threshold.

    .. math:: F_1 = \frac{2\, \mathrm{TP}}{2\, \mathrm{TP} + \mathrm{FP} + \mathrm{FN}}

    It is 1 where nothing is on in either (scikit-learn's ``average="samples"`` has 0 there by default).

    Arguments:
        samples: Generated values ``(*, N, *event)``; several draws for one datum are averaged first.
        data: What is there, ``(N, *event)``.
        threshold: Values above it are on.

    Raises:
        DataError: If shapes do not fit, or there is no datum.

    References:
        The scores of attributes and masks in the code of Wesego and Rooshenas, "Score-Based Multimodal Autoencoder"
        (2024), and of Bounoua et al., "Multi-modal Latent Diffusion" (2024).

    Example:
        >>> round(f1(np.array([[0.9, 0.8, 0.1]]), np.array([[1.0, 0.0, 0.0]])).value, 3)
        0.667
    """
    samples, data = numbers("samples", samples), numbers("data", data)
    if data.ndim < 2 or 0 in data.shape or samples.shape[max(samples.ndim - data.ndim, 0) :] != data.shape:
        raise DataError(f"Expected samples (*, N, *event) of data (N, *event); got {samples.shape} and {data.shape}.")
    event = tuple(range(-data.ndim + 1, 0))
    made, real = samples > threshold, data > threshold
    both = (made & real).sum(axis=event)
    on = made.sum(axis=event) + real.sum(axis=event)
    return Estimate.of(np.where(on == 0, 1.0, 2.0 * both / np.maximum(on, 1)))
