r"""A normal fitted to chains and their scores, and the coordinates in which it is standard.

Let S be the covariance of draws z and G that of their scores g. The normal whose score is closest to that of the
target, in the mean square over the target and in the geometry of its own covariance C, has

.. math::
    C G C = S, \qquad C = G^{-1/2} \big(G^{1/2} S G^{1/2}\big)^{1/2} G^{-1/2}, \qquad m = \bar z + C \bar g .

Of a normal target these are its own covariance and mean whatever the draws are, as soon as there are more of them than
dimensions, since its scores say where it lies. In coordinates y of the last fit, :math:`z = m + L y`, both covariances
are shrunk towards the identity by five draws, as in Stan.

Scores know of no other mode. Where chains stand in several, C is narrower than the draws, by a factor that shows as an
eigenvalue of their covariance in its coordinates; where that is beyond what chance does to K chains,

.. math:: \lambda > 1.5\,\big(1 + \sqrt{D / K}\big)^2,

each chain has a normal of its own, of a covariance that they share.

References:
    | Preconditioning Hamiltonian Monte Carlo by Minimizing Fisher Divergence (Seyboldt, Carlson & Carpenter, 2026)
    | Distribution of eigenvalues for some sets of random matrices (Marchenko & Pastur, 1967): the edge
"""

from typing import NamedTuple

import numpy as np

__all__ = ["Normal", "first_fit", "Modes", "modes", "next_fit", "widened"]

PRIOR = 5.0
BEYOND = 1.5


class Normal(NamedTuple):
    """A normal of each datum's latents on the real line.

    Arguments:
        mean: m, ``(N, D)``.
        scale: L, the lower Cholesky factor of its covariance, ``(N, D, D)``.
    """

    mean: np.ndarray
    scale: np.ndarray

    def into(self, z: np.ndarray) -> np.ndarray:
        """Coordinates y of latents ``(*, N, D)``."""
        return np.linalg.solve(self.scale, (z - self.mean)[..., None])[..., 0]

    def out(self, y: np.ndarray) -> np.ndarray:
        """Latents of coordinates y ``(*, N, D)``."""
        return self.mean + (self.scale @ y[..., None])[..., 0]


def first_fit(position: np.ndarray) -> Normal:
    """The means and deviations of draws ``(K, N, D)``, each coordinate by itself."""
    deviation = position.std(axis=0) + 1e-6
    return Normal(position.mean(axis=0), deviation[..., None] * np.eye(position.shape[-1]))


def next_fit(last: Normal, y: np.ndarray, score: np.ndarray) -> Normal:
    """The normal of draws and scores in the coordinates of the last one.

    Arguments:
        last: The last fit.
        y: Draws, ``(K, N, D)``.
        score: Gradients of the log density by y, ``(K, N, D)``.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y, last = rng.standard_normal((9, 1, 2)), Normal(np.zeros((1, 2)), np.eye(2)[None])
        >>> fitted = next_fit(last, y, -(y - 3.0))  # the scores of N(3, I)
        >>> fitted.mean.round(6).tolist(), (fitted.scale @ fitted.scale.mT).round(6).tolist()
        ([[3.0, 3.0]], [[[1.0, 0.0], [0.0, 1.0]]])
    """
    mean, cov = _covariance(y, score)
    return Normal(last.out(mean), np.linalg.cholesky(last.scale @ cov @ last.scale.swapaxes(-1, -2)))


def widened(normal: Normal, z: np.ndarray, chains: int) -> Normal:
    """The normal made as wide as draws are in directions where it cannot be that of all of them.

    Arguments:
        normal: A fit.
        z: Draws, ``(*, N, D)``.
        chains: Number K of the chains that they are from.

    Example:
        >>> z = np.repeat([-3.0, 3.0], 50)[:, None, None]
        >>> wide = widened(Normal(np.ones((1, 1)), 0.5 * np.ones((1, 1, 1))), z, 100)
        >>> wide.mean.tolist(), wide.scale.tolist()
        ([[0.0]], [[[3.0]]])
    """
    far, value, vector = _far(normal, z, chains)
    mean = normal.into(z).mean(axis=0)
    factor = np.where(far, np.sqrt(np.where(far, value, 1.0)), 1.0)
    moved = (vector @ (far * (vector.swapaxes(-1, -2) @ mean[..., None])[..., 0])[..., None])[..., 0]
    turned = normal.scale @ (vector * factor[..., None, :])
    scale = np.where(
        np.asarray(far.any(-1))[:, None, None], np.linalg.cholesky(turned @ turned.swapaxes(-1, -2)), normal.scale
    )
    return Normal(normal.mean + (normal.scale @ moved[..., None])[..., 0], scale)


