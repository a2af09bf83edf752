"""Rivals of :mod:`benchmarks.own_data`: imputers of a table with gaps, and probabilistic PCA by EM."""

from collections.abc import Callable

import numpy as np

__all__ = ["IMPUTERS"]

Impute = Callable[[np.ndarray, np.ndarray, list[int]], np.ndarray]


def mean(train: np.ndarray, test: np.ndarray, cuts: list[int]) -> np.ndarray:
    """Means of columns, which are 0 here."""
    return np.nan_to_num(test)


def knn(train: np.ndarray, test: np.ndarray, cuts: list[int]) -> np.ndarray:
    """Twenty nearest neighbours, weighed by distance (of 5, 10 and 20 the best on views)."""
    from sklearn.impute import KNNImputer

    return KNNImputer(n_neighbors=20, weights="distance").fit(train).transform(test)


def iterative(train: np.ndarray, test: np.ndarray, cuts: list[int]) -> np.ndarray:
    """Chained Bayesian ridge regressions on the 50 most correlated columns, five rounds."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    return IterativeImputer(n_nearest_features=50, max_iter=5, random_state=0).fit(train).transform(test)


def ridge(train: np.ndarray, test: np.ndarray, cuts: list[int]) -> np.ndarray:
    """Ridge regression of each view on all others, gaps of which hold the mean; the penalty by leave-one-out."""
    from sklearn.linear_model import RidgeCV

    whole, out = np.nan_to_num(train), np.nan_to_num(test)
    seen = out.copy()
    for start, end in zip([0, *cuts], [*cuts, train.shape[1]], strict=True):
        own, others = slice(start, end), np.r_[0:start, end : train.shape[1]]
        rows = ~np.isnan(train[:, own]).all(1)
        model = RidgeCV(alphas=np.logspace(-1, 4, 11)).fit(whole[rows][:, others], whole[rows][:, own])
        gone = np.isnan(test[:, own])
        out[:, own] = np.where(gone, model.predict(seen[:, others]), test[:, own])
    return out


def ppca(train: np.ndarray, test: np.ndarray, cuts: list[int], rank: int = 32, rounds: int = 50) -> np.ndarray:
    r"""Probabilistic PCA, :math:`x = W z + \mu + \sigma \epsilon`, by EM over what is there."""
    rng = np.random.default_rng(0)
    there, x = ~np.isnan(train), np.nan_to_num(train)
    weight, variance = rng.normal(0, 0.1, (train.shape[1], rank)), 1.0
    for _ in range(rounds):
        # E: moments of z for each row. M: W column by column, then the variance.
        z, cov = _posterior(x, there, weight, variance)
        moment = cov + np.einsum("ni,nj->nij", z, z)
        gram = np.einsum("nd,nij->dij", there, moment) + 1e-6 * np.eye(rank)
        weight = np.linalg.solve(gram, ((x * there).T @ z)[..., None])[..., 0]
        spread = np.einsum("di,nij,dj->nd", weight, cov, weight, optimize=True)
        variance = float((((x - z @ weight.T) ** 2 + spread) * there).sum() / there.sum())
    z, _ = _posterior(np.nan_to_num(test), ~np.isnan(test), weight, variance)
    return np.where(np.isnan(test), z @ weight.T, test)


def _posterior(x: np.ndarray, there: np.ndarray, weight: np.ndarray, variance: float) -> tuple[np.ndarray, np.ndarray]:
    outer = np.einsum("di,dj->dij", weight, weight).reshape(len(weight), -1)
    precision = np.eye(weight.shape[1]) + (there @ outer).reshape(len(x), *[weight.shape[1]] * 2) / variance
    cov = np.linalg.inv(precision)
    return np.einsum("nij,nj->ni", cov, (x * there) @ weight / variance), cov


# Ridge predicts whole views.
IMPUTERS: dict[str, Impute] = {"mean": mean, "knn": knn, "iterative": iterative, "ridge": ridge, "ppca": ppca}
