"""The gap between a model's log likelihoods and those of the truth."""

from typing import NamedTuple

import numpy as np

from mmppl.checks import ANYTHING, checked
from mmppl.errors import DataError
from mmppl.inference.posterior.trust import trusted_k
from mmppl.metrics.estimate import Estimate
from mmppl.metrics.numbers import numbers

__all__ = ["LikelihoodGap", "likelihood_gap"]


class LikelihoodGap(NamedTuple):
    r"""The gap of N data.

    Arguments:
        nats: :math:`\frac{1}{N} \sum_n \log p^*(x_n) - \log p(x_n)`, in nats.
        relative: The same over :math:`|\frac{1}{N} \sum_n \log p^*(x_n)|`, without a unit.
    """

    nats: Estimate
    relative: Estimate


@checked(error=ANYTHING)
def likelihood_gap(log_likelihood: np.ndarray, truth: np.ndarray, error: np.ndarray | float = 0.0) -> LikelihoodGap:
    r"""The gap between a model and the truth, which data of a known law allow to see.

    It estimates :math:`\mathrm{KL}(p^* \,\|\, p)` in nats. Errors are those of the mean over data drawn from the truth,
    with the errors of the estimates themselves.

    Arguments:
        log_likelihood: :math:`\log p(x_n)` in nats, ``(N,)``, such as ``log_likelihood(fitted, data).value``.
        truth: :math:`\log p^*(x_n)`, ``(N,)``, such as ``LinearGaussian.evidence(data)``.
        error: Standard errors of the former, ``(N,)``, such as ``log_likelihood(fitted, data).error``: NaN where an
            estimate is not to be trusted. Where that is more than a twentieth of the data the gap has no error, NaN.

    Raises:
        DataError: If shapes do not fit, a log likelihood is not finite or an error infinite.

    References:
        | Learning multi-modal generative models with permutation-invariant encoders and tighter variational objectives
        | (Hirt et al., 2024), section 5: the relative gap

    Example:
        >>> gap = likelihood_gap(np.array([-2.0, -4.0]), np.array([-1.0, -3.0]))
        >>> gap.nats.value, gap.relative.value
        (1.0, 0.5)
    """
    model, truth = numbers("log_likelihood", log_likelihood), numbers("truth", truth)
    if model.ndim != 1 or model.shape != truth.shape:
        raise DataError(f"Expected log likelihoods and truth of one shape (N,); got {model.shape} and {truth.shape}.")
    error = np.broadcast_to(np.asarray(error, float), model.shape)
    known = ~np.isnan(error)
    if not np.isfinite(error[known]).all():
        raise DataError("Expected finite errors, or NaN where they are not known; got Inf.")
    over_data = Estimate.of(truth - model)
    trusted = trusted_k(float(np.mean(~known)))
    of_estimates = np.sqrt((error[known] ** 2).mean() / len(error)) if trusted else np.nan
    nats = Estimate(over_data.value, float(np.hypot(over_data.error, of_estimates)), len(model))
    size = float(abs(truth.mean()))
    return LikelihoodGap(nats, Estimate(nats.value / size, nats.error / size, nats.num))
