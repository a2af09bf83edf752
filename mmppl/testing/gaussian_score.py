"""The exact multi-time network of a Gaussian, for any subset of its blocks."""

import numpy as np

from mmppl._backend import get_backend
from mmppl.priors import Blocks
from mmppl.sde import VP


class GaussianScore:
    r"""The optimal multi-time network where blocks have the joint density N(0, C): ``(*, D + M)`` to ``(*, D)``.

    .. math:: \hat\epsilon(x, \tau) = \sigma_\tau K^{-1} x, \qquad K = a_\tau C a_\tau + \sigma_\tau^2 I

    with :math:`a_\tau` and :math:`\sigma_\tau` those of each block's time: 1 and 0 of a clean block, 0 and 1 of an
    absent one.

    Arguments:
        sizes: Dimensions of the M blocks by name.
        cov: C, ``(D, D)``.
        sde: The diffusion; :class:`~mmppl.sde.VP` by default.

    Example:
        >>> net = GaussianScore({"a": 1, "b": 1}, np.eye(2))
        >>> net(np.array([[1.0, 2.0, 0.5, -1.0]])).shape
        (1, 2)
    """

    def __init__(self, sizes, cov, sde=None):
        self.blocks, self.cov, self.sde = Blocks.of(sizes), np.asarray(cov), VP() if sde is None else sde

    def __call__(self, x):
        backend = get_backend(x)
        xp, dim = backend.xp, self.blocks.dim
        z, codes = x[..., :dim], x[..., dim:]
        one, zero = xp.ones_like(codes), xp.zeros_like(codes)
        t = xp.where(codes > 0, codes, one)
        factor = xp.where(codes > 0, self.sde.mean_factor(t), xp.where(codes < 0, zero, one))
        scale = xp.where(codes > 0, self.sde.scale(t), xp.where(codes < 0, one, 1e-6 + zero))
        factor, scale = self.blocks.spread(factor), self.blocks.spread(scale)
        cov, eye = backend.asarray(self.cov, like=z), backend.asarray(np.eye(dim), like=z)
        seen = factor[..., :, None] * cov * factor[..., None, :] + eye * scale[..., None] ** 2
        # Gauss-Jordan steps, safe without pivots on a covariance: small, and faster in a loop than a call of LAPACK.
        for i in range(dim):
            row, value = seen[..., i, :] / seen[..., i, i][..., None], (z[..., i] / seen[..., i, i])[..., None]
            column = seen[..., :, i] - eye[i, :]
            seen, z = seen - column[..., :, None] * row[..., None, :], z - column * value
        return scale * z

    def given(self, values, known, wanted):
        """Mean and covariance of the coordinates ``wanted`` given those ``known``, both boolean ``(D,)``."""
        if not known.any():
            return np.zeros(wanted.sum()), self.cov[np.ix_(wanted, wanted)]
        gain = np.linalg.solve(self.cov[np.ix_(known, known)], self.cov[np.ix_(known, wanted)]).T
        return gain @ values[known], self.cov[np.ix_(wanted, wanted)] - gain @ self.cov[np.ix_(known, wanted)]
