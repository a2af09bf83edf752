"""The log density of a program, datum by datum."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from numpyro import handlers
from numpyro.distributions import biject_to

from mmppl.errors import OptionError
from mmppl.numpyro.compiling import random_key
from mmppl.numpyro.seeded import seeded
from mmppl.numpyro.tracing import site_log_density, sites_of
from mmppl.sites import PLATE, in_plate, plate_scale

__all__ = ["data_plate", "latent_sites", "log_density_per_datum", "run", "site_log_density"]

DATA_DIM = -1


def log_density_per_datum(model: Callable, args: tuple, kwargs: dict, latents: Mapping[str, jax.Array]) -> jax.Array:
    r"""The joint log density :math:`\log p(x_n, z_n)` of each datum of the plate, given its latents.

    Masks and ``handlers.scale`` count. The scale that the plate puts on its rows for standing for a larger data set
    does not: it is a matter of bounds over the data set, not of a datum.

    Arguments:
        model: A NumPyro program whose sample sites all lie in one plate at dimension -1, of N rows.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        latents: The value z of every latent site, constrained, ``(N, *event)``; leading axes are kept.

    Returns:
        Log densities in nats, ``(*, N)``.

    Raises:
        OptionError: If a latent is not given, or a site is outside the plate.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> def model(x):
        ...     with numpyro.plate("rows", 2):
        ...         z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...         numpyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> log_density_per_datum(model, (jnp.zeros(2),), {}, {"z": jnp.zeros(2)})
        Array([-1.837877, -1.837877], dtype=float32)
    """
    sites = run(model, args, kwargs, latents)
    missing = [name for name in latent_sites(sites) if name not in latents]
    if missing:
        raise OptionError(f"Expected a value for every latent; got none for {missing}. Pass them in latents.")
    plate = data_plate(sites)
    if plate is None:
        raise OptionError("Expected every sample site in one plate at dimension -1; got sites outside it.")
    return sum_per_datum(sites, plate)


def run(
    model: Callable,
    args: tuple,
    kwargs: dict,
    values: Mapping[str, jax.Array] | Callable,
    key: jax.Array | None = None,
) -> dict:
    """The sites of one run of the program under given values of latents (by site, or a function of a site)."""
    given = {"substitute_fn": values} if callable(values) else {"data": values}
    # The log density is deterministic, but for rows that a plate draws; else the seed serves what does not enter it.
    program = seeded(handlers.substitute(model, **given), random_key(0) if key is None else key)
    return handlers.trace(program).get_trace(*args, **kwargs)


def latent_sites(sites: dict) -> list[str]:
    """Names of the latents."""
    return [name for name, site in sites.items() if site["type"] == "sample" and not site["is_observed"]]


def data_plate(sites: dict) -> str | None:
    """Name of the plate of the data, if it holds every sample site, latent and observed; else None.

    It is the one that ``mm.plate`` makes, or else a plate at dimension -1.
    """
    frames = [site.frames for site in sites_of(sites).values()]
    common = set.intersection(*map(set, frames)) if frames else set()
    marked = [frame.name for frame in common if frame.name == PLATE]
    return next(iter(marked or [frame.name for frame in common if frame.dim == DATA_DIM]), None)


def sum_per_datum(sites: dict, plate: str | None) -> jax.Array:
    """Log densities summed over sites and over plates within and around the data's: ``(*, N)``."""
    found = sites_of(sites).values()
    nested = max(-frame.dim for site in found for frame in site.frames if frame.dim is not None)
    total: Any = 0.0
    for site in found:
        frame: Any = in_plate(site, plate)
        log_prob = site.log_density(plate_scale(frame))
        axis = log_prob.ndim + frame.dim
        others = tuple(i for i in range(max(0, log_prob.ndim - nested), log_prob.ndim) if i != axis)
        total = total + jnp.sum(log_prob, axis=others)
    return total


def log_jacobian(site: dict, unconstrained: jax.Array) -> jax.Array:
    """The log Jacobian of the map from the real line to the support of a latent, over its batch shape."""
    value, batch = site["value"], site["fn"].batch_shape
    log_det = biject_to(site["fn"].support).log_abs_det_jacobian(unconstrained, value)
    return jnp.sum(jnp.reshape(log_det, (*batch, -1)), axis=-1)
