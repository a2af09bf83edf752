"""The randomised dependence coefficient (RDC) of two variables."""

import numpy as np

from mmppl.checks import checked

__all__ = ["randomised_dependence"]

FEATURES, SPREAD, RIDGE = 20, 1.0 / 6.0, 1e-6


@checked()
def randomised_dependence(a: np.ndarray, b: np.ndarray, *, seed: int = 0) -> np.ndarray:
    r"""The RDC of all columns of ``a`` with all of ``b``: near 0 when independent, near 1 for smooth relations.

    .. math:: \mathrm{rdc}(x, y) = \max_{\alpha, \beta}
        \mathrm{corr}\big(\alpha^T \sin(w\, (F_x(x), 1)), \beta^T \sin(v\, (F_y(y), 1))\big)

    with the empirical distribution functions F, and 20 random features of either, :math:`w, v \sim N(0, s^2 I)`,
    s = 1/6; a relation that winds much within the range of x is seen in part. Of independent variables it is about
    :math:`\sqrt{8 / N}`.

    References:
        | The Randomized Dependence Coefficient (Lopez-Paz, Hennig & Schölkopf, 2013), https://arxiv.org/abs/1304.7717

    Arguments:
        a: ``(N, D)``.
        b: ``(N, D')``.
        seed: Random seed, of the random features.

    Returns:
        Coefficients in [0, 1], ``(D, D')``; 0 for a column that does not vary.

    Example:
        >>> x = np.linspace(-1.0, 1.0, 200)[:, None]
        >>> bool(randomised_dependence(x, x**2)[0, 0] > 0.99)
        True
    """
    rng = np.random.default_rng(seed)
    first, second = (_whitened(x, rng.normal(0.0, SPREAD, (2, FEATURES))) for x in (a, b))
    cross = np.einsum("nik,njl->ijkl", first, second)
    return np.clip(np.linalg.norm(cross, ord=2, axis=(-2, -1)), 0.0, 1.0)


def _whitened(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Orthonormal features of each column, ``(N, D, 20)``; zeros for directions without variance."""
    from scipy.stats import rankdata  # takes long to import, which others need not wait for

    ranks = rankdata(x, method="max", axis=0) / len(x)
    features = np.sin(ranks[..., None] * weight[0] + weight[1])
    out = np.zeros_like(features)
    for i in range(x.shape[1]):
        own = features[:, i] - features[:, i].mean(0)
        left, size, _ = np.linalg.svd(own, full_matrices=False)
        out[:, i] = left * (size > RIDGE * np.sqrt(len(x)))
    return out
