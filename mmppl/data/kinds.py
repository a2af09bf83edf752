"""Rules for what an array is taken for where nobody says, and values as the modality has them.

| array | kind | likelihood |
| --- | --- | --- |
| texts ``(N,)`` | category, its classes the texts in order | categorical |
| integers ``(N,)`` from 0 on, ids of classes most of which occur, and again | category | categorical |
| other integers ``(N,)`` | vector, one number | normal |
| uint8 ``(N, C, H, W)``, ``(N, H, W)`` | image, x / 255 | discretised logistic |
| other integers ``(N, ...)`` | counts | negative binomial |
| booleans, floats that are all 0 or 1 | vector or image | Bernoulli |
| floats ``(N, C, H, W)``, ``(N, H, W)`` in [0, 1] | image | discretised logistic |
| floats ``(N, C, H, W)`` beyond [0, 1] | image | Laplace |
| floats ``(N, D)``, D > 1, all of them 0, 1, 2, ... with 0 among them | counts | negative binomial |
| other floats | vector | normal |

Scales are the likelihood's own, learned or given by the decoder: see :class:`~mmppl.modality.Modality`. Ids of classes
are those below 100, or below ten times the number of different ones; where there are more than twenty, they have ten
rows each in the mean, or all from 0 on occur: ages are numbers. Where of twenty rows or more nine in ten differ,
integers are no ids, and texts are refused, as names of the rows would be, unless their kind is said. Whatever is said
goes before these rules, which look at what is observed alone. A float that is NaN is a missing element, a row of them
is missing, as is a row without a text; integers have no sign for that. A modality that lacks single elements in some
row is partial, see :class:`~mmppl.modality.Modality`.
"""

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch
from mmppl.coordinates import coordinates_text
from mmppl.errors import DataError, DataWarning, MMPPLError, ModalityError, OptionError
from mmppl.modality import KINDS, Modality
from mmppl.presence import check_no_mask, is_no_value, of_rows
from mmppl.warn import warn

__all__ = ["check_kinds", "fit_to", "infer_modality", "kinds_rows", "kinds_table", "numpy_of"]

FEW, MANY = 100, 10
# Above so many different ones, ids need so many rows each.
CLASSES, EACH = 20, 10
# Of so many rows, the share of different ones from which on they are no classes.
ROWS, DIFFER = 20, 0.9
CHANNELS = 4  # of pictures, at most


def infer_modality(
    name: str, value: Any, kind: str | None = None, mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, Modality]:
    """An array as a modality's values, which rows or elements there are, and the modality by the rules above.

    Arguments:
        name: Name of the modality, for messages.
        value: ``(N, ...)``, an array of any host or a sparse matrix.
        kind: Its kind, where it is said.
        mask: Mask of what is there, of rows or of elements, where it is said.

    Warns:
        DataWarning: If channels of an image seem to stand last.

    Raises:
        DataError: If no rule takes it, or the kind does not, or all of it is missing.
        ModalityError: If it has rows without values.
        OptionError: If the kind is unknown.

    Example:
        >>> infer_modality("pet", np.array(["dog", "cat", "dog"]))[2].names
        ('cat', 'dog')
        >>> infer_modality("rna", np.array([[0, 3], [2, 1]]))[2].likelihood
        'negative_binomial'
    """
    check_kinds({} if kind is None else {name: kind}, [name])
    value, there = _rows(name, value)
    if len(there) and not there.any():
        raise DataError(f"Modality '{name}': expected a value in some row; got none. Leave it out.")
    value, there = _seen(value, there, mask)
    known = value[there]
    kind = _guess(name, known, value.shape) if kind is None else kind
    names = tuple(map(str, np.unique(known))) if kind == "category" and _text(value) else None
    if kind == "image" and value.ndim == 4 and value.shape[1] > CHANNELS >= value.shape[3]:
        say = "np.moveaxis(x, -1, 1) puts them first, where images have them"
        warn(f"Modality '{name}': channels seem to stand last in shape {value.shape}; {say}.", DataWarning)
    out = _AS[kind](name, value, there, names)
    there = there if there.ndim == 1 else there.reshape(out.shape)
    known = out[there]
    how: dict[str, Any] = {"kind": kind, "partial": _partly(there)}
    if kind == "tokens":
        how["vocabulary"] = int(known.max(initial=0)) + 1
    elif kind == "category":
        how |= {"names": names} if names else {"categories": int(known.max(initial=0)) + 1}
    elif kind in ("vector", "image") and _bits(known):
        how["likelihood"] = "bernoulli"
    elif kind == "image" and known.size and (known.min() < 0.0 or known.max() > 1.0):
        how["likelihood"] = "laplace"  # of any number
    try:
        return out, there, Modality(out.shape[1:], **how)
    except ModalityError as error:
        raise ModalityError(f"Modality '{name}': {error}") from None


