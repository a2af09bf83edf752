"""Formulas as MathML, which browsers draw by themselves: no script is fetched."""

import re
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
# Halves without braces, which docutils reads as twelve over what follows: \\tfrac12 \\beta.
DIGITS = re.compile(r"\\(t|d)?frac\s*(\d)\s*(\d|[A-Za-z](?![A-Za-z]))")
PLAIN = (r"\Big|", r"\Big", r"\big")
# A brace by itself, which would grow to the height of the whole line.
BRACE = re.compile(r"<mo>([{}])</mo>")
# A letter with an index and an accent, which docutils sets below and above it: \tilde z_m.
ACCENTED = re.compile(
    r"<munderover>(\s*<mi[^>]*>[^<]*</mi>)((?:\s*<(m[ino])>[^<]*</\3>)|\s*<mrow>(?:(?!<mrow>).)*?</mrow>)"
    r'(\s*<mo stretchy="false">[^<]</mo>\s*)</munderover>',
    re.DOTALL,
)


def mathml(text: str, *, block: bool) -> str:
    r"""A formula of LaTeX as an element ``math``; several lines stand below each other.

    A command that is not known is a warning of the build.

    Example:
        >>> '<msub><mover accent="true">' in mathml(r"\tilde z_m", block=False)
        True
        >>> mathml(r"\tfrac12 g", block=False) == mathml(r"\tfrac{1}{2} g", block=False)
        True
    """
    text = DIGITS.sub(r"\\\1frac{\2}{\3}", text)
    for before, after in WORDS.items():
        text = text.replace(before, after)
    for word in PLAIN:
        text = text.replace(word, "|" if word.endswith("|") else "")
    try:
        found = str(latex2mathml.tex2mathml(text.strip(), as_block=block))
        found = found.replace("\u29f5", "\u2216")  # a set without another, which more fonts have
        if r"\left" not in text and "cases" not in text:
            found = BRACE.sub(r'<mo stretchy="false">\1</mo>', found)
        return ACCENTED.sub(r'<msub><mover accent="true">\1\4</mover>\2</msub>', found)
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
