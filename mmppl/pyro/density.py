"""The log density of a program, datum by datum."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.transforms import Transform
from pyro.poutine.messenger import Messenger

from mmppl.errors import OptionError
from mmppl.nets.bound import registered_in
from mmppl.pyro.tracing import frames_of, given, sample_sites, site_log_density
from mmppl.sites import PLATE, plate_scale

__all__ = ["data_plate", "frozen", "latent_sites", "log_density_per_datum", "run", "site_log_density"]

DATA_DIM = -1


def log_density_per_datum(model: Callable, args: tuple, kwargs: dict, latents: Mapping[str, torch.Tensor]) -> Any:
    r"""The joint log density :math:`\log p(x_n, z_n)` of each datum of the plate, given its latents.

    Masks and ``poutine.scale`` count. The scale that the plate puts on its rows for standing for a larger data set
    does not: it is a matter of bounds over the data set, not of a datum.

    Arguments:
        model: A Pyro program whose sample sites all lie in one plate at dimension -1, of N rows.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        latents: The value z of every latent site, constrained, ``(N, *event)``; leading axes are kept.

    Returns:
        Log densities in nats, ``(*, N)``.

    Raises:
        OptionError: If a latent is not given, or a site is outside the plate.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("rows", 2):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> log_density_per_datum(model, (torch.zeros(2),), {}, {"z": torch.zeros(2)})
        tensor([-1.8379, -1.8379])
    """
    sites = run(model, args, kwargs, latents)
    missing = [name for name in latent_sites(sites) if name not in latents]
    if missing:
        raise OptionError(f"Expected a value for every latent; got none for {missing}. Pass them in latents.")
    plate = data_plate(sites)
    if plate is None:
        raise OptionError("Expected every sample site in one plate at dimension -1; got sites outside it.")
    return sum_per_datum(sites, plate)


def run(model: Callable, args: tuple, kwargs: dict, values: Mapping[str, torch.Tensor]) -> dict:
    """The sites of one run of the program under given values of latents."""
    return sample_sites(poutine.trace(given(model, values)).get_trace(*args, **kwargs))


def latent_sites(sites: dict) -> list[str]:
    """Names of the latents."""
    return [name for name, site in sites.items() if not site["is_observed"]]


def data_plate(sites: dict) -> str | None:
    """Name of the plate of the data, if it holds every sample site, latent and observed; else None.

    It is the one that ``mm.plate`` makes, or else a plate at dimension -1.
    """
    frames = [frames_of(site) for site in sites.values()]
    common = set.intersection(*map(set, frames)) if frames else set()
    marked = [frame.name for frame in common if frame.name == PLATE]
    return next(iter(marked or [frame.name for frame in common if frame.dim == DATA_DIM]), None)


def sum_per_datum(sites: dict, plate: str | None) -> torch.Tensor:
    """Log densities summed over sites and over plates within and around the data's: ``(*, N)``."""
    frames = {name: frames_of(site) for name, site in sites.items()}
    nested = max(-frame.dim for own in frames.values() for frame in own if frame.dim is not None)
    total: Any = 0.0
    for name, site in sites.items():
        frame = next(frame for frame in frames[name] if frame.name == plate)
        log_prob = site_log_density(site, plate_scale(frame))
        axis = log_prob.ndim + frame.dim
        others = tuple(i for i in range(max(0, log_prob.ndim - nested), log_prob.ndim) if i != axis)
        total = total + (log_prob.sum(others) if others else log_prob)
    return total


def log_jacobian(site: dict, to_real: Transform, unconstrained: torch.Tensor) -> torch.Tensor:
    """The log Jacobian of the map from the real line to the support of a latent, over its batch shape."""
    log_det = -to_real.log_abs_det_jacobian(site["value"], unconstrained)
    return log_det.reshape(*site["fn"].batch_shape, -1).sum(-1)


class frozen(Messenger):
    """Freezes the parameters of a program within the context, so that no graph is kept for them.

    One object may be entered again and again, for a program whose parameters stay as they are: networks are then
    registered once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: list[torch.Tensor] = []
        self.memory: dict = {}

    def __enter__(self) -> Any:
        for param in self.live:
            param.requires_grad_(False)
        self.registered = registered_in(self.memory)
        self.registered.__enter__()
        return super().__enter__()

    def __exit__(self, *args: Any) -> Any:
        self.registered.__exit__(*args)
        for param in self.live:
            param.requires_grad_(True)
        return super().__exit__(*args)

    def _pyro_post_param(self, msg: dict) -> None:
        value = msg["value"]
        if not value.is_leaf:
            msg["value"] = value.detach()
        elif value.requires_grad:
            # A module holds the very tensor, so it is frozen in place.
            self.live.append(value.requires_grad_(False))