def fit_to(name: str, value: Any, modality: Modality, mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """An array as values of a modality that is known, and which rows or elements there are, less what a mask hides.

    Names of classes become their ids.

    Raises:
        DataError: If it is of another kind, or a class is unknown.
        ModalityError: If it is of another shape.

    Example:
        >>> fit_to("pet", np.array(["dog", "cat"]), Modality((), kind="category", names=("cat", "dog")))[0]
        array([1, 0])
    """
    value, there = _rows(name, value)
    grey = modality.kind == "image" and modality.shape[0] == 1 and value.shape[1:] == modality.shape[1:]
    single = modality.kind == "category" and value.shape[1:] == (1,)
    if value.shape[1:] != modality.shape and not grey and not single:
        raise ModalityError(
            f"Modality '{name}': expected shape (N, {', '.join(map(str, modality.shape))}); got {value.shape}."
        )
    if _text(value) and modality.kind == "category" and modality.names is None:
        raise DataError(f"Modality '{name}': expected ids of classes below {modality.categories}; got texts.")
    value, there = _seen(value, there, mask)
    out = _AS[modality.kind](name, value, there, modality.names)
    return out, there if there.ndim == 1 else there.reshape(out.shape)


def check_kinds(kinds: Mapping[str, str], names: Any) -> None:
    """Refuses kinds that there are not, or of modalities that there are not.

    Raises:
        OptionError: If there is one.
    """
    for name, kind in kinds.items():
        if name not in names:
            raise OptionError(f"Expected kinds of modalities among {list(names)}; got '{name}'.")
        if kind not in KINDS:
            raise OptionError(f"Expected a kind of '{name}' among {', '.join(KINDS)}; got {kind!r}.")


def kinds_table(modalities: Mapping[str, Modality], batch: Batch) -> str:
    """Table of what each array was taken for, as text.

    Example:
        >>> print(kinds_table({"rna": Modality((50,), kind="counts")}, Batch({"rna": np.zeros((4, 50), int)})))
        modality  kind    shape  likelihood         scale    present
        rna       counts  50     negative_binomial  learned  100%
    """
    table = kinds_rows(modalities, batch)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in lines)


def kinds_rows(modalities: Mapping[str, Modality], batch: Batch) -> list[tuple[str, ...]]:
    """The same table as rows, its header first; names of coordinates and units where there are any."""
    named = any(m.coordinates or m.units for m in modalities.values())
    header = ("modality", "kind", "shape", "likelihood", "scale", "present")
    table: list[tuple[str, ...]] = [(*header, *(["coordinates"] if named else []))]
    for name, m in modalities.items():
        shape = f"{m.categories} classes" if m.kind == "category" else " x ".join(map(str, m.shape)) or "1"
        scored = "categorical" if m.ids else str(m.likelihood)
        share = f"{100 * float(np.mean(np.asarray(batch.there(name)))):.0f}%"
        row = (name, m.kind, shape, scored, str(m.scale) if m.scoring.scaled else "", share)
        table.append((*row, *([coordinates_text(name, m)] if named else [])))
    return table


def numpy_of(value: Any, what: str) -> np.ndarray:
    """An array of any host, or a sparse matrix, as numpy's.

    Raises:
        DataError: If there is no array of it, as of rows of several lengths.
        ModalityError: If it has a mask.
    """
    check_no_mask(what, value)
    try:
        found = np.asarray(_read(value))
    except MMPPLError:
        raise
    except Exception as error:  # each host has its own for arrays that numpy has not: sparse, deleted, without values
        raise DataError(
            f"Expected {what} to be an array (N, ...) that numpy can hold; got a {type(value).__name__}: {error}"
        ) from error
    return found.astype(np.float64) if found.dtype == np.longdouble != np.float64 else found


def _read(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "toarray"):
        return value.toarray()
    try:
        return get_backend(value).to_numpy(value)
    except TypeError:  # no array of a host, but perhaps what numpy makes one of
        return value


