"""Sample sites of one run of a program, alike on both hosts, and the plate of the data among its plates."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mmppl._backend import get_backend
from mmppl.errors import ModalityError, ObjectiveError

Array = Any

__all__ = [
    "PLATE",
    "PlateFrame",
    "Site",
    "alone",
    "data_plate",
    "elementwise",
    "factors_of",
    "in_plate",
    "innermost",
    "integrates",
    "per_datum",
    "plate_scale",
    "refuse_astray",
    "total",
    "unmasked",
]

PLATE = "batch"  # the name that mm.plate gives


class PlateFrame(NamedTuple):
    """A plate that a site lies in.

    Arguments:
        name: Its name.
        dim: The batch axis it stands for, counted from the right; None for a plate that is looped over.
        rows: Number of its rows in this run.
        size: Number of its rows in all; more than ``rows`` where they are a subsample.
    """

    name: str
    dim: int | None
    rows: int
    size: int


@dataclass(frozen=True)
class Site:
    """A sample site of a run.

    Arguments:
        name: Its name.
        value: Its value, ``(*batch, *event)``.
        log_density: Gives its log density over its batch shape in nats, masked and scaled as the host does, divided by
            its argument.
        frames: The plates it lies in, the library's own left out.
        batch_ndim: Number of its batch axes, those of the library's own plates among them.
        observed: Whether it is observed; ``factor`` statements are.
        auxiliary: Whether it is a guide's site that stands for no latent of the model.
        discrete: Whether its support is discrete.
        reparametrised: Tells whether its draws carry the gradients of what they were drawn with, where there are any.
        plain: Gives what gives its log density over its batch shape without scales and masks, that of what it was drawn
            from; None where that is the one above for the scale that is the argument. To ask which costs no density,
            which may be an integration.
        point: Whether it is a value with no spread (Delta), whose log density is that of no distribution.
        factor: Gives the scale that the host puts on its log density, divided by its argument.
        integrated: Whether its log density may take an integration, as that of a diffusion does.
    """

    name: str
    value: Array
    log_density: Callable[[float], Array]
    frames: tuple[PlateFrame, ...]
    batch_ndim: int
    observed: bool
    auxiliary: bool
    discrete: bool
    reparametrised: Callable[[], bool] = lambda: True
    plain: Callable[[float], Callable[[], Array] | None] = lambda over: None
    point: bool = False
    factor: Callable[[float], Any] = lambda over: 1.0
    integrated: bool = False


def data_plate(sites: Mapping[str, Site], modalities: Iterable[str], num: int) -> str | None:
    """Finds the plate of the data: the one that ``mm.plate`` makes, or else the one that the modalities sit in.

    Arguments:
        sites: Sites of the model.
        modalities: Names of the modalities of the batch.
        num: N, rows of the batch.

    Returns:
        Its name; None where the modalities share no plate.

    Raises:
        ObjectiveError: If the plate holds another number of rows than the batch.
    """
    marked = [frame for site in sites.values() for frame in site.frames if frame.name == PLATE]
    if marked:
        found = marked[0]
    else:
        observed = [sites[name].frames for name in modalities if name in sites and sites[name].observed]
        # Where no modality is scored, what has a row for each datum tells.
        latents = [site.frames for site in sites.values() if any(frame.rows == num for frame in site.frames)]
        shared = set.intersection(*map(set, observed or latents)) if observed or latents else set()
        fitting = [frame for frame in shared if frame.dim is not None]
        if not fitting:
            return None
        # Among plates that hold all modalities, such as views of each row, the one of N rows; then the innermost.
        found = max(fitting, key=lambda frame: (frame.rows == num, frame.dim))
    if found.rows != num:
        raise ObjectiveError(
            f"Expected plate '{found.name}', in which the modalities are observed, to hold the {num} rows of the "
            f"batch; got {found.rows} of {found.size}. Subsample outside: give minibatches, and declare the size of "
            "the whole data set by mm.plate(batch, size)."
        )
    return found.name


def in_plate(site: Site, plate: str | None) -> PlateFrame | None:
    """The frame of the plate of that name, if the site lies in it."""
    return next((frame for frame in site.frames if frame.name == plate and frame.dim is not None), None)


def alone(sites: Iterable[Site], plate: str | None) -> bool:
    """Tells whether every site lies in the plate, at dimension -1, and in no other."""
    return all(
        len(site.frames) == 1 and (frame := in_plate(site, plate)) is not None and frame.dim == -1 for site in sites
    )


def plate_scale(frame: PlateFrame) -> float:
    """The factor a plate puts on its rows for standing for more of them."""
    return frame.size / frame.rows


def factors_of(sites: Mapping[str, Site], plate: str | None, scale: float) -> dict[str, Any]:
    """Scales other than 1 of sites in the plate of the data, by name, that plate's own left out.

    One that is a number, or has a value for each row, can be taken out of a sum over other plates; None stands for
    others, and for that of a plate of which only some rows are drawn.
    """
    out = {}
    for name, site in sites.items():
        factor, frame = site.factor(scale), in_plate(site, plate)
        number = isinstance(factor, float | int)
        if number and factor == 1.0:
            continue
        others = [other for other in site.frames if other != frame]
        by_row = not others and frame is not None and frame.dim == -1
        whole, axes = all(plate_scale(other) == 1.0 for other in others), getattr(factor, "ndim", 2)
        out[name] = factor if whole and (number or axes == 0 or (by_row and axes == 1)) else None
    return out


def refuse_astray(names: Iterable[str]) -> None:
    """Refuses modalities outside the plate of the data, where each datum is evaluated by itself.

    Arguments:
        names: Those modalities.

    Raises:
        ObjectiveError: If there are any.
    """
    astray = list(names)
    if astray:
        raise ObjectiveError(
            f"Expected modalities in the plate of the data; got {astray} outside it, so that a datum has no likelihood "
            "of its own. Observe all modalities in one mm.plate(batch)."
        )


def per_datum(site: Site, frame: PlateFrame, scale: float, plain: bool = False) -> Array:
    """The log density of each row of the data, ``(N,)``: summed over plates within and around the data's.

    Arguments:
        site: A site in the plate of the data.
        frame: That plate.
        scale: The scale of the data's plate, which is taken off: it belongs outside a log-mean-exp.
        plain: Whether all other scales and masks are left out too.
    """
    drawn = site.plain(scale) if plain else None
    log_density = site.log_density(scale) if drawn is None else drawn()
    xp = get_backend(log_density).xp
    axis = log_density.ndim + frame.dim
    others = tuple(i for i in range(log_density.ndim) if i != axis)
    return xp.sum(log_density, axis=others) if others else log_density


def total(site: Site) -> Array:
    """The log density of a site as the host counts it, a scalar: summed over all that it holds."""
    log_density = site.log_density(1.0)
    return get_backend(log_density).xp.sum(log_density)


def innermost(fn: Any, around: Any) -> Any:
    """A host's distribution without those around it, which are of the types ``around``."""
    while isinstance(fn, around):
        fn = fn.base_dist
    return fn


