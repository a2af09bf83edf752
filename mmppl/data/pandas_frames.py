"""Data frames: columns as modalities, and values back as columns."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.coordinates import names_of_columns, with_columns
from mmppl.data.arrays import LABEL, Said, batch_of, said_of, with_covariates
from mmppl.data.dataset import Dataset
from mmppl.data.kinds import infer_modality
from mmppl.data.optional import need
from mmppl.data.source import Imputation, Source, imputations, latent_means
from mmppl.data.views import views_by_name
from mmppl.errors import DataError, OptionError
from mmppl.modality import Modality

__all__ = ["column_array", "from_pandas", "in_order", "label_array", "series_of", "to_pandas", "type_of"]

Views = Mapping[str, str | Sequence[Any]]


def from_pandas(
    frame: Any,
    views: Views | None = None,
    *,
    label: str | None = None,
    covariates: Said | None = None,
    kinds: Mapping[str, str] | None = None,
    modalities: Mapping[str, Modality] | None = None,
    units: Mapping[Any, str] | None = None,
    name: str = "frame",
    seed: int = 0,
) -> Dataset:
    """A data set of the columns of a data frame.

    A view of one column is one number or one category of each row, a view of several a vector or counts, whose
    coordinates have the names of the columns; see :mod:`mmppl.data.kinds`. A missing cell is a missing element of its
    view; a row that lacks all cells of a view is missing.

    Arguments:
        frame: A ``pandas.DataFrame``.
        views: Columns by name of modality. By default columns ``view/column``, or of two levels, make a view together,
            and any other column is a view of its own, under the nearest name that a modality can have. Texts of which
            each row has another, such as numbers of patients, and dates are left out, with a warning, unless
            ``kinds`` says that they are a category.
        label: The column of labels; by default the one called ``label``, if there is one.
        covariates: Columns that are covariates: names, or their kinds by name where texts are no categories or numbers
            are, ``{"site": "category", "age": None}``, see :class:`~mmppl.covariates.Covariate`; or those of a program.
        kinds: Kinds by modality, which go before the rules.
        modalities: What the modalities are, where it is known: those of a program that the rows are for. All rows are
            then test rows, and views may be left out.
        units: Units of columns of numbers, by column, as they are to be shown.
        name: Name of the data set.
        seed: Seed of the split into training and test rows.

    Returns:
        The data set; its ``rows`` are those of the frame in their order.

    Raises:
        DataError: If a column is unknown or stands twice, is neither of numbers nor of texts, or of texts among
            numbers; if a category is unknown; if texts are no classes, as nearly all of them differ.
        ModalityError: If columns stand in another order than the coordinates of a program's modalities.
        OptionError: If a kind is unknown, views are not by name, or units are of no column that is read.

    Example:
        >>> import pandas
        >>> frame = pandas.DataFrame({"sex": ["f", "m", None], "x": [0.5, 1.5, 2.5], "y": [2.5, 3.5, 4.5]})
        >>> data = from_pandas(frame, {"sex": "sex", "size": ["x", "y"]})
        >>> {n: (m.kind, m.shape) for n, m in data.modalities.items()}, data.rows.present["sex"].tolist()
        ({'sex': ('category', ()), 'size': ('vector', (2,))}, [True, True, False])
        >>> data.modalities["size"].coordinates
        ('x', 'y')
    """
    pandas = need("pandas", "tables")
    if not isinstance(frame, pandas.DataFrame):
        raise DataError(f"Expected a pandas.DataFrame; got a {type(frame).__name__}.")
    twice = frame.columns[frame.columns.duplicated()].tolist()
    if twice:
        raise DataError(f"Expected columns of different names; got {twice[0]!r} twice. Rename one.")
    label = LABEL if label is None and LABEL in frame.columns and frame.columns.nlevels == 1 else label
    said = said_of(covariates)
    views, left = views_by_name(frame, {label, *said}, modalities, kinds) if views is None else (views, [])
    if not isinstance(views, Mapping):
        raise OptionError(
            f"Expected views, columns by name of modality, such as {{'size': ['height', 'width']}}; got {views!r:.100}."
        )
    columns = {view: tuple(names) if isinstance(names, list | tuple) else (names,) for view, names in views.items()}
    others = [("Covariate", name, (name,)) for name in said] + ([] if label is None else [("Label", label, (label,))])
    for part, name_of, wanted in [*(("View", *pair) for pair in columns.items()), *others]:
        unknown = [c for c in wanted if c not in frame.columns]
        if unknown or not wanted:
            raise DataError(f"{part} '{name_of}': expected columns among {frame.columns.tolist()[:20]}; got {unknown}.")
    every = [c for wanted in columns.values() for c in wanted]
    twice = [c for i, c in enumerate(every) if c in every[:i]]
    if twice:
        raise DataError(f"Expected each column in one view; got {twice[0]!r} twice in views. Leave one out.")
    both = [c for c in said if c in every]
    if both:
        raise DataError(
            f"Expected covariates that are not modelled; got {both[0]!r} in a view as well, which it would tell. "
            "Leave one out."
        )
    arrays: dict[str, Any] = {}
    declared: dict[str, Modality] = {}
    kinds = {**_whole_kinds(frame, columns), **(kinds or {})} if modalities is None else kinds
    for view, wanted in columns.items():
        if len(wanted) == 1:
            column = frame[wanted[0]]
            arrays[view] = column_array(view, column)
            if isinstance(column.dtype, pandas.CategoricalDtype) and view not in (kinds or {}):
                names = tuple(map(str, column.dtype.categories))
                declared[view] = Modality((), kind="category", names=names)
        else:
            arrays[view] = _columns(view, frame, wanted)
    batch, found = batch_of(arrays, kinds=kinds, modalities=modalities, declared=declared, where=f"'{name}'")
    found = _with_names(found, columns, units)
    if label is not None:
        batch = batch.with_label(label_array(frame[label]))
    batch, known = with_covariates(batch, {name: column_array(name, frame[name]) for name in said}, said)
    dtypes = {view: tuple(type_of(frame[c]) for c in wanted) for view, wanted in columns.items()}
    label_beside = [] if label is None or label in every else [label]
    beside = {name: frame[name] for name in [*said, *left, *label_beside]}
    source = Source("pandas", frame.index, columns, dtypes, beside=beside, order=tuple(frame.columns))
    return Dataset.of_rows(name, found, batch, seed, source, split=modalities is None, covariates=known)


def to_pandas(
    values: Batch | Mapping[str, Any],
    data: Dataset,
    *,
    latents: Mapping[str, Any] | None = None,
    interval: float | None = None,
) -> Any:
    """Values as a data frame with the names, types and rows of the one that the data were read from.

    Arguments:
        values: A batch, values or draws, as in :func:`~mmppl.data.source.imputations`; ``{}`` for latents alone.
        data: The data set that :func:`from_pandas` made, or one read from a ``.npz``: columns of vectors and counts are
            then ``<name>/<coordinate>``, as :func:`from_pandas` reads them together, and images are left to
            :func:`~mmppl.data.write_npz`.
        latents: Latents by site, ``(..., N, D)``, such as ``infer(...).draws``; means over draws stand in columns
            ``<site> 0``, ``<site> 1``, ...
        interval: Level of central intervals of draws: columns ``<column> low`` and ``<column> high`` beside each.

    Returns:
        A ``pandas.DataFrame`` with columns in the order of that one; whole-number columns are rounded, categories are
        under their names, covariates, labels and what was left out as they were.

    Raises:
        DataError: Also if a latent has the name of a column.
        DataError, ModalityError, OptionError: As :func:`~mmppl.data.source.imputations`.

    Example:
        >>> import pandas
        >>> frame = pandas.DataFrame({"sex": ["f", "m", None], "x": [0.5, 1.5, 2.5]})
        >>> data = from_pandas(frame)
        >>> to_pandas(data.rows, data).equals(frame)
        True
        >>> to_pandas({"sex": np.array([0, 1, 1])}, data)["sex"].tolist()
        ['f', 'm', 'm']
    """
    pandas = need("pandas", "tables")
    if isinstance(data, Dataset) and data.source is None and data.rows is not None:
        data = replace(data, source=_source_of(data.rows, data.modalities, pandas))
    made = imputations(values, data, interval)
    source: Any = data.source
    out: dict[Any, Any] = {}
    for name, found in made.items():
        modality = data.modalities[name]
        for i, (column, dtype) in enumerate(zip(source.columns[name], source.dtypes[name], strict=True)):
            for end, part in _parts(found):
                if part is not None:
                    cells = part.reshape(len(part), -1)[:, i]
                    there = found.there if found.there.ndim == 1 else found.there.reshape(len(part), -1)[:, i]
                    key = _end_of(column, end)
                    kept = dtype if not end or modality.ids else np.dtype(float)
                    out[key] = series_of(cells, there, kept, modality, source.index)
    out = in_order(out | dict(source.beside), source.order)
    pairs = any(isinstance(column, tuple) for column in out)
    for site, z in latent_means(latents or {}, len(source.index)).items():
        for i in range(z.shape[1]):
            key = (site, str(i)) if pairs else f"{site} {i}"
            if key in out:
                raise DataError(f"Expected latents that no column is called as; got '{key}'. Rename the column.")
            out[key] = pandas.Series(z[:, i], index=source.index)
    return pandas.DataFrame(out, index=source.index)


def _source_of(rows: Batch, modalities: Mapping[str, Modality], pandas: Any) -> Source:
    """Columns for rows that were read from arrays: one for each coordinate of a vector or of counts."""
    columns, dtypes = {}, {}
    for name, m in modalities.items():
        if m.shape and (len(m.shape) > 1 or m.kind == "tokens"):
            continue
        names = m.coordinates or [str(i) for i in range(math.prod(m.shape))]
        columns[name] = (name,) if m.shape in ((), (1,)) and not m.coordinates else tuple(f"{name}/{i}" for i in names)
        dtype = np.asarray(rows[name]).dtype
        kept = np.dtype(object) if m.names else pandas.Int64Dtype() if dtype.kind in "iu" else dtype
        dtypes[name] = (kept,) * len(columns[name])
    index = pandas.RangeIndex(len(rows))
    known = dict(rows.covariates) if rows.label is None else {**rows.covariates, LABEL: rows.label}
    beside = {name: pandas.Series(np.asarray(x), index=index) for name, x in known.items()}
    order = (*(c for wanted in columns.values() for c in wanted), *beside)
    return Source("arrays", index, columns, dtypes, beside=beside, order=order)


def _with_names(found: Mapping[str, Modality], columns: Mapping[str, tuple], units: Any) -> dict[str, Modality]:
    """The modalities with names of columns as those of coordinates, and their units."""
    units = {} if units is None else units
    read = [c for wanted in columns.values() for c in wanted]
    if not isinstance(units, Mapping) or not set(units) <= set(read):
        raise OptionError(f"Expected units by column, of columns among {list(read)[:20]}; got {units!r:.100}.")
    out = {}
    for view, modality in found.items():
        own = tuple(units.get(c, "") for c in columns[view])
        unit = None if not any(own) else own if modality.shape else own[0]
        out[view] = with_columns(view, modality, names_of_columns(columns[view], view), unit)
    return out


def _end_of(column: Any, end: str) -> Any:
    """The name of a column of the ends of intervals of another; its own name for no end."""
    return column if not end else (*column, end) if isinstance(column, tuple) else f"{column} {end}"


def in_order(columns: Mapping[Any, Any], order: Sequence[Any]) -> dict[Any, Any]:
    """Columns in the order that a frame had, the ends of intervals beside their own.

    Example:
        >>> list(in_order({"b": 1, "b low": 2, "a": 3}, ("a", "b")))
        ['a', 'b', 'b low']
    """
    wanted = [_end_of(column, end) for column in order for end in ("", "low", "high")]
    return {key: columns[key] for key in dict.fromkeys(wanted) if key in columns}


def _parts(found: Imputation) -> tuple:
    return ("", found.value), ("low", found.low), ("high", found.high)


def _whole_kinds(frame: Any, columns: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Kinds of views of whole numbers with gaps, which an array has as floats: those that they have without."""
    pandas = need("pandas", "tables")
    out = {}
    for view, names in columns.items():
        types = [frame[c].dtype for c in names]
        whole = all(pandas.api.types.is_integer_dtype(t) for t in types)
        if whole and any(frame[c].isna().any() for c in names):
            known = [frame[c].dropna().to_numpy(dtype=np.int64) for c in names]
            if len(names) > 1 and min(x.min(initial=0) for x in known) >= 0:
                out[view] = "counts"
            elif len(names) == 1 and len(known[0]):
                out[view] = infer_modality(view, known[0])[2].kind
    return out


