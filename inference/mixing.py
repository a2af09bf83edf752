r"""R-hat and effective sample sizes of many quantities at once.

ArviZ computes them quantity by quantity, which takes minutes for the latents of hundreds of data; these are the same
numbers by whole arrays.

References:
    | Rank-normalization, folding, and localization: An improved R-hat (Vehtari et al., 2021)
    | https://arxiv.org/abs/1903.08008
"""

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

__all__ = ["ess", "r_hat"]


def r_hat(draws: np.ndarray) -> np.ndarray:
    r"""Rank-normalised split :math:`\hat R`, the larger of the plain and the folded one.

    Arguments:
        draws: ``(chains, draws, *)``, at least 4 draws.

    Returns:
        One value for each quantity, ``(*,)``; NaN where a quantity does not vary.

    Example:
        >>> draws = np.random.default_rng(0).normal(size=(4, 100, 2))
        >>> draws[0, :, 1] += 3.0
        >>> r_hat(draws) < 1.1
        array([ True, False])
    """
    parts = _split(np.asarray(draws, float))
    folded = np.abs(parts - np.median(parts, axis=(0, 1)))
    return np.fmax(_plain(_normal_scores(parts)), _plain(_normal_scores(folded)))


def ess(draws: np.ndarray, kind: str = "bulk") -> np.ndarray:
    """Effective sample sizes, ``(*,)``, of draws ``(chains, draws, *)``: ``"bulk"``, ``"tail"`` or ``"mean"``."""
    x = np.asarray(draws, float)
    if kind == "tail":
        low, high = np.quantile(x, [0.05, 0.95], axis=(0, 1))
        return np.fmin(_ess(_split(x <= low)), _ess(_split(x <= high)))
    parts = _split(x)
    return _ess(_normal_scores(parts) if kind == "bulk" else parts)


def _split(x: np.ndarray) -> np.ndarray:
    half = x.shape[1] // 2
    return np.concatenate([x[:, :half], x[:, -half:]]).astype(float)


def _normal_scores(x: np.ndarray) -> np.ndarray:
    number = x.shape[0] * x.shape[1]
    # Ranks along rows are found much faster than down columns.
    rank = rankdata(np.ascontiguousarray(x.reshape(number, -1).T), axis=1).T
    return ndtri((rank - 0.375) / (number + 0.25)).reshape(x.shape)


def _plain(x: np.ndarray) -> np.ndarray:
    number = x.shape[1]
    within, between = x.var(axis=1, ddof=1).mean(0), number * x.mean(axis=1).var(0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((between / within + number - 1) / number)


def _ess(x: np.ndarray) -> np.ndarray:
    """Geyer's initial monotone sequence of paired autocorrelations, for every quantity at once."""
    chains, number = x.shape[:2]
    shape = x.shape[2:]
    centred = (x - x.mean(axis=1, keepdims=True)).reshape(chains, number, -1)
    size = 1 << (2 * number - 1).bit_length()
    power = np.abs(np.fft.rfft(centred, size, axis=1)) ** 2
    cov = np.fft.irfft(power, size, axis=1)[:, :number].mean(0) / number
    mean_var = cov[0] * number / (number - 1.0)
    var_plus = mean_var * (number - 1.0) / number
    if chains > 1:
        var_plus = var_plus + x.mean(axis=1).reshape(chains, -1).var(0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 1.0 - (mean_var - cov) / var_plus
    rho[0] = 1.0
    # Pairs of neighbouring lags, up to the first whose sum is not positive; of that one the even lag, if positive.
    pairs = rho[: 2 * ((number - 3) // 2 + 1)].reshape(-1, 2, rho.shape[1])
    total = pairs.sum(1)
    alive = np.cumprod(total > 0.0, axis=0).astype(bool)
    alive[-1] = False
    lowest = np.minimum.accumulate(np.where(alive, total, np.inf), axis=0)
    rest = np.take_along_axis(pairs[:, 0], alive.sum(0)[None], axis=0)[0]
    tau = -1.0 + 2.0 * np.where(alive, lowest, 0.0).sum(0) + np.where(rest > 0.0, rest, 0.0)
    every = chains * number
    with np.errstate(divide="ignore", invalid="ignore"):
        out = every / np.maximum(tau, 1.0 / np.log10(every))
    return np.where(var_plus > 0.0, out, every).reshape(shape)
