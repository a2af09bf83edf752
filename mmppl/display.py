"""Objects that show themselves: short texts, and tables, curves and thumbnails for notebooks; never arrays."""

import base64
import html
import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

__all__ = [
    "Shown",
    "Tabled",
    "as_numpy",
    "brief",
    "columns",
    "curve",
    "figure",
    "limited",
    "number",
    "page",
    "plain",
    "plain_repr",
    "table",
    "thumbnails",
]

LINES, CHARACTERS = 36, 3600  # of a text
ROWS = 24  # of a table
WIDTH, CELL = 116, 40
POINTS = 240  # of a curve
STYLE = (
    "<style>.mmppl table{border-collapse:collapse;margin:.4em 0}.mmppl td,.mmppl th{padding:.15em .7em;text-align:left;"
    "vertical-align:top}.mmppl .bad{color:#b3261e}.mmppl .good{color:#1b7f3b}.mmppl small{opacity:.7}"
    ".mmppl img{height:28px;margin:1px;image-rendering:pixelated}</style>"
)


class Shown:
    """Mixin of distributions: what they are and the shapes of their draws, in place of arrays or an address."""

    def __repr__(self) -> str:
        shapes = f"batch_shape={tuple(self.batch_shape)}, event_shape={tuple(self.event_shape)}"  # type: ignore[attr-defined]
        return f"{type(self).__name__}({shapes})"

    def _repr_html_(self) -> str:
        rows = [(f"{part} shape", str(tuple(getattr(self, f"{part}_shape")))) for part in ("batch", "event")]
        return page(type(self).__name__, table(("", ""), rows))


class Tabled:
    """Mixin of objects that are a title, ``_title()``, and rows of texts below their header, ``_rows()``."""

    def __repr__(self) -> str:
        rows = columns(self._rows())  # type: ignore[attr-defined]
        return limited([self._title(), *(f"  {line}" for line in rows)])  # type: ignore[attr-defined]

    def _repr_html_(self) -> str:
        header, *rows = self._rows()  # type: ignore[attr-defined]
        return page(self._title(), table(header, rows))  # type: ignore[attr-defined]


def plain_repr(thing: Any) -> str:
    """A class with those of its attributes that are numbers, texts or truth values.

    Example:
        >>> class Heun:
        ...     def __init__(self):
        ...         self.steps, self.table = 19, np.zeros(3)
        >>> plain_repr(Heun())
        'Heun(steps=19)'
    """
    said = {k: v for k, v in vars(thing).items() if not k.startswith("_") and isinstance(v, bool | int | float | str)}
    return f"{type(thing).__name__}({', '.join(f'{k}={brief(v)}' for k, v in said.items())})"


def plain(value: Any) -> str:
    """repr without a memory address, which differs between processes: the name, or that of the type.

    Example:
        >>> plain(0.1), plain(len), plain(object())
        ('0.1', 'len', 'object')
    """
    said = repr(value)
    named = callable(value) and said.startswith("<")
    return getattr(value, "__qualname__", type(value).__qualname__) if named or " at 0x" in said else said


def brief(value: Any) -> str:
    """The same for people: long fractions with four digits.

    Example:
        >>> brief(5 / 6), brief(20.0), brief(0.00125), brief("heun")
        ('0.8333', '20.0', '0.00125', "'heun'")
    """
    return f"{value:.4g}" if isinstance(value, float) and len(repr(value)) > 8 else plain(value)


