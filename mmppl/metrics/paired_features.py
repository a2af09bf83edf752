"""Agreement of two modalities, as features of one network for both see it (CLIP and its like)."""

import numpy as np

from mmppl.checks import above, at_least, checked
from mmppl.errors import DataError
from mmppl.metrics.estimate import Estimate
from mmppl.metrics.numbers import numbers

__all__ = ["clip_score", "mutual_information_divergence"]


@checked(weight=above(0))
def clip_score(first: np.ndarray, second: np.ndarray, weight: float = 2.5) -> Estimate:
    r"""CLIP-S: the mean of :math:`w \cos(a_n, b_n)` over pairs of features.

    As in the code of MLD cosines are not cut at 0 (the original takes :math:`\max(\cos, 0)`).

    Arguments:
        first: Features :math:`a_n` of one modality, ``(N, D)``, say of CLIP's image tower.
        second: Features :math:`b_n` of the other, ``(N, D)``.
        weight: Factor w.

    Raises:
        DataError: If shapes differ, or a feature is not finite or zero.

    References:
        Hessel et al., "CLIPScore" (2021), equation 1.

    Example:
        >>> print(clip_score(np.array([[1.0, 0.0], [2.0, 2.0]]), np.array([[3.0, 0.0], [1.0, 1.0]])))
        2.500 +- 0.000
    """
    a, b = _features(first), _features(second)
    if a.shape != b.shape:
        raise DataError(f"Expected two sets of features of one shape (N, D); got {a.shape} and {b.shape}.")
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    if not norms.all():
        raise DataError("Expected features other than zero; got a row of zeros, which has no direction.")
    return Estimate.of(weight * (a * b).sum(axis=1) / norms)


@checked(eps=at_least(0))
def mutual_information_divergence(
    real: tuple[np.ndarray, np.ndarray], made: tuple[np.ndarray, np.ndarray], eps: float = 5e-4
) -> Estimate:
    r"""MID: how much more likely generated pairs are together than apart, under normals fitted to real pairs.

    .. math:: \frac1N \sum_n \log \frac{\mathcal{N}(\hat a_n, \hat b_n)}{\mathcal{N}(\hat a_n)\, \mathcal{N}(\hat b_n)}

    For the real pairs themselves it is the mutual information of the normals, in nats.

    Arguments:
        real: Features of real pairs, ``(N, D_a)`` and ``(N, D_b)``; their means and covariances are used.
        made: Features of the pairs to be evaluated, ``(K, D_a)`` and ``(K, D_b)``.
        eps: Added to the variances, in squared units of the features.

    Raises:
        DataError: If shapes do not fit, there are fewer than two pairs, a feature is not finite, or a covariance is
            singular.

    References:
        Kim et al., "Mutual information divergence: a unified metric for multimodal generative models" (2022).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> a = rng.standard_normal((20_000, 1))
        >>> b = 0.8 * a + 0.6 * rng.standard_normal((20_000, 1))
        >>> round(mutual_information_divergence((a, b), (a, b)).value, 2), round(float(-0.5 * np.log(1 - 0.8**2)), 2)
        (0.51, 0.51)
    """
    pairs = [tuple(map(_features, pair)) for pair in (real, made)]
    (a, b), (a_made, b_made) = pairs
    if len(a) != len(b) or len(a_made) != len(b_made) or (a.shape[1], b.shape[1]) != (a_made.shape[1], b_made.shape[1]):
        got = [x.shape for pair in pairs for x in pair]
        raise DataError(f"Expected pairs of features (N, D_a), (N, D_b) and (K, D_a), (K, D_b); got {got}.")
    if len(a) < 2:
        raise DataError(f"Expected at least two real pairs; got {len(a)}.")
    joint = _log_normal(np.concatenate([a, b], 1), np.concatenate([a_made, b_made], 1), eps)
    return Estimate.of(joint - _log_normal(a, a_made, eps) - _log_normal(b, b_made, eps))


def _log_normal(fit: np.ndarray, x: np.ndarray, eps: float) -> np.ndarray:
    """Log density, but for the constant, of rows x under the normal fitted to other rows."""
    centred = fit - fit.mean(axis=0)
    covariance = centred.T @ centred / len(fit) + eps * np.eye(fit.shape[1])
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise DataError(
            f"Expected features of a regular covariance; {len(fit)} pairs are too few or eps is."
        ) from error
    whitened = np.linalg.solve(root, (x - fit.mean(axis=0)).T)
    return -0.5 * (whitened**2).sum(axis=0) - np.log(np.diag(root)).sum()


def _features(x: np.ndarray) -> np.ndarray:
    x = numbers("features", x)
    if x.ndim != 2 or 0 in x.shape:
        raise DataError(f"Expected features of shape (N, D); got {x.shape}.")
    return x
