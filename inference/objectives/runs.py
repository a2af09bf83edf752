"""Runs of a program under a host's handlers, and where its sites lie."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.sites import Site, alone, data_plate

Array = Any
Program = Callable[..., Any]

__all__ = ["Layout", "Program", "Runs", "layout"]


class Layout(NamedTuple):
    """Layout of the sites of a program.

    Arguments:
        plate: Name of the plate of the data; None where there is none.
        simple: Whether every site of model and guide lies in it and in no other plate, at dimension -1, so that axes of
            particles and terms can be put before it.
    """

    plate: str | None
    simple: bool


class Runs(Protocol):
    """Runs of a program under a host's handlers, with one set of parameters and one random key."""

    @property
    def backend(self) -> Backend:
        """The backend of the arrays."""

    @property
    def like(self) -> Array:
        """An array of the parameters' floating type."""

    def run(
        self,
        fn: Program,
        batch: Batch,
        values: Mapping | None = None,
        *,
        axes: tuple = (1, 1),
        rng: Any = None,
        role: str = "density",
    ) -> dict[str, Site]:
        """The sites of one run given values of latents; ``axes`` are particles and terms, put before the plates.

        Mutable state moves with draws (``role="draw"``) and scores (``"prior"``, or ``"likelihood"`` without it) alone.
        """

    def map(self, f: Callable[..., Any], *trees: Any) -> Any:
        """``f`` along the first axis of every array of the trees, stacked."""

    def same(self, f: Callable[..., tuple[Any, Any]], *trees: Any) -> tuple[Any, Any] | None:
        """The same of pairs: the first stacked, the second as it is; None where that is not the same throughout."""

    def keys(self, which: int, shape: tuple[int, ...]) -> Array:
        """Random keys: 0 for the guide and 1 for the model."""

    def layout(self, model: Program, guide: Program, batch: Batch, names: tuple[str, ...]) -> Layout:
        """The layout of a program, found by a run of both; see :func:`layout`."""

    def frozen(self) -> "Runs":
        """The same, with the program's parameters held fixed."""


def layout(runs: Runs, model: Program, guide: Program, batch: Batch, names: tuple[str, ...]) -> Layout:
    """Runs the guide and the model once, which scores ``names``, and finds the plate of the data."""
    guided = runs.run(guide, batch, rng=runs.keys(0, ()))
    values = {name: site.value for name, site in guided.items() if not site.observed}
    sites = runs.run(model, batch.scoring(*names), values, rng=runs.keys(1, ()))
    plate = data_plate(sites, names, len(batch))
    return Layout(plate, alone([*guided.values(), *sites.values()], plate))
