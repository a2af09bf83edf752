"""Log densities of a program's sites under draws of its latents, by runs under a host's handlers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mmppl.batch import Batch
from mmppl.errors import OptionError
from mmppl.inference.objectives.runs import Runs
from mmppl.sites import PLATE, Site, alone, data_plate, in_plate, per_datum, plate_scale, refuse_astray, total

Array = Any

__all__ = ["Places", "SiteDensities", "places", "refuse_laplace", "refuse_rows", "site_densities"]


class Places(NamedTuple):
    """Places of the latents of a program.

    Arguments:
        simple: Whether all sites lie in the plate of the data and in no other, so that draws can have an axis before.
        rows: For each latent in that plate the axis of N.
        outside: The latents outside it.
        discrete: The latents that are discrete.
    """

    simple: bool
    rows: dict[str, int]
    outside: tuple[str, ...]
    discrete: tuple[str, ...]


class SiteDensities(NamedTuple):
    """Log densities of K draws, masked and scaled as the host does but for the scale of the data's plate.

    Arguments:
        rows: Of the sites in the plate of the data, by name, ``(K, N)``.
        outside: Of the sites outside it, by name, ``(K,)``.
    """

    rows: dict[str, Array]
    outside: dict[str, Array]


def site_densities(
    runs: Runs, program: Callable, hidden: Mapping[str, Array], batch: Batch, wanted: Callable[[Site], bool]
) -> SiteDensities:
    """Runs a program once for each draw, or once for all where that gives the same.

    Arguments:
        runs: Runs the program.
        program: A model or a guide.
        hidden: Values of latents: ``(K, *, N, *event)`` in the plate of the data, ``(K, *event)`` outside.
        batch: The batch, N rows.
        wanted: The sites whose densities are asked for.

    Raises:
        ObjectiveError: If a modality lies outside the plate of the data.
    """
    xp, num = runs.backend.xp, next(iter(hidden.values())).shape[0]

    def one(values: dict) -> SiteDensities:
        return _sorted(runs.run(program, batch, values, rng=runs.keys(1, ())), batch, wanted)

    first = runs.run(program, batch, {name: z[0, ...] for name, z in hidden.items()}, rng=runs.keys(1, ()))
    plate = _plate(first, batch)
    refuse_astray(n for n in batch.modalities if n in first and first[n].observed and in_plate(first[n], plate) is None)
    ends = [{name: z[i, ...] for name, z in hidden.items()} for i in (0, -1)]
    if not (alone(first.values(), plate) and runs.at_once(program, batch, (ends[0], ends[1]))):
        return SiteDensities(*runs.map(lambda values: tuple(one(values)), dict(hidden)))
    values = {name: z[:, None, ...] for name, z in hidden.items()}
    sites = runs.run(program, batch, values, axes=(num, 1), rng=runs.keys(1, ()))
    rows = {}
    for name, site in sites.items():
        if wanted(site):
            log_density = site.log_density(plate_scale(in_plate(site, plate)))  # type: ignore[arg-type]
            rows[name] = xp.broadcast_to(log_density, (num, 1, len(batch)))[:, 0, :]
    return SiteDensities(rows, {})


def _plate(sites: Mapping[str, Site], batch: Batch) -> str | None:
    marked = any(frame.name == PLATE for site in sites.values() for frame in site.frames)
    return PLATE if marked else data_plate(sites, batch.modalities, len(batch))


def _sorted(sites: Mapping[str, Site], batch: Batch, wanted: Callable[[Site], bool]) -> SiteDensities:
    plate = _plate(sites, batch)
    rows, outside = {}, {}
    for name, site in sites.items():
        if wanted(site):
            frame = in_plate(site, plate)
            if frame is None:
                outside[name] = total(site)
            else:
                rows[name] = per_datum(site, frame, plate_scale(frame))
    return SiteDensities(rows, outside)


def places(sites: Mapping[str, Site], batch: Batch) -> Places:
    """Places of the latents of a run of a model."""
    latents = {name: site for name, site in sites.items() if not site.observed}
    plate = _plate(sites, batch)
    frames = {name: in_plate(site, plate) for name, site in latents.items()}
    rows = {n: latents[n].batch_ndim + f.dim for n, f in frames.items() if f is not None and f.dim is not None}
    outside = tuple(name for name, frame in frames.items() if frame is None)
    return Places(alone(sites.values(), plate), rows, outside, tuple(n for n, site in latents.items() if site.discrete))


def refuse_rows(guide: Any, sites: Mapping[str, Site], batch: Batch) -> None:
    """Refuses an automatic guide whose model has latents in the plate of the data, for what runs on other rows.

    Arguments:
        guide: The guide.
        sites: The sites of its model.
        batch: The batch.

    Raises:
        OptionError: If there are such latents.
    """
    rows = list(places(sites, batch).rows)
    if rows:
        raise OptionError(
            f"Expected a guide that answers for any rows; got {type(guide).__name__}, which holds parameters of each "
            f"row for the latents {rows}. Train it by the host's own SVI with this objective, or write a guide that "
            "draws them from the batch."
        )


def refuse_laplace(guide: Any) -> None:
    """Refuses an automatic guide whose normal is not that of its training, which finds the mode alone.

    Raises:
        OptionError: In any case.
    """
    raise OptionError(
        f"Expected a guide that a fit gives its spread; got {type(guide).__name__}, whose draws are the mode until a "
        "method of its own makes the normal about it. Take AutoMultivariateNormal or AutoNormal, or AutoDelta for the "
        "mode."
    )
