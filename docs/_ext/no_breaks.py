"""Numbers in tables that stay on one line with their errors and remarks, however narrow the column."""

import re
from typing import Any

from docutils import nodes
from sphinx.transforms import SphinxTransform

LONGEST = 24  # of a text that is kept on a line
NUMBER = re.compile(r"[-+]?\d")
NO_BREAK = "\N{NO-BREAK SPACE}"


def kept_together(text: str) -> str:
    r"""A short text that begins with a number, without places to break it; ± never parts.

    Example:
        >>> kept_together("0.25 (a+c)") == "0.25\xa0(a+c)", kept_together("of 3 rows")
        (True, 'of 3 rows')
    """
    if NUMBER.match(text) and len(text) <= LONGEST:
        return text.replace(" ", NO_BREAK)
    return text.replace(" ± ", f"{NO_BREAK}±{NO_BREAK}")


class NoBreaks(SphinxTransform):
    """Keeps numbers in cells together."""

    default_priority = 900

    def apply(self, **kwargs: Any) -> None:
        """Replaces the texts of cells."""
        for cell in self.document.findall(nodes.entry):
            for text in list(cell.findall(nodes.Text)):
                kept = kept_together(text)
                if kept != text and text.parent is not None:
                    text.parent.replace(text, nodes.Text(kept))


def setup(app: Any) -> dict[str, bool]:
    """Registers the transform."""
    app.add_transform(NoBreaks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
