"""Draws of conditionals against exact ones, of linear-Gaussian data: every subset that leaves something to be drawn."""

from itertools import combinations

import numpy as np

from mmppl.batch import Batch
from mmppl.data import LinearGaussian
from mmppl.inference import Fitted, generate

__all__ = ["LEVELS", "against_the_truth", "float32"]

LEVELS = (0.5, 0.8, 0.95)  # of central sets


def float32(batch: Batch) -> Batch:
    """Data as a file of them has them."""
    return Batch({n: x.astype(np.float32) for n, x in batch.values.items()}, batch.masks)


def against_the_truth(
    truth: LinearGaussian, fitted: Fitted, seed: int, *, sampler: str | None = None, rows: int = 100, num: int = 1000
) -> dict[str, dict[str, float]]:
    """Errors of draws by subset given: of means in deviations, of covariances relative, and of coverage.

    The error of means is root mean squared over rows and coordinates, less what so many draws have by chance; that of a
    covariance is the Frobenius norm of its difference from the exact one over that of the exact one: of the mean
    covariance over rows, and of single rows, less chance, in the mean. Coverage is the share of draws of the exact
    conditional that lie in central sets of the program's draws.

    Arguments:
        truth: What the data are of.
        fitted: A fitted program of the same modalities.
        seed: Random seed.
        sampler: As in :func:`~mmppl.inference.generate`.
        rows: Test rows N.
        num: Draws K of each.
    """
    test, found = float32(truth.sample(rows, 1000 + seed)), {}
    exact = np.random.default_rng(seed)
    for size in range(len(truth.dims)):
        for given in combinations(truth.dims, size):
            names = [n for n in truth.dims if n not in given]
            drawn = generate(fitted, test.only(*given), num, want=names, seed=seed, sampler=sampler)
            x = np.concatenate([drawn[n] for n in names], axis=-1).astype(float)
            mean, cov = truth.conditional_joint(test.only(*given), names)
            fair = mean + np.einsum("nij,knj->kni", np.linalg.cholesky(cov), exact.standard_normal(x.shape))
            found["+".join(given) or "nothing"] = _errors(x, fair, mean, cov)
    return found


def _errors(x: np.ndarray, fair: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> dict[str, float]:
    """Errors of draws ``(K, N, D)`` from normals, of which ``fair`` are draws."""
    deviation = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))

    def spread(draws: np.ndarray) -> np.ndarray:
        own = draws - draws.mean(0)
        return np.einsum("kni,knj->nij", own, own) / (len(draws) - 1)

    def squared(draws: np.ndarray) -> tuple[float, np.ndarray]:
        off = (((draws.mean(0) - mean) / deviation) ** 2).mean()
        return float(off), (((spread(draws) - cov) ** 2).sum((1, 2)) / (cov**2).sum((1, 2)))

    (off, each), (chance, each_chance) = squared(x), squared(fair)
    ends = {level: np.quantile(x, [0.5 - level / 2, 0.5 + level / 2], axis=0) for level in LEVELS}
    return {
        "mean": max(off - chance, 0.0) ** 0.5,
        "covariance": float(np.linalg.norm((spread(x) - cov).mean(0)) / np.linalg.norm(cov.mean(0))),
        "covariance, rows": float(np.sqrt(np.maximum(each - each_chance.mean(), 0.0)).mean()),
        **{
            f"inside {level:.0%}": float(((low <= fair) & (fair <= high)).mean()) for level, (low, high) in ends.items()
        },
    }
