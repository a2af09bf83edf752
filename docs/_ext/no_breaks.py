"""Numbers in tables that stay on one line with their errors and remarks, however narrow the column."""

import re
from typing import Any

from docutils import nodes
from sphinx.transforms import SphinxTransform

LONGEST = 24  # of a text that is kept on a line
NUMBER = re.compile(r"[-+]?\d")
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


class NoBreaks(SphinxTransform):
    """Keeps numbers in cells together."""

    default_priority = 900

    def apply(self, **kwargs: Any) -> None:
        """Replaces the texts of cells."""
        for cell in self.document.findall(nodes.entry):
            for text in list(cell.findall(nodes.Text)):
                if text.parent is not None and not isinstance(text.parent, nodes.literal):
                    text.parent.replace(text, kept_together(text.astext()))


def setup(app: Any) -> dict[str, bool]:
    """Registers the transform."""
    app.add_transform(NoBreaks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
