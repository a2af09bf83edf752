"""The Frechet distance between two sets of features."""

import numpy as np

from mmppl.checks import checked
from mmppl.errors import DataError
from mmppl.metrics.numbers import numbers

__all__ = ["frechet"]


@checked()
def frechet(features_a: np.ndarray, features_b: np.ndarray) -> float:
    r"""Frechet (2-Wasserstein, squared) distance between normals fitted to two sets of features.

    .. math::
        |\mu_a - \mu_b|^2 + \operatorname{tr}\big( C_a + C_b - 2 (C_a^{1/2} C_b C_a^{1/2})^{1/2} \big)

    The last trace is the sum of the singular values of :math:`R_a R_b^T`, where :math:`C = R^T R` comes from a QR
    decomposition of the centred features: no matrix square root is taken, and singular covariances are harmless.

    Arguments:
        features_a: Features of shape ``(N_a, D)``: ``classifiers.features(name, samples)``, or those of an Inception
            network for the FID of images, of VGGish for the FAD of sounds.
        features_b: Features of shape ``(N_b, D)``.

    Returns:
        The distance, in squared units of the features; biased upwards in small samples, so compare equal numbers.

    Raises:
        DataError: If shapes do not fit, a set has fewer than two rows, or a feature is not finite.

    References:
        Dowson and Landau, "The Frechet distance between multivariate normal distributions" (1982); Heusel et al.,
        "GANs trained by a two time-scale update rule" (2017), section 3.

    Example:
        >>> a = np.array([[0.0], [2.0], [4.0]])
        >>> round(frechet(a, a + 3.0), 6), round(frechet(a, 2.0 * a - 2.0), 6)
        (9.0, 4.0)
    """
    a, b = numbers("features_a", features_a), numbers("features_b", features_b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise DataError(
            f"Expected two sets of features of shape (N, D), N at least 2 and D the same; got {a.shape} and {b.shape}."
        )
    root_a, root_b = (np.linalg.qr(x - x.mean(0), mode="r") / np.sqrt(len(x) - 1) for x in (a, b))
    shift = np.sum((a.mean(0) - b.mean(0)) ** 2)
    overlap = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    return float(max(shift + np.sum(root_a**2) + np.sum(root_b**2) - 2 * overlap, 0.0))
