"""The mean correlation coefficient (MCC): how well latents are recovered, up to what identifiability allows."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from mmppl.checks import at_least, checked
from mmppl.errors import DataError, OptionError
from mmppl.metrics.numbers import numbers
from mmppl.metrics.randomised_dependence import randomised_dependence

__all__ = ["MeanCorrelation", "mean_correlation"]

KINDS = ("strong", "weak")
CORRELATIONS = ("pearson", "spearman", "rdc")


class MeanCorrelation(NamedTuple):
    """Mean correlation of found with true latents.

    Arguments:
        value: The mean of ``each``.
        each: Absolute correlation of each matched pair, largest first.
        held_out: Number of data that it rests on; none of them was used to match.
    """

    value: float
    each: np.ndarray
    held_out: int


@checked(pairs=at_least(1))
def mean_correlation(
    z: np.ndarray,
    recovered: np.ndarray,
    kind: str = "strong",
    *,
    pairs: int | None = None,
    correlation: str = "pearson",
) -> MeanCorrelation:
    r"""Mean absolute correlation of true and recovered latents, matched on the first half, measured on the second.

    Strong: each true latent is matched to one recovered latent, by the assignment with the largest sum of absolute
    correlations: recovery up to order, sign and (for Spearman's) a monotone map, or (for the RDC) any smooth one. Weak:
    canonical pairs of linear combinations of either: recovery up to an invertible linear map.

    .. math:: \mathrm{MCC} = \frac{1}{R} \sum_{r=1}^{R} \big| \mathrm{corr}(z_{i_r}, \hat z_{j_r}) \big|

    With ``pairs=1`` the weak score is only the leading canonical pair, which one recovered direction among D saturates.

    References:
        | Variational Autoencoders and Nonlinear ICA: A Unifying Framework (Khemakhem et al., 2020)
        | https://arxiv.org/abs/1907.04809

    Arguments:
        z: True latents, ``(N, D)``.
        recovered: Recovered latents, ``(N, D')``: a draw or the mean of the posterior of each datum.
        kind: ``"strong"`` or ``"weak"``.
        pairs: R, the number of pairs, best first; the smaller of D and D' by default.
        correlation: ``"pearson"``, ``"spearman"`` or ``"rdc"``, see
            :func:`mmppl.metrics.randomised_dependence.randomised_dependence`.

    Raises:
        DataError: If shapes do not fit, there are too few data, or a latent is not finite.
        OptionError: If an option is unknown or out of range.

    Example:
        >>> z = np.random.default_rng(0).normal(size=(100, 2))
        >>> round(mean_correlation(z, -3.0 * z[:, ::-1]).value, 6)
        1.0
    """
    z, recovered = numbers("z", z), numbers("recovered", recovered)
    if z.ndim != 2 or recovered.ndim != 2 or len(z) != len(recovered) or 0 in (*z.shape, *recovered.shape):
        raise DataError(f"Expected latents z (N, D) and recovered (N, D'); got {z.shape} and {recovered.shape}.")
    if len(z) < 4 * max(z.shape[1], recovered.shape[1]):
        raise DataError(f"Expected at least four data for each latent; got {z.shape} and {recovered.shape}.")
    if kind not in KINDS:
        raise OptionError(f"Expected a kind among {KINDS}; got {kind!r}.")
    if correlation not in CORRELATIONS:
        raise OptionError(f"Expected a correlation among {CORRELATIONS}; got {correlation!r}.")
    most = min(z.shape[1], recovered.shape[1])
    if pairs is not None and not 1 <= pairs <= most:
        raise OptionError(f"Expected pairs between 1 and {most}; got {pairs}.")
    half = len(z) // 2
    fit, test = (z[:half], recovered[:half]), (z[half:], recovered[half:])
    if kind == "weak":
        first, second = _canonical(*fit)
        centre = fit[0].mean(0), fit[1].mean(0)
        test = (test[0] - centre[0]) @ first, (test[1] - centre[1]) @ second
        order = np.arange(most), np.arange(most)
    else:
        order = linear_sum_assignment(-np.abs(_correlations(*fit, correlation)))
    each = np.sort(np.abs(_correlations(*test, correlation)[order]))[::-1][:pairs]
    return MeanCorrelation(float(each.mean()), each, len(z) - half)


def _correlations(a: np.ndarray, b: np.ndarray, kind: str) -> np.ndarray:
    """Correlations of all columns of ``a`` with all of ``b``; 0 for a column that does not vary."""
    if kind == "rdc":
        return randomised_dependence(a, b)
    if kind == "spearman":
        from scipy.stats import rankdata  # takes long to import, which others need not wait for

        a, b = rankdata(a, axis=0), rankdata(b, axis=0)
    a, b = a - a.mean(0), b - b.mean(0)
    size = np.outer(np.sqrt((a**2).sum(0)), np.sqrt((b**2).sum(0)))
    return np.divide(a.T @ b, size, out=np.zeros_like(size), where=size > 0)


def _canonical(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions of the canonical pairs, best first, by the singular values of the whitened covariance."""
    white, whiten = [], []
    for x in (a - a.mean(0), b - b.mean(0)):
        _, size, turn = np.linalg.svd(x, full_matrices=False)
        # A direction without variance stays out.
        whiten.append(turn.T * np.divide(1.0, size, out=np.zeros_like(size), where=size > 1e-10 * size[0]))
        white.append(x @ whiten[-1])
    left, _, right = np.linalg.svd(white[0].T @ white[1])
    return whiten[0] @ left, whiten[1] @ right.T
