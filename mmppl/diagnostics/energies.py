"""The energy of a tilted prior, on draws of the posterior and of the prior."""

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch
from mmppl.inference import Fitted

__all__ = ["energies"]


def energies(fitted: Fitted, data: Batch, *, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The energy f of each site with an energy-tilted prior, ``(N,)`` on each side.

    Arguments:
        fitted: A fitted program.
        data: Data whose posterior is drawn from, by the guide, once for each row in which something is present; as
            many draws of the prior are taken.
        seed: Of everything random.

    Returns:
        By site: f on draws of the guide, and f on draws of the prior. Sites whose prior has no energy, or f = 0
        everywhere, are left out.
    """
    host = fitted.program.ppl.host
    data = data[np.flatnonzero(np.asarray(data.observed()))]
    none, every = np.zeros(len(data), bool), np.ones(len(data), bool)
    posterior = host.latents(fitted.model, fitted.guide, data, 1, seed, none)
    prior = host.latents(fitted.model, fitted.guide, data, 1, seed + 1, every)
    out = {}
    for site, distribution in host.find_prior(fitted.model, data[:2]).items():
        if not hasattr(distribution, "energy"):
            continue
        sides = []
        for draws in (posterior[site], prior[site]):
            value = distribution.energy(draws[0])
            sides.append(get_backend(value).to_numpy(value))
        if any(side.any() for side in sides):
            out[site] = (sides[0], sides[1])
    return out