def _rows(name: str, value: Any) -> tuple[np.ndarray, np.ndarray]:
    """An array of numbers or texts, and which rows or elements are there; what is missing in it is 0 or no text."""
    value = numpy_of(value, f"modality '{name}'")
    if not value.ndim:
        raise DataError(f"Modality '{name}': expected an array (N, *event); got one of shape ().")
    if value.dtype.kind in "OT" and value.ndim == 1:
        return _objects(name, value.tolist())
    if value.dtype.kind not in "biufU":
        raise DataError(
            f"Modality '{name}': expected numbers or texts; got dtype {value.dtype} and shape {value.shape}. Make "
            + (
                "numbers of it, such as days since a date, or leave it out."
                if value.dtype.kind in "mM"
                else "floats of it, with NaN for what is missing."
            )
        )
    there = np.ones(len(value), bool)
    if value.dtype.kind == "f":
        gone = np.isnan(value)
        lost = gone.reshape(len(value), math.prod(value.shape[1:]))
        there = ~lost.all(1) if value.size else there
        if (lost.any(1) & there).any():
            there = ~gone
        value = np.where(gone, value.dtype.type(0), value)
    return value, there


def _objects(name: str, value: list) -> tuple[np.ndarray, np.ndarray]:
    """Texts, or numbers alone, with gaps, as lists and columns of pandas have them: an array of their type."""
    there = np.array([not is_no_value(x) for x in value], bool)
    known = [x for x, here in zip(value, there, strict=True) if here]
    plain: Any = str
    if known and all(isinstance(x, Real | np.bool_) for x in known):
        plain = bool if all(isinstance(x, bool | np.bool_) for x in known) else int if _integers(known) else float
    others = {type(x).__name__ for x in known if plain is str and not isinstance(x, str)}
    if others:
        raise DataError(
            f"Modality '{name}': expected texts or numbers alone; got objects of type {sorted(others)}. Make one of "
            "all of them."
        )
    dtype = {str: np.str_, int: np.int64}.get(plain, plain)
    return np.array([x if here else plain() for x, here in zip(value, there, strict=True)], dtype), there


def _integers(known: list) -> bool:
    return all(isinstance(x, Integral | np.bool_) and abs(int(x)) < 2**63 for x in known)


