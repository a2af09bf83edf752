"""Names and units of the coordinates of vectors and counts: what is taken for them, and how they are shown."""

from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import product
from typing import Any

from mmppl.errors import ModalityError

__all__ = [
    "checked_coordinates",
    "checked_units",
    "coordinate_labels",
    "coordinates_text",
    "names_of_columns",
    "with_columns",
]

KINDS = ("vector", "counts")


def checked_coordinates(names: Any, shape: tuple[int, ...], kind: str) -> tuple[str, ...] | None:
    """Names of coordinates as a tuple, one for each of a vector or of counts; None for none.

    Raises:
        ModalityError: If the modality has no such axis, or they are not as many different texts.

    Example:
        >>> checked_coordinates(["age", "bmi"], (2,), "vector")
        ('age', 'bmi')
    """
    if names is None:
        return None
    if kind not in KINDS or len(shape) != 1:
        raise ModalityError(
            f"Expected coordinates of a vector, or of counts, with one axis; got kind '{kind}' of shape {shape}."
        )
    plain = _texts(names)
    if plain is None or len(plain) != shape[0]:
        got = f"{len(plain)}" if plain is not None else f"{names!r:.100}"
        raise ModalityError(f"Expected {shape[0]} names of coordinates, texts that are not empty; got {got}.")
    twice = next((name for name in plain if plain.count(name) > 1), None) if len(set(plain)) < len(plain) else None
    if twice is not None:
        raise ModalityError(f"Expected coordinates of different names; got '{twice}' twice. Rename one.")
    return plain


def checked_units(units: Any, shape: tuple[int, ...], kind: str) -> str | tuple[str, ...] | None:
    """Units as a text of all values, or as a tuple of one for each coordinate, where ``""`` is without one.

    Raises:
        ModalityError: If the modality is not of numbers, or they are not as many texts as coordinates.

    Example:
        >>> checked_units("mm", (2,), "vector"), checked_units(["mm", "g"], (2,), "vector")
        ('mm', ('mm', 'g'))
    """
    if units is None:
        return None
    if kind not in KINDS:
        raise ModalityError(f"Expected units of a vector or of counts; got kind '{kind}'.")
    if isinstance(units, str) and units:
        return units
    plain = _texts(units, empty=True)
    if plain is None or len(shape) != 1 or len(plain) != shape[0]:
        wanted = f", or {shape[0]} of them, one for each coordinate" if len(shape) == 1 else ""
        raise ModalityError(f"Expected units to be a text{wanted}; got {units!r:.100} for shape {shape}.")
    return plain


def coordinate_labels(name: str, modality: Any, most: int | None = None) -> list[str]:
    """Labels of a modality's numbers where they are shown: names, else places, with units that they do not end in.

    Arguments:
        name: Name of the modality.
        modality: The modality.
        most: Most labels.

    Example:
        >>> from mmppl.modality import Modality
        >>> bill = Modality((2,), coordinates=("length", "depth"), units="mm")
        >>> coordinate_labels("bill", bill), coordinate_labels("mass", Modality((), units="g"))
        (['length (mm)', 'depth (mm)'], ['mass (g)'])
        >>> coordinate_labels("mass (g)", Modality((), units="g")), coordinate_labels("mass g", Modality((), units="g"))
        (['mass (g)'], ['mass g'])
        >>> coordinate_labels("x", Modality((2, 3)), most=2)
        ['x[0, 0]', 'x[0, 1]']
    """
    units, out = modality.units, []
    for i, place in enumerate(product(*map(range, modality.shape))):
        if i == most:
            break
        own = f"{name}[{', '.join(map(str, place))}]" if place else name
        own = own if modality.coordinates is None else modality.coordinates[i]
        unit = units[i] if isinstance(units, tuple) else units
        said = not unit or own.endswith((f"({unit})", f"[{unit}]", f" {unit}"))
        out.append(own if said else f"{own} ({unit})")
    return out


def coordinates_text(name: str, modality: Any, most: int = 4) -> str:
    """The first names of coordinates and units in a line; empty where there are none.

    Example:
        >>> from mmppl.modality import Modality
        >>> coordinates_text("x", Modality((3,), coordinates=("age", "bmi", "bp"), units=("years", "", "")), most=2)
        'age (years), bmi, ...'
    """
    if modality.coordinates is None and modality.units is None:
        return ""
    found = coordinate_labels(name, modality, most + 1)
    return ", ".join(found[:most] + ["..."] * (len(found) > most))


def names_of_columns(columns: Sequence[Any], view: str = "", separator: str = "/") -> tuple[str, ...] | None:
    """Names of coordinates by those of columns, less the name of their view; None of columns that are numbered.

    Example:
        >>> names_of_columns(["rna/CD3", "rna/CD19"], "rna"), names_of_columns([("rna", "CD3"), ("rna", "CD19")])
        (('CD3', 'CD19'), ('CD3', 'CD19'))
        >>> names_of_columns(range(3)) is None
        True
    """
    if not any(isinstance(c, str | tuple) for c in columns):
        return None
    texts = [separator.join(map(str, c[1:] or c)) if isinstance(c, tuple) else str(c) for c in columns]
    head = f"{view}{separator}"
    if all(text.startswith(head) and len(text) > len(head) for text in texts):
        texts = [text.removeprefix(head) for text in texts]
    return tuple(texts) if all(texts) and len(set(texts)) == len(texts) else None


def with_columns(name: str, modality: Any, columns: tuple[str, ...] | None, units: Any = None) -> Any:
    """The modality with names and units of coordinates, where it is of numbers with one axis and has none yet.

    Raises:
        ModalityError: If it has others, or the same in another order.
    """
    fits = modality.kind in KINDS and len(modality.shape) == 1
    found: dict[str, Any] = {}
    if columns is not None and fits and len(columns) == modality.shape[0]:
        if modality.coordinates is None:
            found["coordinates"] = columns
        elif modality.coordinates != columns:
            i = next(i for i, pair in enumerate(zip(modality.coordinates, columns, strict=True)) if len({*pair}) > 1)
            raise ModalityError(
                f"Modality '{name}': expected its coordinates in their order; got '{columns[i]}' in place of "
                f"'{modality.coordinates[i]}'. Put the columns into that order."
            )
    if units is not None and modality.kind in KINDS and modality.units is None:
        found["units"] = units
    return modality.but(**found) if found else modality


def _texts(value: Any, empty: bool = False) -> tuple[str, ...] | None:
    """Texts as a tuple; None of anything else."""
    if isinstance(value, str | Mapping | Set) or not isinstance(value, Iterable):
        return None
    found = tuple(str(x) if isinstance(x, str) else None for x in value)
    return None if any(x is None or not (x or empty) for x in found) else found  # type: ignore[return-value]
