"""Signatures and texts of the API as they are written, where autodoc or napoleon would make others of them."""

import inspect
import re
from typing import Any

from sphinx.util.inspect import signature, stringify_signature

ANY = "(*args"
COLON = re.compile(r": (?=[^`]*(?:`[^`]*`[^`]*)*$)")  # outside code
FRACTION = re.compile(r"\d\.\d{6,}")
NO_PYTHON = re.compile(r"<[^<>]*>")  # such as <factory>


def own_signature(app: Any, what: str, name: str, thing: Any, options: Any, found: str | None, returns: Any) -> Any:
    """The arguments of ``__init__`` of a class whose ``__new__`` takes any; dots for defaults that are no Python.

    Sphinx shortens and links the types of a signature that it can read, and of no other.
    """
    if what != "class" or not (found or "").startswith(ANY) or not inspect.isfunction(thing.__init__):
        return found and NO_PYTHON.sub("...", found), returns
    own = stringify_signature(signature(thing.__init__, bound_method=True), unqualified_typehints=True)
    return FRACTION.sub(lambda found: f"{float(found[0]):.4g}", own), returns


def whole_sentence(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """A dash for the first colon of a property's text, of which napoleon takes what precedes a colon for its type."""
    if what in ("property", "attribute") and lines:
        lines[0] = COLON.sub(" \N{EN DASH} ", lines[0], count=1)


def is_field(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out fields of a named tuple, which its arguments describe."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def setup(app: Any) -> dict[str, bool]:
    """Connects them, before napoleon."""
    app.connect("autodoc-process-signature", own_signature)
    app.connect("autodoc-process-docstring", whole_sentence, priority=400)
    app.connect("autodoc-skip-member", is_field)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
