"""The energy of a tilted prior, on draws of the posterior and of the prior."""

from typing import NamedTuple

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch
from mmppl.checks import ANYTHING, at_least, checked
from mmppl.inference import Fitted, log_normalizer
from mmppl.inference.posterior.convergence import r_hat
from mmppl.inference.posterior.trust import LIMIT_R_HAT
from mmppl.inference.training.example import example

__all__ = ["EnergyHealth", "energies", "energy_health"]

ROWS = 8


def energies(fitted: Fitted, data: Batch, *, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The energy f of each site with an energy-tilted prior, ``(N,)`` on each side.

    Arguments:
        fitted: A fitted program.
        data: Data whose posterior is drawn from, by the guide, once for each row in which something is present; as
            many draws of the prior are taken.
        seed: Random seed.

    Returns:
        By site: f on draws of the guide, and f on draws of the prior. Sites whose prior has no energy, or f = 0
        everywhere, are left out.
    """
    host = fitted.program.ppl.host
    data = fitted.program.observed(data)
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


class EnergyHealth(NamedTuple):
    r"""Health of an energy-tilted prior: what it has learned, and whether its chains can be trusted.

    Arguments:
        gap: :math:`E_q f - E_p f`, posterior draws less prior draws; 0 where the prior has learned the posterior.
        gap_error: Its standard error; NaN where chains on the prior do not mix, :math:`\hat R` being above 1.1.
        spread: Standard deviation of f over prior draws, the measure of the gap.
        r_hat: The largest :math:`\hat R` of chains on the prior.
        log_z: log Z by annealed importance sampling.
        log_z_error: Its standard error; NaN where fewer than 25 weights are effective.
        log_z_ess: Effective number of its weights.
    """

    gap: float
    gap_error: float
    spread: float
    r_hat: float
    log_z: float
    log_z_error: float
    log_z_ess: float


@checked(data=ANYTHING, num_chains=at_least(2), num_samples=at_least(2), num_warmup=at_least(0))
def energy_health(
    fitted: Fitted, data: Batch, *, num_chains: int = 4, num_samples: int = 200, num_warmup: int = 200, seed: int = 0
) -> dict[str, EnergyHealth]:
    """The health of each energy-tilted prior, by site; empty where no prior has an energy.

    Arguments:
        fitted: A fitted program.
        data: Data whose posterior is drawn from.
        num_chains: Chains on the prior, by MALA.
        num_samples: Draws of each.
        num_warmup: Warm-up steps of each.
        seed: Random seed.
    """
    found = energies(fitted, data, seed=seed)
    if not found:
        return {}
    ppl = fitted.program.ppl
    empty = example(fitted.program.modalities, ROWS, fitted.program.covariates).only()
    start = ppl.host.latents(fitted.model, fitted.guide, empty, num_chains, seed, np.ones(ROWS, bool))
    draws, _ = ppl.host.chains(
        fitted,
        empty,
        ppl.MALA,
        {n: np.asarray(z) for n, z in start.items()},
        num_samples=num_samples,
        num_warmup=num_warmup,
        seed=seed,
    )
    z = log_normalizer(fitted, seed=seed)
    out = {}
    for site, (posterior, prior) in found.items():
        error = np.hypot(posterior.std() / np.sqrt(posterior.size), prior.std() / np.sqrt(prior.size))
        mixing = float(np.nanmax(r_hat(draws[site])))
        error = error if mixing <= LIMIT_R_HAT else np.nan
        gap = float(posterior.mean() - prior.mean())
        out[site] = EnergyHealth(gap, float(error), float(prior.std()), mixing, z.value, z.error, z.ess)
    return out
