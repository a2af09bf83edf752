"""The report's page: its style, and the few elements it is made of. Nothing is loaded from elsewhere."""

import re
from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["across", "box", "chart", "facts", "grid", "page", "paragraph", "ranked", "section", "table"]

WIDEST = 1.35  # pixels of a chart for each of its points, so that texts of all charts are of like size
SIDE_BY_SIDE = 6  # columns of estimates
LONG = 48  # characters of a cell that takes several lines

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1c2330; --soft: #5a6475; --line: #d9dee7; --panel: #f5f7fa;
  --first: #1f5fbf; --second: #c2571a; --wrong: #b3261e; --right: #1b7f3b; }
@media (prefers-color-scheme: dark) { :root { --ground: #14181f; --text: #e6e9ef; --soft: #a3adbd; --line: #343c4a;
  --panel: #1c222c; --first: #7fb2ff; --second: #ff9f68; --wrong: #ff8a80; --right: #7ddc98; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 68rem; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .5rem 0; max-width: 44rem; }
.lead, .note, caption, figcaption { color: var(--soft); }
.note, caption, figcaption { font-size: .875rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; margin: 1rem 0 0; list-style: none; }
a { color: var(--first); }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .3rem 1.25rem; margin: 1rem 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.box { overflow-x: auto; width: fit-content; max-width: 100%; margin: .75rem 0; border: 1px solid var(--line);
  border-radius: .5rem; }
.box:focus-visible { outline: 2px solid var(--first); outline-offset: 2px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .5rem .75rem; }
th, td { padding: .4rem .75rem; text-align: right; border-top: 1px solid var(--line); max-width: 28rem;
  overflow-wrap: anywhere; }
td:has(.long) { text-align: left; }
td:not(:has(.long)) { overflow-wrap: normal; }
th { font-weight: 600; overflow-wrap: normal; }
tbody th { text-align: left; position: sticky; left: 0; background: var(--panel); }
thead > tr > :first-child { position: sticky; left: 0; text-align: left; background: var(--panel); }
thead th { background: var(--panel); }
.grid td, .grid thead th { padding: .25rem; text-align: center; }
.grid tr.given td, .grid tr.given th { background: var(--panel); }
.grid img { display: block; margin: auto; }
.pixels { width: 4rem; height: 4rem; object-fit: contain; image-rendering: pixelated; }
.strip { width: 4rem; height: 1.5rem; image-rendering: pixelated; }
.word { font-family: ui-monospace, Menlo, Consolas, monospace; padding: 0 .25rem; }
.grid .word { font-size: .8rem; }
.numbers { display: block; white-space: nowrap; font-size: .875rem; font-variant-numeric: tabular-nums; }
.numbers small { color: var(--soft); font-size: inherit; }
.told { padding: 0; margin: .75rem 0; list-style: none; max-width: 44rem; }
.told li { margin: .4rem 0; padding: .4rem .75rem; border-left: .3rem solid var(--line); background: var(--panel); }
.told .wrong { border-color: var(--wrong); }
.told .wrong b { color: var(--wrong); }
.told .slight { border-color: var(--second); }
.told .slight b { color: var(--second); }
.told .right { border-color: var(--right); }
.told .right b { color: var(--right); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .5rem; border: 1px solid var(--line); border-radius: .5rem; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; margin: auto; }
figure.wide { max-width: 44rem; }
figcaption { padding: 0 .25rem .25rem; }
/* On a phone a row of a table is a card, each cell behind its column's name, and pictures stand five to a line. */
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
  .box { width: auto; } .box table, .box caption, .box tbody { display: block; }
  .box tr { display: grid; border-top: 1px solid var(--line); padding: .25rem .5rem; }
  .box thead { display: none; }
  .box td, .box tbody th { display: block; border: 0; padding: .1rem 0; text-align: left; }
  .box tbody th { position: static; background: none; }
  .plain td { display: flex; justify-content: space-between; gap: 1rem; }
  .plain td::before { content: attr(data-label); color: var(--soft); flex: none; max-width: 60%; }
  .plain td:has(.long) { display: block; } .plain td:has(.long)::before { content: attr(data-label) ": "; }
  .grid tr { grid-template-columns: repeat(5, minmax(0, 1fr)); gap: .25rem; } .grid tbody th { grid-column: 1 / -1; }
  .grid td { text-align: center; } .grid td .word { padding: 0; font-size: .8rem; }
  .pixels, .strip { width: 100%; } .pixels { height: auto; aspect-ratio: 1; } }
@media print { .box { overflow: visible; } nav { display: none; } }
"""


def page(title: str, lead: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """A whole page of sections ``(id, heading, content)``."""
    links = "".join(f'<li><a href="#{key}">{escape(heading)}</a></li>' for key, heading, _ in sections)
    body = "\n".join(section(*parts) for parts in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n<body>\n'
        f'<header>\n<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n</header>\n<main>\n{body}\n</main>\n</body>\n</html>\n'
    )


def section(key: str, heading: str, content: str) -> str:
    """A section with its heading."""
    return f'<section aria-labelledby="{key}">\n<h2 id="{key}">{escape(heading)}</h2>\n{content}\n</section>'


def paragraph(text: str, kind: str = "note") -> str:
    """A paragraph of plain text."""
    return f'<p class="{kind}">{escape(text)}</p>'


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """A list of names and what they are."""
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in pairs) + "</dl>"


def ranked(rows: Iterable[tuple[str, str, str]]) -> str:
    """A list of findings: each ``"wrong"``, ``"slight"``, ``"right"`` or ``""``, what it is called, and the words."""
    items = (f'<li class="{kind}"><b>{escape(name)}</b> {escape(text)}</li>' for kind, name, text in rows)
    return f'<ul class="told">{"".join(items)}</ul>'


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain texts, each row headed by its first cell."""
    lines = [
        "<tr>" + _head(row[0]) + "".join(_cell(c, h) for c, h in zip(row[1:], header[1:], strict=True)) + "</tr>"
        for row in rows
    ]
    return box(caption, _columns(header) + "<tbody>" + "".join(lines) + "</tbody>", "plain")


def across(caption: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of measures, each before its values by name; turned where names are too many to stand side by side.

    Example:
        >>> across("Accuracy", list("abcdefg"), [["of draws", *"1234567"]]).count("<tr>")
        8
    """
    if len(names) <= SIDE_BY_SIDE:
        return table(caption, ["", *names], rows)
    header, *turned = zip(*rows, strict=True)
    return table(caption, ["", *header], [[name, *cells] for name, cells in zip(names, turned, strict=True)])


def grid(caption: str, header: Sequence[str], rows: Iterable[tuple[str, Sequence[str], bool]]) -> str:
    """A table of ready HTML cells: rows of a head, the cells, and whether they were given."""
    lines = []
    for head, cells, given in rows:
        mark = ' class="given"' if given else ""
        lines.append(f"<tr{mark}>{_head(head)}" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>")
    return box(caption, _columns(header) + "<tbody>" + "".join(lines) + "</tbody>", "grid")


def chart(svg: str, what: str, caption: str, kind: str = "") -> str:
    """An inline SVG with a description and a caption."""
    found = re.search(r'viewBox="0 0 ([\d.]+) ', svg)
    size = f' style="max-width: {WIDEST * float(found[1]):.0f}px"' if found else ""
    marked = svg.replace("<svg", f'<svg role="img" aria-label="{escape(what)}"{size}', 1)
    mark = f' class="{kind}"' if kind else ""
    return f"<figure{mark}>{marked}<figcaption>{escape(caption)}</figcaption></figure>"


def box(caption: str, content: str, kind: str = "") -> str:
    """A table that scrolls inside its own box, by keyboard too."""
    mark = f' class="{kind}"' if kind else ""
    return (
        f'<div class="box" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f"<table{mark}><caption>{escape(caption)}</caption>{content}</table></div>"
    )


def _cell(text: str, column: str) -> str:
    """A cell that knows its column, for narrow pages; a text that takes several lines begins at the left."""
    text = text.replace(" ± ", "\u00a0±\u00a0")
    inside = escape(text) if len(text) <= LONG else f'<span class="long">{escape(text)}</span>'
    return f'<td data-label="{escape(column)}">{inside}</td>'


def _columns(header: Sequence[str]) -> str:
    cells = "".join(f'<th scope="col">{escape(h)}</th>' if h else "<td></td>" for h in header)
    return f"<thead><tr>{cells}</tr></thead>"


def _head(text: str) -> str:
    return f'<th scope="row">{escape(text)}</th>'
