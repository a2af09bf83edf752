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
        simple: Whether every site of model and guide lies in it and in no other plate, at dimension -1, and both give
            the same where axes of particles and terms are put before it.
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
        """As :meth:`map`, of pairs: the first stacked, the second as it is, or None where it differs between runs."""

    def keys(self, which: int, shape: tuple[int, ...]) -> Array:
        """Random keys: 0 for the guide and 1 for the model."""

    def layout(self, model: Program, guide: Program, batch: Batch, names: tuple[str, ...]) -> Layout:
        """The layout of a program, found by a run of both; see :func:`layout`."""

    def at_once(self, program: Program, batch: Batch, draws: tuple[Mapping, Mapping], *, masked: bool = False) -> bool:
        """Tells whether a program, run once with axes of particles and terms, gives what it gives run by run.

        One that counts axes from the left, as in ``z[:, :2]``, or mixes rows, does not: it is then run one by one.

        Arguments:
            program: A model or a guide whose sites all lie in the plate of the data.
            batch: The batch, N rows.
            draws: Two values of the latents.
            masked: Whether terms differ in what is present.
        """

    def frozen(self) -> "Runs":
        """These runs with the program's parameters held fixed."""


def layout(runs: Runs, model: Program, guide: Program, batch: Batch, names: tuple[str, ...]) -> Layout:
    """Runs the guide and the model, which scores ``names``, and finds the plate of the data."""
    guided, other = (runs.run(guide, batch, rng=runs.keys(0, ())) for _ in range(2))
    values, others = ({n: site.value for n, site in sites.items() if not site.observed} for sites in (guided, other))
    scored = batch.scoring(*names)
    sites = runs.run(model, scored, values, rng=runs.keys(1, ()))
    plate = data_plate(sites, names, len(batch))
    simple = alone([*guided.values(), *sites.values()], plate)
    simple = simple and runs.at_once(guide, batch, (values, others), masked=True)
    return Layout(plate, simple and runs.at_once(model, scored, (values, others)))
