"""Formulas as MathML, which browsers draw by themselves: no script is fetched."""

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)

# What docutils does not know, in what it does.
WORDS = {
    r"\dots": r"\ldots",
    r"\Big(": r"\left(",
    r"\Big)": r"\right)",
    r"\big(": "(",
    r"\big)": ")",
    r"\big[": "[",
    r"\big]": "]",
}
PLAIN = (r"\Big|", r"\Big", r"\big")


def mathml(text: str, *, block: bool) -> str:
    """A formula of LaTeX as an element ``math``; several lines stand below each other.

    A command that is not known is a warning of the build.
    """
    for before, after in WORDS.items():
        text = text.replace(before, after)
    for word in PLAIN:
        text = text.replace(word, "|" if word.endswith("|") else "")
    try:
        return str(latex2mathml.tex2mathml(text.strip(), as_block=block))
    except MathError as error:
        LOGGER.warning("%s in the formula %s", error, text)
        return ""


def visit_math(translator: Any, node: nodes.math) -> None:
    """Writes a formula within a line."""
    translator.body.append(mathml(node.astext(), block=False))
    raise nodes.SkipNode


def visit_math_block(translator: Any, node: nodes.math_block) -> None:
    """Writes a formula that stands by itself."""
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    for part in node.astext().split("\n\n"):
        translator.body.append(mathml(part, block=True))
    translator.body.append("</div>")
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Registers the renderer under the name ``mathml``."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
