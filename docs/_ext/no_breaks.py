"""Estimates of tables that stay on one line with their errors, however narrow the column."""

from typing import Any

from docutils import nodes
from sphinx.transforms import SphinxTransform

NO_BREAK = "\N{NO-BREAK SPACE}"


class NoBreaks(SphinxTransform):
    """Puts no-break spaces around ± in cells."""

    default_priority = 900

    def apply(self, **kwargs: Any) -> None:
        """Replaces the texts of cells."""
        for cell in self.document.findall(nodes.entry):
            for text in list(cell.findall(nodes.Text)):
                if " ± " in text and text.parent is not None:
                    text.parent.replace(text, nodes.Text(text.replace(" ± ", f"{NO_BREAK}±{NO_BREAK}")))


def setup(app: Any) -> dict[str, bool]:
    """Registers the transform."""
    app.add_transform(NoBreaks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
