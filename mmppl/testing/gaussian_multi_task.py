"""The exact multi-task network of a Gaussian."""

import numpy as np

from mmppl._backend import get_backend

__all__ = ["GaussianMultiTask"]


class GaussianMultiTask:
    """The network of the noise and the heads that predict best for N(0, cov), whatever joined and whatever is known.

    Arguments:
        space: The :class:`~mmppl.priors.SharedSpace`.
        cov: ``(D, D)``, in the order of its blocks.
    """

    def __init__(self, space, cov):
        self.space, self.cov = space, np.asarray(cov)

    def __call__(self, x):
        backend, space, sde = get_backend(x), self.space, self.space.sde
        xp, dim = backend.xp, space.blocks.dim
        seen, codes = x[..., :dim], x[..., dim:]
        primary = np.isin(np.arange(len(space.blocks)), space.places)
        t = xp.max(codes[..., list(space.places)], axis=-1)[..., None]
        wide = space.blocks.spread(codes)
        own = backend.asarray(space.blocks.spread(primary[None])[0])
        one, zero = xp.ones_like(seen), xp.zeros_like(seen)
        known = xp.where(wide == 0, one, zero)
        joined = xp.where(~own & (wide >= 0), one, zero)
        own = own & (wide > 0)
        eye, cov = backend.asarray(np.eye(dim), like=seen), backend.asarray(self.cov, like=seen)
        maps = xp.where(own[..., None, :], space.shift(eye), 0.0 * eye)
        factor = xp.where(own, sde.mean_factor(t) + zero, known)
        through = eye * factor[..., None] + space.weight(t)[..., None] * (maps * joined[..., None]).mT
        spread = xp.where(own, sde.scale(t) ** 2 + zero, xp.where(known > 0, 1e-9 * one, one))
        left, inverse = through @ cov @ through.mT + eye * spread[..., None], eye + 0.0 * through
        # Gauss-Jordan steps: batches of small inverses are slow in XLA.
        for i in range(dim):
            column = (left[..., :, i] - eye[i, :])[..., None] / left[..., i, i, None, None]
            left, inverse = left - column * left[..., None, i, :], inverse - column * inverse[..., None, i, :]
        weighed = (inverse @ seen[..., None])[..., 0]
        gain = cov @ through.mT
        mean = (gain @ weighed[..., None])[..., 0]
        left = xp.linalg.diagonal(cov - gain @ inverse @ gain.mT)
        log_scale = 0.5 * xp.log(xp.where(left > 1e-6, left, 1e-6 * one))
        return xp.concat([xp.where(own, sde.scale(t) * weighed, mean), log_scale], axis=-1)
