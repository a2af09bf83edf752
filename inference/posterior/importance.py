"""Importance weights of the guide's draws, and draws resampled by them."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mmppl.batch import Batch
from mmppl.inference.posterior.psis import pareto_k, smooth
from mmppl.inference.training.fitted import Fitted
from mmppl.numerics import systematic

__all__ = ["Weighted", "resample", "weighted"]


class Weighted(NamedTuple):
    r"""Draws of the guide and their weights.

    Arguments:
        draws: By site, ``(K, N, *event)``.
        log_weight: :math:`\log p(x_n, z_{kn}) - \log q(z_{kn} \mid x_n)`, ``(K, N)``; with sites outside the plate of
            the data that tie all data together, the log weight of all of them, ``(K, 1)``.
        pareto_k: PSIS k of each datum, ``(N,)``.
        rows: For each site in the plate of the data the axis of N, counted after that of the draws.
    """

    draws: dict[str, np.ndarray]
    log_weight: np.ndarray
    pareto_k: np.ndarray
    rows: Mapping[str, int]


def weighted(fitted: Fitted, data: Batch, num: int, seed: int) -> Weighted:
    """``num`` draws of the guide for each datum, with their weights.

    Raises:
        OptionError: If the program's encoders are deterministic, so that its guide has no density.
    """
    fitted.program.need_density(", or take a kernel")
    host = fitted.program.ppl.host
    hidden = host.latents(fitted.model, fitted.guide, data, num, seed, np.zeros(len(data), bool))
    log_lik, log_prior = host.scores(fitted.model, hidden, data)
    log_q = host.guide_log_prob(fitted.guide, hidden, data)
    log_weight = (sum(log_lik.values()) + log_prior - log_q).astype(float)
    beside = host.outside(fitted.model, fitted.guide, hidden, data)
    # Sites that are alike for every draw, as a factor of its own is, tie no data together.
    if beside is not None and (fitted.outside or np.ptp(beside) > 0):
        log_weight = (log_weight.sum(1) + beside)[:, None]
    k = np.broadcast_to(pareto_k(log_weight), len(data)).copy()
    return Weighted({name: np.asarray(z) for name, z in hidden.items()}, log_weight, k, fitted.places.rows)


def resample(found: Weighted, num: int, smoothed: bool, seed: int) -> dict[str, np.ndarray]:
    r"""``num`` draws for each datum, by systematic resampling with the self-normalised weights, in random order.

    Arguments:
        found: Draws and weights.
        num: Number of draws.
        smoothed: Whether the largest weights are smoothed by a Pareto tail first.
        seed: Random seed, of the resampling.
    """
    rng = np.random.default_rng(seed)
    log_weight = smooth(found.log_weight) if smoothed else found.log_weight
    points = (np.arange(num)[:, None] + rng.random(log_weight.shape[1])) / num
    index = rng.permuted(systematic(log_weight, points), axis=0)
    rows = np.arange(log_weight.shape[1])
    out = {}
    for name, z in found.draws.items():
        if log_weight.shape[1] == 1:  # all data are weighted together
            out[name] = z[index[:, 0]]
        elif name in found.rows:
            axis = 1 + found.rows[name]
            out[name] = np.moveaxis(np.moveaxis(z, axis, 1)[index, rows], 1, axis)
    return out