class Modes(NamedTuple):
    """Normals of one covariance, centred where each chain stands; one and the same where chains stand together.

    Arguments:
        normal: Their mean and covariance; in its coordinates each of them has the identity.
        centers: Their means in its coordinates, ``(C, N, D)``.
        narrower: Largest factor by which lengths in the coordinates of the last fit are longer in its own, ``(N,)``.
    """

    normal: Normal
    centers: np.ndarray
    narrower: np.ndarray


def modes(last: Normal, y: np.ndarray, score: np.ndarray) -> Modes:
    r"""Normals of the modes that chains stand in, from draws and scores in the coordinates of the last fit.

    Where chains stand in several, the moments of each chain about its own mean give C, and a chain's mean draw and
    score the centre of its mode, :math:`\bar z_c + C \bar g_c`.

    Arguments:
        last: The last fit.
        y: Draws of C chains, ``(T, C, N, D)``.
        score: Gradients of the log density by y, ``(T, C, N, D)``.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> place = np.array([-9.0, 9.0])[:, None, None]
        >>> y, last = place + 0.5 * rng.standard_normal((99, 2, 1, 1)), Normal(np.zeros((1, 1)), np.eye(1)[None])
        >>> found = modes(last, y, -(y - place) / 0.5**2)
        >>> (found.normal.scale * found.centers + found.normal.mean).round(1).ravel().tolist()
        [-9.0, 9.0]
    """
    shape = y.shape[2:]
    together = next_fit(last, y.reshape(-1, *shape), score.reshape(-1, *shape))
    far = np.asarray(_far(together, last.out(y.reshape(-1, *shape)), y.shape[1])[0].any(-1))
    own, slope = y.mean(axis=0), score.mean(axis=0)
    cov = _covariance((y - own).reshape(-1, *shape), (score - slope).reshape(-1, *shape))[1]
    centers = last.out(own + (cov @ slope[..., None])[..., 0])
    scale = np.where(
        far[:, None, None], np.linalg.cholesky(last.scale @ cov @ last.scale.swapaxes(-1, -2)), together.scale
    )
    normal = Normal(np.where(far[:, None], centers.mean(axis=0), together.mean), scale)
    # The last step size suits the narrowest direction, which is where coordinates have become longest.
    longest = np.linalg.norm(np.linalg.solve(scale, last.scale), ord=2, axis=(-2, -1))
    narrower = np.where(far, longest, 1.0)
    return Modes(normal, np.where(far[:, None], normal.into(centers), 0.0), narrower)


def _far(normal: Normal, z: np.ndarray, chains: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions in which draws ``(K, N, D)`` are wider than a fit, ``(N, D)``, their variances and eigenvectors."""
    y = normal.into(z)
    rest = np.moveaxis(y - y.mean(axis=0), 0, 1)
    value, vector = np.linalg.eigh(rest.swapaxes(-1, -2) @ rest / len(y))
    return value > BEYOND * (1.0 + np.sqrt(y.shape[-1] / chains)) ** 2, value, vector


def _covariance(y: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``(N, D)`` and covariance ``(N, D, D)`` of the normal of draws and scores, ``(K, N, D)``."""
    draws, scores = (_moments(x) for x in (y, score))
    half, unhalf = _roots(scores[1])
    cov = unhalf @ _roots(half @ draws[1] @ half)[0] @ unhalf
    return draws[0] + (cov @ scores[0][..., None])[..., 0], cov


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``(N, D)``, and covariance shrunk towards the identity, ``(N, D, D)``."""
    mean, num, dim = x.mean(axis=0), len(x), x.shape[-1]
    rest = np.moveaxis(x - mean, 0, 1)
    return mean, (rest.swapaxes(-1, -2) @ rest + PRIOR * np.eye(dim)) / (num + PRIOR)


def _roots(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The symmetric root of matrices, and its inverse."""
    value, vector = np.linalg.eigh(matrix)
    root = np.sqrt(np.clip(value, 1e-12 * value[..., -1:], None))[..., None, :]
    return (vector * root) @ vector.swapaxes(-1, -2), (vector / root) @ vector.swapaxes(-1, -2)