def number(value: float) -> str:
    """A number in four digits, without an exponent where people write none.

    Example:
        >>> number(10213.4), number(-3.14159), number(2.5e-7), number(4.2e12)
        ('10213', '-3.142', '2.5e-07', '4.2e+12')
    """
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def as_numpy(value: Any) -> np.ndarray | None:
    """An array of any host as numpy's; None of one that is being traced, which has no values."""
    try:
        return np.asarray(value)
    except (TypeError, RuntimeError):
        return None


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table in columns, without those in the middle where there are many.

    Example:
        >>> columns([("name", "kind"), ("ink", "image")])
        ['name  kind', 'ink   image']
    """
    texts = [tuple(map(str, row)) for row in rows]
    widths = [min(CELL, max(map(len, column))) for column in zip(*texts, strict=True)]
    if widths:  # the last column has what is left of the line
        widths[-1] = max(CELL, WIDTH - 2 * len(widths) - sum(widths[:-1]))
    lines = ["  ".join(_cut(c, w).ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in texts]
    return lines if len(lines) <= ROWS else [*lines[:ROWS], f"... and {len(lines) - ROWS} more"]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def limited(lines: Iterable[str]) -> str:
    """The text of lines, cut where it is long.

    Example:
        >>> limited(str(i) for i in range(100)).splitlines()[-1]
        '... and 64 lines more'
    """
    found: list[str] = []
    for line in (line for text in lines for line in text.splitlines() or [""]):
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        found += (
            textwrap.wrap(line, WIDTH, subsequent_indent=indent, drop_whitespace=True) if len(line) > WIDTH else [line]
        )
    kept, size = [], 0
    for line in found[:LINES]:
        size += len(line.encode()) + 1
        if size > CHARACTERS:
            break
        kept.append(line)
    rest = len(found) - len(kept)
    return "\n".join([*kept, f"... and {rest} lines more"] if rest else kept)


def page(title: str, *parts: str) -> str:
    """A page of a notebook: a title, and parts of HTML below it."""
    return f'{STYLE}<div class="mmppl"><b>{html.escape(title)}</b>{"".join(parts)}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table of HTML; cells are texts, which are escaped, or ``("html", text)``."""
    every = list(rows)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(c)}</td>' for c in row)}</tr>" for row in every[:ROWS])
    more = f"<small>and {len(every) - ROWS} more</small>" if len(every) > ROWS else ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(cell: Any) -> str:
    if isinstance(cell, tuple) and len(cell) == 2 and cell[0] == "html":
        return str(cell[1])
    text = str(cell).replace(" ± ", "\u00a0±\u00a0")  # an error stays on the line of its estimate
    return html.escape(text if len(text) <= 200 else f"{text[:197]}...")


def curve(series: Mapping[str, Any], *, width: int = 240, height: int = 56) -> str:
    """Curves over epochs as a small SVG, training dark and what is held out pale, with the first and last value."""
    shown = {name: np.asarray(values, float) for name, values in series.items()}
    finite = np.concatenate([x[np.isfinite(x)] for x in shown.values()] or [np.zeros(0)])
    if not finite.size:
        return ""
    low, high = float(finite.min()), float(finite.max())
    span = (high - low) or 1.0
    lines = []
    for (name, values), colour in zip(shown.items(), ("#1f4e79", "#c8553d"), strict=False):
        where = np.flatnonzero(np.isfinite(values))
        where = (
            where[np.unique(np.linspace(0, len(where) - 1, min(len(where), POINTS)).astype(int))]
            if len(where)
            else where
        )
        x = 4 + (width - 8) * where / max(1, len(values) - 1)
        y = 4 + (height - 8) * (high - values[where]) / span
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        title = (
            f"<title>{html.escape(name)}: {number(values[where[0]])} to {number(values[where[-1]])}</title>"
            if len(where)
            else ""
        )
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}">{title}</polyline>')
    return f'<svg width="{width}" height="{height}" role="img">{"".join(lines)}</svg>'


def figure(width: float, height: float) -> Any:
    """A figure of matplotlib, in inches, that a notebook shows where it is returned, without pyplot."""
    return _pictures()(figsize=(width, height), layout="constrained")


@cache
def _pictures() -> Any:
    from matplotlib.figure import Figure

    class Picture(Figure):
        """A figure that shows itself."""

        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png", dpi=96)
            return file.getvalue()

    return Picture


def thumbnails(value: Any, there: Any, most: int = 6) -> str:
    """The first images of an array ``(N, C, H, W)`` that are there, as PNG; empty of anything else."""
    images, mask = as_numpy(value), as_numpy(there)
    fits = images is not None and images.ndim == 4 and images.shape[1] in (1, 3) and max(images.shape[2:]) <= 256
    if not fits or images is None or mask is None or mask.ndim != 1 or images.dtype.kind not in "fu":
        return ""
    from PIL import Image

    out = []
    for image in images[np.flatnonzero(mask)[:most]]:
        scaled = image if image.dtype == np.uint8 else (255 * np.clip(np.nan_to_num(image), 0, 1)).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(scaled[0] if len(scaled) == 1 else np.moveaxis(scaled, 0, -1)).save(file, "PNG")
        out.append(f'<img alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">')
    return "".join(out)