def integrates(fn: Any) -> bool:
    """Tells whether the log density of a distribution may be an integration: of a score, or of what is made of one."""
    return getattr(fn, "integrates", False) or getattr(getattr(fn, "prior", None), "integrates", False)


def elementwise(fn: Any, there: Array, value: Array, around: tuple[Any, Any, Any], name: str) -> Any:
    """A host's distribution of an event of independent elements, of which those count that are there.

    Arguments:
        fn: The distribution, with an event for each axis of ``there`` but the first.
        there: Which elements count, boolean, ``(N, *event)``.
        value: Their values, ``(N, *event)``, which draws of the others are given where elements are dependent.
        around: The host's types of masked, independent and expanded distributions.
        name: The modality, for messages.

    Raises:
        ModalityError: If the elements are not independent.
    """
    masked, independent, expanded = around
    if fn.event_dim == 0:
        return fn.mask(there)
    if isinstance(fn, masked):
        return elementwise(fn.base_dist, there, value, around, name).mask(fn._mask)
    base = fn.base_dist.expand(fn.batch_shape) if isinstance(fn, expanded) else fn
    if hasattr(base, "of_elements"):  # of dependent elements, and knows what some say of the others
        return base.of_elements(there, value)
    if not isinstance(base, independent):
        raise ModalityError(
            f"Modality '{name}': expected a likelihood of independent elements, as single ones may be missing; got a "
            f"{type(base).__name__} of {base.event_dim} event axes. Take one such as Normal(...).to_event(1), or leave "
            "out rows that lack elements."
        )
    inner = elementwise(base.base_dist, there, value, around, name)
    return inner.to_event(fn.event_dim - inner.event_dim)


def unmasked(fn: Any, masked: Any, around: Any) -> Any:
    """A host's distribution without masks.

    Arguments:
        fn: The distribution.
        masked: The host's type of masked distributions.
        around: Its types of distributions that stand around others: independent and expanded ones.
    """
    if isinstance(fn, masked):
        return unmasked(fn.base_dist, masked, around).expand(fn.batch_shape)
    if isinstance(fn, around):
        base = unmasked(fn.base_dist, masked, around)
        if base is not fn.base_dist:
            own = fn.event_dim - base.event_dim
            return base.expand(fn.batch_shape + fn.event_shape[:own]).to_event(own)
    return fn