def column_array(view: str, column: Any) -> np.ndarray:
    """A column as an array: numbers, booleans, or objects with None for a missing text.

    Raises:
        DataError: If it is of something else, such as times.
    """
    pandas = need("pandas", "tables")
    missing = column.isna().to_numpy()
    kind = pandas.api.types.infer_dtype(column, skipna=True)
    if isinstance(column.dtype, pandas.CategoricalDtype):
        texts = column.cat.categories.map(str).to_numpy(dtype=object)
        return np.array([None if gone else texts[i] for i, gone in zip(column.cat.codes, missing, strict=True)], object)
    if kind == "string":
        return np.array([None if gone else str(x) for x, gone in zip(column, missing, strict=True)], object)
    if kind in ("boolean", "integer", "floating", "mixed-integer-float", "empty"):
        if missing.any():
            return np.asarray(column.to_numpy(dtype=float, na_value=np.nan))
        return np.asarray(column.to_numpy(dtype={"boolean": bool, "integer": np.int64}.get(kind, _float(column))))
    raise DataError(
        f"Column {column.name!r} for '{view}': expected numbers or texts; got {kind} ({column.dtype}). Make numbers of "
        "it, such as days since a date."
    )


def type_of(column: Any) -> Any:
    """The type of a column; of truth values with gaps, which pandas reads as objects, the one that has gaps."""
    pandas = need("pandas", "tables")
    truth = column.dtype == object and pandas.api.types.infer_dtype(column, skipna=True) == "boolean"
    return pandas.BooleanDtype() if truth else column.dtype


