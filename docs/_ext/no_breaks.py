"""Texts that are not torn apart by the end of a line: numbers and their errors, code and the stop behind it."""

import re
from typing import Any

from docutils import nodes
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform

LONGEST = 24  # of a text that is kept on a line
FORMULA = 96  # of the LaTeX of a formula that is, which is drawn in half as many letters
NUMBER = re.compile(r"[-+]?\d")
STOPS = tuple(".,;:)]?!")
NO_BREAK = "\N{NO-BREAK SPACE}"


def kept_together(text: str) -> nodes.Node:
    """A short text that begins with a number as one that is not broken; of others an estimate and its error.

    Example:
        >>> kept_together("-2.493 (not trusted)")["classes"], kept_together("of 3 rows").astext()
        (['kept'], 'of 3 rows')
    """
    if NUMBER.match(text) and len(text) <= LONGEST:
        return nodes.inline(text, text, classes=["kept"])
    return nodes.Text(text.replace(" ± ", f"{NO_BREAK}±{NO_BREAK}"))


def mark_stop(code: nodes.literal) -> None:
    """Gives code, a link or not, a class where a stop follows: its last word stays with it, whole or its end.

    Example:
        >>> line = nodes.paragraph("", "", nodes.literal("", "--data"), nodes.Text(", or none"))
        >>> mark_stop(line[0])
        >>> line[0]["classes"]
        ['stopped']
    """
    whole: nodes.Node = code
    while isinstance(whole.parent, nodes.reference) and len(whole.parent) == 1:
        whole = whole.parent
    behind = whole.next_node(descend=False, siblings=True)
    if isinstance(behind, nodes.Text) and behind[:1] in STOPS:
        long = len(code.astext().split()[-1]) > LONGEST
        code["classes"] += ["stopped", "long"] if long else ["stopped"]


def keep_stop(formula: nodes.math) -> None:
    """Puts a formula that fits on a line, and the stop behind it, into one text.

    Example:
        >>> line = nodes.paragraph("", "", nodes.math("", "a + b"), nodes.Text(". So"))
        >>> keep_stop(line[0])
        >>> line[0]["classes"], line[0].astext(), line[1].astext()
        (['whole'], 'a + b.', ' So')
    """
    line, behind = formula.parent, formula.next_node(descend=False, siblings=True)
    if not isinstance(behind, nodes.Text) or behind[:1] not in STOPS or len(formula.astext()) > FORMULA:
        return
    place = line.index(formula)
    line[place + 1] = nodes.Text(behind[1:])
    line[place] = nodes.inline("", "", formula, nodes.Text(behind[0]), classes=["whole"])


class NoBreaks(SphinxTransform):
    """Keeps numbers in cells together."""

    default_priority = 900

    def apply(self, **kwargs: Any) -> None:
        """Replaces the texts of cells."""
        for cell in self.document.findall(nodes.entry):
            for text in list(cell.findall(nodes.Text)):
                if text.parent is not None and not isinstance(text.parent, nodes.literal):
                    text.parent.replace(text, kept_together(text.astext()))


class NoLoneStops(SphinxPostTransform):
    """Keeps a stop with the code or formula before it, once references are links."""

    default_priority = 700

    def run(self, **kwargs: Any) -> None:
        """Looks at every code and formula."""
        for code in list(self.document.findall(nodes.literal)):
            mark_stop(code)
        for formula in list(self.document.findall(nodes.math)):
            keep_stop(formula)


def setup(app: Any) -> dict[str, bool]:
    """Registers the transforms."""
    app.add_transform(NoBreaks)
    app.add_post_transform(NoLoneStops)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
