"""Views of a data frame where nobody says them: columns together by their names, and those that are no data."""

import re
from collections.abc import Container, Mapping
from shlex import quote
from typing import Any

from mmppl.data.optional import need
from mmppl.errors import DataError, DataWarning
from mmppl.modality import Modality
from mmppl.names import TAKEN, allowed
from mmppl.warn import warn

__all__ = ["views_by_name"]

SEPARATOR = "/"
# Rows from which on texts that all differ are taken for names of rows.
ROWS = 20
# Texts that are dates, of which there are more than so many different ones, are no categories.
DATES = 20
DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?|\d{4}/\d{1,2}/\d{1,2}( .*)?|\d{1,2}([./-])\d{1,2}\3\d{2,4}( .*)?")


def views_by_name(
    frame: Any,
    others: Container,
    modalities: Mapping[str, Modality] | None,
    kinds: Mapping[str, str] | None = None,
) -> tuple[dict, list]:
    """Columns by view: ``view/column``, or of two levels, together, any other column by itself.

    A ``/`` in brackets, as of a unit, parts nothing. Where a column's name is none that a modality can have, its view
    has the nearest that is. Texts of which each row has another, such as the numbers of patients, are names of rows and
    no view, nor are dates, which is said, unless they are said to be a category.

    Arguments:
        frame: The data frame.
        others: Columns that are something else, such as labels.
        modalities: Those of a program that the rows are for.
        kinds: Kinds by view, where they are said.

    Returns:
        Columns by view, and the columns that are left out.

    Raises:
        DataError: If columns of different names would have one.

    Example:
        >>> import pandas
        >>> frame = pandas.DataFrame({"glucose, fasting": [5.1, 4.9], "bp/sys": [120, 130], "bp/dia": [80, 85]})
        >>> views_by_name(frame, (), None)[0]
        {'glucose fasting': ['glucose, fasting'], 'bp': ['bp/sys', 'bp/dia']}
        >>> views_by_name(pandas.DataFrame({"glucose (mg/dl)": [90.0]}), (), None)[0]
        {'glucose (mg dl)': ['glucose (mg/dl)']}
    """
    out: dict[str, list] = {}
    left: dict[Any, str] = {}
    dates: dict[Any, str] = {}
    heads: dict[str, Any] = {}
    for column in frame.columns:
        if column in others:
            continue
        head = column[0] if isinstance(column, tuple) else column
        head = str(head) if isinstance(column, tuple) else _before(str(head))
        view = _named(head)
        if heads.setdefault(view, head) != head:
            raise DataError(
                f"Expected columns that can be told apart as modalities; got {heads[view]!r} and {head!r}, both "
                f"'{view}'. Rename one."
            )
        wanted = (kinds or {}).get(view) == "category" if modalities is None else view in modalities
        if not wanted and _dates(frame[column], DATES if modalities is None else 0):
            dates[column] = view
            continue
        if not wanted and _names_rows(frame[column], ROWS if modalities is None else 0):
            left[column] = view
            continue
        out.setdefault(view, []).append(column)
    if left and modalities is None:
        name = next(iter(left.values()))
        warn(
            f"Columns {list(left)} have another text in each row and are left out, as names of rows. To model one, say "
            f"its kind, such as kinds={{{name!r}: 'category'}} (--set {quote(f'kind={name}:category')}).",
            DataWarning,
        )
    if dates and modalities is None:
        warn(
            f"Columns {list(dates)} hold dates and are left out. To model one, or to condition on it, make numbers of "
            "it, such as days since the first: dates = pandas.to_datetime(frame[column]); frame[column] = (dates - "
            "dates.min()).dt.days.",
            DataWarning,
        )
    return out, [column for column in frame.columns if column in left or column in dates]


def _before(column: str) -> str:
    """The beginning of a column's name before the first separator outside brackets: all of ``glucose (mg/dl)``."""
    found = re.match(rf"(?:\([^()]*\)|\[[^\[\]]*\]|[^{SEPARATOR}])*", column)
    return found[0] if found else column


def _named(head: str) -> str:
    """The nearest name that a modality can have; one that can be stays."""
    if allowed(head):
        return head
    name = re.sub(r"[\\,+$/]|[^ -~\w]", " ", head)
    name = re.sub(r"\.{2,}", ".", " ".join(name.split())).strip(" ._") or "column"
    return name if name not in TAKEN and allowed(name) else f"{name} column"


def _names_rows(column: Any, least: int) -> bool:
    """Tells whether a column has another text in each row, of so many rows at least."""
    if len(column) < least:
        return False
    texts = need("pandas", "tables").api.types.infer_dtype(column, skipna=True) == "string"
    return bool(texts and column.notna().all() and column.is_unique)


def _dates(column: Any, least: int) -> bool:
    """Tells whether a column is of times, or of texts that are dates, of which more than so many differ."""
    pandas = need("pandas", "tables")
    kind = pandas.api.types.infer_dtype(column, skipna=True)
    if kind in ("datetime64", "datetime", "date", "timedelta64", "timedelta", "period"):
        return True
    known = column.dropna().unique() if kind == "string" else []
    return len(known) > least and all(DATE.fullmatch(str(x).strip()) for x in known)
