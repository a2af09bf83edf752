r"""The directions in which the latents of each modality carry more than their reference.

With :math:`s^* = \nabla \log \pi / \rho` the score ratio and :math:`H_m = \mathbb{E}[s^*_m s^{*T}_m]` the diagnostic
matrix of a modality, a density that is exact on the leading eigenvectors of every :math:`H_m` and the reference on the
rest loses at most

.. math:: D_{KL}(\pi \,\|\, \pi_r) \le \tfrac12 \sum_m \sum_{i > r_m} \lambda_i(H_m)

by the logarithmic Sobolev inequality. That is a bound under three conditions: the ratio is the exact one; the reference
:math:`\rho` has a log-Sobolev constant of 1, as the standard normal does; and :math:`\pi` has a density without jumps.
A ratio that was learned misses what its learner cannot see: with it the same sum is an estimate of the bound, and from
samples alone nothing bounds the loss. Where all directions are kept there is no loss, whatever the ratio.

References:
    | Dimension reduction via score ratio matching (Baptista, Brennan & Marzouk, 2024)
    | https://arxiv.org/abs/2410.19990
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import block_diag

from mmppl._backend import Backend
from mmppl.errors import DataError, OptionError
from mmppl.priors.blocks import Blocks

Array = Any

__all__ = ["Subspaces", "bootstrap", "spectra", "whitening"]


@dataclass(frozen=True, eq=False)
class Subspaces:
    r"""Whitened latents of each modality, turned so that the leading coordinates are those kept.

    .. math:: y = U^T L^T (z - \mu)

    Experimental.

    Arguments:
        blocks: The blocks of the latent.
        ranks: Number of coordinates kept of each.
        loc: :math:`\mu`, ``(D,)``.
        matrix: :math:`U^T L^T`, block-diagonal, ``(D, D)``.
        eigenvalues: Those of every block, in falling order, ``(D,)``.
        learned: Whether they are of a learned ratio, or of a reference whose log-Sobolev constant is not known to be 1,
            so that they bound nothing.
    """

    blocks: Blocks
    ranks: tuple[int, ...]
    loc: np.ndarray
    matrix: np.ndarray
    eigenvalues: np.ndarray
    learned: bool

    @property
    def kept(self) -> np.ndarray:
        """Mask of the coordinates of y that are kept, boolean ``(D,)``."""
        out = [np.arange(size) < rank for size, rank in zip(self.blocks.sizes, self.ranks, strict=True)]
        return np.concatenate(out)

    @property
    def reduced(self) -> Blocks:
        """The blocks of what is kept; those of rank 0 are left out."""
        return Blocks.of({n: r for n, r in zip(self.blocks.names, self.ranks, strict=True) if r})

    @property
    def estimate(self) -> float:
        """Half the sum of the eigenvalues left out, in nats: an estimate of a bound on what is lost."""
        return 0.5 * float(self.eigenvalues[~self.kept].sum())

    @property
    def certificate(self) -> float | None:
        """The bound on what is lost, in nats; None where the ratio was learned and something is left out."""
        return None if self.learned and not self.kept.all() else self.estimate

    def reduce(self, backend: Backend, z: Array) -> tuple[Array, Array]:
        """Latents ``(*, D)`` to what is kept, ``(*, sum ranks)``, and the rest, in whitened coordinates."""
        y = (z - backend.asarray(self.loc, like=z)) @ backend.asarray(self.matrix.T, like=z)
        return self._pick(backend, y, self.kept), self._pick(backend, y, ~self.kept)

    def lift(self, backend: Backend, reduced: Array, rest: Array) -> Array:
        """The way back: latents ``(*, D)``."""
        place = np.concatenate([np.eye(self.blocks.dim)[self.kept], np.eye(self.blocks.dim)[~self.kept]])
        back = place @ np.linalg.inv(self.matrix).T
        y = backend.xp.concat([reduced, rest], axis=-1)
        return y @ backend.asarray(back, like=y) + backend.asarray(self.loc, like=y)

    @property
    def log_det(self) -> float:
        """Log of the volume that whitening and turning multiply by."""
        return float(np.linalg.slogdet(self.matrix)[1])

    def _pick(self, backend: Backend, y: Array, which: np.ndarray) -> Array:
        return y @ backend.asarray(np.eye(self.blocks.dim)[:, which], like=y)

    @classmethod
    def fit(
        cls,
        blocks: Blocks,
        z: np.ndarray,
        ratio: np.ndarray,
        *,
        eps: float,
        loc: np.ndarray,
        white: np.ndarray,
        learned: bool,
    ) -> "Subspaces":
        """The smallest subspaces whose estimate is below a tolerance; ranks are allotted over all modalities.

        Arguments:
            blocks: The blocks of the latent.
            z: Held-out latents, ``(N, D)``; only their number is used, and that they are finite.
            ratio: The score ratio at these, in whitened coordinates, ``(N, D)``.
            eps: Tolerance, in nats.
            loc: Mean of the latents, ``(D,)``.
            white: Whitening, block-diagonal :math:`L^T`, ``(D, D)``.
            learned: Whether the ratio is other than the exact one against a standard normal; it has no default, as only
                the caller knows, and a certificate is a bound of an exact ratio alone.

        Raises:
            OptionError: If the tolerance is not positive.
            DataError: If something is not finite.
        """
        if eps <= 0.0:
            raise OptionError(f"Expected eps > 0, in nats; got {eps}.")
        if not (np.isfinite(z).all() and np.isfinite(ratio).all()):
            raise DataError("Expected finite latents and score ratios; got others. Look at the encoders.")
        values, vectors = spectra(blocks, ratio)
        flat = np.concatenate(values)
        order = np.argsort(-flat, kind="stable")
        lost = 0.5 * (flat.sum() - np.cumsum(flat[order]))
        number = 0 if 0.5 * flat.sum() < eps else int(np.argmax(lost < eps)) + 1
        keep = np.isin(np.arange(len(flat)), order[: max(number, 1)])
        ends = np.cumsum(blocks.sizes)
        spans = [slice(end - size, end) for end, size in zip(ends, blocks.sizes, strict=True)]
        basis = block_diag(*(own.T for own in vectors))
        return cls(blocks, tuple(int(keep[span].sum()) for span in spans), loc, basis @ white, flat, learned)


def whitening(blocks: Blocks, z: np.ndarray, floor: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    r"""Mean and whitening of each modality alone, :math:`L^T` with :math:`L L^T = \Sigma_m^{-1}`.

    Whitening all modalities together would mix them and take away the very dependence between them. Directions with
    less than ``floor`` of the mean variance are floored: they carry nothing, and would be blown up.

    Arguments:
        blocks: The blocks of the latent.
        z: Latents, ``(N, D)``.
        floor: The smallest variance of a direction, as a share of the modality's mean variance.

    Returns:
        ``(D,)`` and block-diagonal ``(D, D)``.
    """
    parts = []
    for own in blocks.split(z).values():
        values, vectors = np.linalg.eigh(np.cov(own.T).reshape(own.shape[1], own.shape[1]))
        values = np.maximum(values, floor * values.mean())
        parts.append(np.linalg.cholesky((vectors / values) @ vectors.T).T)
    return z.mean(axis=0), block_diag(*parts)


def spectra(blocks: Blocks, ratio: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Eigenvalues, falling, and eigenvectors of the diagnostic matrix of every block.

    Arguments:
        blocks: The blocks of the latent.
        ratio: The score ratio at samples, ``(N, D)``.
    """
    out = []
    for s in blocks.split(ratio).values():
        values, vectors = np.linalg.eigh(s.T @ s / len(s))
        out.append((values[::-1], vectors[:, ::-1]))
    return [values for values, _ in out], [vectors for _, vectors in out]


def bootstrap(blocks: Blocks, ratio: np.ndarray, *, number: int = 200, level: float = 0.9, seed: int = 0) -> np.ndarray:
    """Intervals of the eigenvalues of every block under resampling of the rows, ``(2, D)``.

    Arguments:
        blocks: The blocks of the latent.
        ratio: The score ratio at samples, ``(N, D)``.
        number: Resamples.
        level: Coverage of the intervals.
        seed: Random seed, of the resampling.
    """
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, len(ratio), len(ratio)) for _ in range(number)]
    values = np.stack([np.concatenate(spectra(blocks, ratio[r])[0]) for r in rows])
    return np.quantile(values, [0.5 - level / 2, 0.5 + level / 2], axis=0)