def _seen(value: np.ndarray, there: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The same, less what a mask hides; one that is none, or of another shape, is refused where a batch is made."""
    if mask is None or mask.dtype != bool or mask.shape not in (value.shape[:1], value.shape):
        return value, there
    if mask.ndim < there.ndim:
        mask = of_rows(mask, value)
    elif mask.ndim > there.ndim:
        there = of_rows(there, value)
    there = there & mask
    if value.dtype.kind not in "biuf":
        return value, there
    return np.where(there if there.ndim == value.ndim else of_rows(there, value), value, value.dtype.type(0)), there


def _partly(there: np.ndarray) -> bool:
    """Tells whether some row has some elements and lacks others."""
    own = there.reshape(len(there), math.prod(there.shape[1:]))
    return bool((own.any(1) & ~own.all(1)).any()) if there.ndim > 1 else False


def _guess(name: str, known: np.ndarray, shape: tuple[int, ...]) -> str:
    rank, integer = len(shape), known.dtype.kind in "iu"
    if rank > 4:
        raise DataError(
            f"Modality '{name}': expected an image (N, C, H, W) or (N, H, W), or numbers of at most four axes; got "
            f"dtype {known.dtype} and shape {shape}. Say its kind, or lay axes together."
        )
    if _text(known):
        if _all_differ(known):
            raise DataError(
                f"Modality '{name}': expected texts that are classes, most of them of several rows; got "
                f"{len(np.unique(known))} different ones in {len(known)} rows, such as {str(known[0])!r:.40}. Leave "
                "it out, as names of the rows; make ids of its characters, kind 'tokens'; or say that they are, kind "
                "'category'."
            )
        return "category"
    if known.dtype == np.uint8 and rank in (3, 4):
        return "image"
    if integer and rank == 1:
        return "category" if _dense(known) and not _all_differ(known) else "vector"
    if integer:
        if known.size and known.min() < 0:
            raise DataError(
                f"Modality '{name}': expected counts (0, 1, 2, ...) in an array of integers of shape {shape}; "
                f"got {int(known.min())}. Say what it is: kind 'vector', or floats, for numbers."
            )
        return "counts"
    if rank == 4 or rank == 3 and known.size and bool((known >= 0).all() and (known <= 1).all()):
        return "image"
    if rank == 2 and shape[1] > 1 and _whole(known) and known.max(initial=0) > 1 and (known == 0).any():
        return "counts"
    return "vector"


def _dense(ids: np.ndarray) -> bool:
    if ids.size and ids.min() < 0:
        return False
    if not ids.size:
        return True
    highest, different = int(ids.max()), len(np.unique(ids))
    sparse = different > CLASSES and len(ids) < EACH * different and different <= highest
    return highest < max(FEW, MANY * different) and not sparse


def _all_differ(known: np.ndarray) -> bool:
    return len(known) >= ROWS and len(np.unique(known)) >= DIFFER * len(known)


def _text(value: np.ndarray) -> bool:
    return value.dtype.kind == "U"


def _whole(known: np.ndarray) -> bool:
    return bool((np.isfinite(known) & (known >= 0) & (known == np.floor(known))).all())


def _bits(known: np.ndarray) -> bool:
    return bool(np.isin(known, (0, 1)).all() and (known == 0).any() and (known == 1).any())


# Values by kind ---------------------------------------------------------------------------------------------------
def _vector(name: str, value: np.ndarray, there: np.ndarray, names: Any) -> np.ndarray:
    _no_texts(name, value, "numbers")
    return value if value.dtype.kind == "f" else value.astype(np.float32)


def _image(name: str, value: np.ndarray, there: np.ndarray, names: Any) -> np.ndarray:
    _no_texts(name, value, "an image")
    if value.ndim not in (3, 4) or value.dtype.kind in "iu" and value.dtype != np.uint8:
        raise DataError(
            f"Modality '{name}': expected an image (N, C, H, W) or (N, H, W), of uint8 or of floats in [0, 1]; got "
            f"dtype {value.dtype} and shape {value.shape}."
        )
    value = value[:, None] if value.ndim == 3 else value
    if value.dtype == np.uint8:
        return np.divide(value, 255, dtype=np.float32)
    return value.astype(np.float32, copy=False)


def _tokens(name: str, value: np.ndarray, there: np.ndarray, names: Any) -> np.ndarray:
    if value.ndim != 2 or value.dtype.kind not in "iu":
        raise DataError(
            f"Modality '{name}': expected integer token ids; got dtype {value.dtype} and shape {value.shape}."
        )
    return value.astype(np.int64, copy=False)


def _category(name: str, value: np.ndarray, there: np.ndarray, names: Any) -> np.ndarray:
    value = value[:, 0] if value.ndim == 2 and value.shape[1] == 1 else value
    if value.ndim != 1:
        raise DataError(f"Modality '{name}': expected a category, an array (N,); got shape {value.shape}.")
    if _text(value):
        ids = {text: i for i, text in enumerate(names)}
        unknown = sorted(set(value[there].tolist()) - set(ids))
        if unknown:
            raise DataError(f"Modality '{name}': expected categories among {list(ids)}; got {unknown[:5]}.")
        return np.array([ids.get(text, 0) for text in value.tolist()], np.int64)
    if value.dtype != bool and not _whole(value[there]):
        raise DataError(
            f"Modality '{name}': expected categories, texts or whole numbers from 0 on; got others. Number them, or "
            "say kind 'vector'."
        )
    return value.astype(np.int64)


def _counts(name: str, value: np.ndarray, there: np.ndarray, names: Any) -> np.ndarray:
    _no_texts(name, value, "counts")
    known = value[there]
    if not _whole(known):
        bad = ~((value >= 0) & (value == np.floor(value))) & (there if there.ndim > 1 else of_rows(there, value))
        rows = np.flatnonzero(bad.reshape(len(value), -1).any(1))
        raise DataError(
            f"Modality '{name}': expected counts (0, 1, 2, ...); got others, in rows {', '.join(map(str, rows[:5]))}. "
            "Say kind 'vector' for numbers."
        )
    return value if value.dtype.kind == "f" else value.astype(np.int64)


def _no_texts(name: str, value: np.ndarray, wanted: str) -> None:
    if _text(value):
        raise DataError(f"Modality '{name}': expected {wanted}; got texts, such as {value.ravel()[:1].tolist()}.")


_AS: dict[str, Callable[[str, np.ndarray, np.ndarray, Any], np.ndarray]] = {
    "vector": _vector,
    "image": _image,
    "tokens": _tokens,
    "category": _category,
    "counts": _counts,
}
