"""The exact multi-time network of a Gaussian, for any subset of its blocks."""

import numpy as np

from mmppl._backend import get_backend
from mmppl.priors import Blocks
from mmppl.sde import VP


class GaussianScore:
    """The noise that best predicts, where blocks have the joint density N(0, cov), for blocks and times side by side.

    A block at time t is a z + sigma noise; a clean one has no noise; an absent one is nothing but noise. Then the score
    of what is seen is -K^-1 x, with K its covariance.
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
