r"""R-hat and effective sample sizes of many quantities at once.

ArviZ computes them quantity by quantity, which takes minutes for the latents of hundreds of data; these are the same
numbers by whole arrays.

References:
    | Rank-normalization, folding, and localization: An improved R-hat (Vehtari et al., 2021)
    | https://arxiv.org/abs/1903.08008
"""

import numpy as np

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
    parts = _split(_rows(draws))
    folded = np.abs(parts - np.median(parts, axis=(1, 2), keepdims=True))
    return np.fmax(_plain(_normal_scores(parts)), _plain(_normal_scores(folded))).reshape(np.shape(draws)[2:])


def ess(draws: np.ndarray, kind: str = "bulk") -> np.ndarray:
    """Effective sample sizes, ``(*,)``, of draws ``(chains, draws, *)``: ``"bulk"``, ``"tail"`` or ``"mean"``."""
    x = _rows(draws)
    if kind == "tail":
        low, high = np.quantile(x, [0.05, 0.95], axis=(1, 2), keepdims=True)
        out = np.fmin(_ess(_split(x <= low)), _ess(_split(x <= high)))
    else:
        out = _ess(_normal_scores(_split(x)) if kind == "bulk" else _split(x))
    return out.reshape(np.shape(draws)[2:])


def _rows(draws: np.ndarray) -> np.ndarray:
    """Draws as ``(quantities, chains, draws)`` side by side in memory, in which everything is several times faster."""
    x = np.asarray(draws, float)
    return np.ascontiguousarray(np.moveaxis(x.reshape(*x.shape[:2], -1), -1, 0))


def _split(x: np.ndarray) -> np.ndarray:
    half = x.shape[2] // 2
    return np.concatenate([x[..., :half], x[..., -half:]], axis=1).astype(float)


def _normal_scores(x: np.ndarray) -> np.ndarray:
    # SciPy changes warning filters when it is loaded: not on import of this.
    from scipy.special import ndtri
    from scipy.stats import rankdata

    flat = x.reshape(len(x), -1)
    return ndtri((rankdata(flat, axis=1) - 0.375) / (flat.shape[1] + 0.25)).reshape(x.shape)


def _plain(x: np.ndarray) -> np.ndarray:
    number = x.shape[2]
    within, between = x.var(axis=2, ddof=1).mean(1), number * x.mean(axis=2).var(1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((between / within + number - 1) / number)


def _ess(x: np.ndarray) -> np.ndarray:
    """Geyer's initial monotone sequence of paired autocorrelations, for every quantity at once."""
    from scipy.fft import irfft, next_fast_len, rfft

    _, chains, number = x.shape
    centred = x - x.mean(axis=2, keepdims=True)
    size = next_fast_len(2 * number, real=True)
    power = np.abs(rfft(centred, size, axis=2)) ** 2
    cov = irfft(power, size, axis=2)[..., :number].mean(1) / number
    mean_var = cov[:, 0] * number / (number - 1.0)
    var_plus = mean_var * (number - 1.0) / number
    if chains > 1:
        var_plus = var_plus + x.mean(axis=2).var(1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 1.0 - (mean_var[:, None] - cov) / var_plus[:, None]
    rho[:, 0] = 1.0
    # Pairs of neighbouring lags, up to the first whose sum is not positive; of that one the even lag, if positive.
    pairs = rho[:, : 2 * ((number - 3) // 2 + 1)].reshape(len(rho), -1, 2)
    total = pairs.sum(2)
    alive = np.logical_and.accumulate(total > 0.0, axis=1)
    alive[:, -1] = False
    lowest = np.minimum.accumulate(np.where(alive, total, np.inf), axis=1)
    rest = np.take_along_axis(pairs[..., 0], alive.sum(1)[:, None], axis=1)[:, 0]
    tau = -1.0 + 2.0 * np.where(alive, lowest, 0.0).sum(1) + np.where(rest > 0.0, rest, 0.0)
    every = chains * number
    with np.errstate(divide="ignore", invalid="ignore"):
        out = every / np.maximum(tau, 1.0 / np.log10(every))
    return np.where(var_plus > 0.0, out, every)
