"""The graph of a program, as it is shown: its sites, their sizes, and what each depends on."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mmppl.sites import Site, data_plate, in_plate

__all__ = ["Node", "nodes"]


class Node(NamedTuple):
    """A site of a program.

    Arguments:
        name: Its name.
        observed: Whether it is observed.
        family: Name of its distribution, the host's.
        shape: Shape of its value, with "N" for the rows of the data.
        parents: The sites that its distribution depends on.
    """

    name: str
    observed: bool
    family: str
    shape: tuple[str, ...]
    parents: tuple[str, ...]


def nodes(
    sites: Mapping[str, Site],
    families: Mapping[str, str],
    parents: Mapping[str, Iterable[str]],
    modalities: Iterable[str],
    num: int,
) -> list[Node]:
    """Nodes of the sites of one run, in their order.

    Arguments:
        sites: Sites of the run.
        families: Names of their distributions.
        parents: Sites that each depends on.
        modalities: Names of the modalities of the batch.
        num: N, its rows.
    """
    plate, out = data_plate(sites, modalities, num), []
    for name, site in sites.items():
        shape, frame = [str(int(n)) for n in site.value.shape], in_plate(site, plate)
        if frame is not None and frame.dim is not None and 0 <= site.batch_ndim + frame.dim < len(shape):
            shape[site.batch_ndim + frame.dim] = "N"
        found = set(parents.get(name, ()))
        out.append(
            Node(name, site.observed, families[name], tuple(shape), tuple(n for n in sites if n in found and n != name))
        )
    return out
