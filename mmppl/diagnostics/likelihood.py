"""Log likelihood of held-out rows, each by the first method whose own diagnosis holds."""

import math
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.inference import Fitted, log_likelihood
from mmppl.inference.posterior.trust import LIMIT_K
from mmppl.likelihoods.discretized_logistic import LEVELS

__all__ = ["likelihood_of_rows", "log_levels"]

ROWS = 200
# Where chains run: as many rows as hold so many values, but not fewer than that.
CHAIN_VALUES, CHAIN_ROWS = 40_000, 20
BOUNDS = 64  # most random bounds of each row


def likelihood_of_rows(fitted: Fitted, rows: Batch, asked: int | None, particles: int, seed: int) -> dict[str, Any]:
    """Log likelihood of rows, ready for JSON, by ``method="auto"``; see :func:`~mmppl.inference.log_likelihood`.

    Of a diffusion in the space of the data it is the lower bound, by ``method="bound"``.

    Arguments:
        fitted: A fitted program.
        rows: Data, of which the first are taken.
        asked: Number of rows; None for 200, and for fewer where the guide's draws do not serve more rows than hold
            40,000 values, which take chains of thousands of gradients each.
        particles: Draws K of each row from the guide, and from a normal.
        seed: Random seed.

    Returns:
        ``value`` and ``error`` of the mean over ``num`` rows, in nats; ``density``, the value in densities of all that
        is continuous, see :func:`log_levels`; ``methods``, the number of rows by the method that served them;
        ``untrusted``, the number of rows whose PSIS k is above 0.7 with every method, and their share; ``trusted``.
    """
    rows = rows[: asked or ROWS]
    if fitted.program.bound is not None:
        return _bound_of_rows(fitted, rows, min(particles, BOUNDS), seed)
    found = log_likelihood(fitted, rows, num=particles, seed=seed)
    bad = int(np.sum(~(found.pareto_k <= LIMIT_K)))
    if bad:
        values = sum(math.prod(m.shape) for m in fitted.program.modalities.values())
        few = max(CHAIN_ROWS, CHAIN_VALUES // values)
        rows = rows[:few] if asked is None and bad > few else rows
        found = log_likelihood(fitted, rows, method="auto", num=particles, seed=seed)
    names, counts = np.unique(found.method.astype(str), return_counts=True)
    return {
        "value": float(found.mean),
        "error": float(found.mean_error) if np.isfinite(found.mean_error) else None,
        "density": float(found.mean + log_levels(fitted, rows).mean()),
        "num": len(found.value),
        "method": "auto",
        "methods": {str(name): int(count) for name, count in zip(names, counts, strict=True)},
        "particles": particles,
        "untrusted": int(np.sum(~(found.pareto_k <= LIMIT_K))),
        "share_k_above_0.7": found.share_above,
        "trusted": found.trusted,
    }


def _bound_of_rows(fitted: Fitted, rows: Batch, num: int, seed: int) -> dict[str, Any]:
    """The same of a lower bound, over the rows that have one: those with a primary modality."""
    found = log_likelihood(fitted, rows, method="bound", num=num, seed=seed)
    there = np.flatnonzero(np.isfinite(found.value))
    value, error = found.value[there], np.asarray(found.error)[there]
    mean = float(value.mean()) if there.size else None
    return {
        "value": mean,
        "error": float(np.sqrt((error**2).sum()) / there.size) if there.size else None,
        "density": None if mean is None else mean + float(log_levels(fitted, rows[there]).mean()),
        "num": len(there),
        "method": "bound",
        "methods": {"bound": len(there)},
        "particles": num,
        "untrusted": 0,
        "share_k_above_0.7": 0.0,
        "trusted": bool(there.size),
    }


def log_levels(fitted: Fitted, rows: Batch) -> np.ndarray:
    r"""Nats from masses of levels to a density on [0, 1], :math:`D_n \log 255`, ``(N,)``.

    A discretised likelihood is a mass: of a step between levels, which are 1 / 255 apart. Over the width of the step it
    is a density, and can be compared with a normal of the same picture. :math:`D_n` is the number of values that row n
    has and a discretised likelihood scores.
    """
    count = np.zeros(len(rows))
    for name, modality in fitted.program.modalities.items():
        if modality.scoring.levels:
            count += np.asarray(rows.there(name)).reshape(len(rows), -1).sum(axis=1)
    return count * math.log(LEVELS)