def _float(column: Any) -> Any:
    """The type of a column of floats: its own where it is numpy's."""
    return column.dtype if getattr(column.dtype, "kind", "") == "f" and isinstance(column.dtype, np.dtype) else float


def _columns(view: str, frame: Any, names: Sequence[Any]) -> np.ndarray:
    parts = [column_array(view, frame[c]) for c in names]
    texts = [c for c, part in zip(names, parts, strict=True) if part.dtype.kind == "O"]
    if texts:
        raise DataError(
            f"View '{view}': expected columns of numbers; got texts in {texts[:5]}. Make a view of its own of each."
        )
    return np.stack([p.astype(np.result_type(*(p.dtype for p in parts)), copy=False) for p in parts], axis=1)


def label_array(column: Any) -> np.ndarray:
    """A column of labels, none of which may be missing.

    Raises:
        DataError: If one is.
    """
    if column.isna().any():
        row = int(np.flatnonzero(column.isna())[0])
        raise DataError(f"Expected a label in every row; column {column.name!r} has none in row {row}.")
    values = np.array(column.to_numpy())  # pandas gives arrays that may not be written to, of which torch warns
    return np.array([str(x) for x in values]) if values.dtype.kind in "OU" else values


def series_of(cells: np.ndarray, there: np.ndarray, dtype: Any, modality: Modality, index: Any) -> Any:
    """Cells as a series of the type that their column had."""
    pandas = need("pandas", "tables")
    if modality.kind == "category" and modality.names is not None:
        names = modality.names
        if isinstance(dtype, pandas.CategoricalDtype):
            codes = np.where(there, cells.astype(int), -1)
            return pandas.Series(pandas.Categorical.from_codes(codes, dtype=dtype), index=index)
        texts = [names[int(i)] if here else None for i, here in zip(cells, there, strict=True)]
        # A column without a text in it may have been read as one of numbers.
        return pandas.Series(texts, index=index, dtype=object if getattr(dtype, "kind", "O") in "fiub" else dtype)
    if not isinstance(dtype, np.dtype) or dtype.kind == "O":
        whole = cells if getattr(dtype, "kind", "f") in "fO" else np.rint(cells).astype(np.int64)
        return pandas.Series(whole, index=index).astype(object).where(there, None).astype(dtype)
    if dtype.kind in "iub":
        return pandas.Series(np.rint(cells).astype(np.int64), index=index).astype(dtype)
    return pandas.Series(np.where(there, cells, np.nan), index=index).astype(dtype)
