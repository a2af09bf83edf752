"""A directive that documents every public name of a module, and the list of the modules that have any."""

import importlib
import inspect
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

MODULES = (
    "mmppl",
    "mmppl.numpyro",
    "mmppl.pyro",
    "mmppl.inference",
    "mmppl.inference.objectives",
    "mmppl.inference.kernels",
    "mmppl.models",
    "mmppl.data",
    "mmppl.diagnostics",
    "mmppl.metrics",
    "mmppl.nets",
    "mmppl.priors",
    "mmppl.sde",
    "mmppl.sde.solvers",
    "mmppl.aggregation",
    "mmppl.testing",
    "mmppl.errors",
)

SAID = {
    "KERNELS": "Kernels by the short names that functions and the command line take.",
    "SYSTEMS": "Systems by name.",
    "LEAST_ESS": "Effective sample size below which a normaliser is not to be trusted.",
    "__version__": "The version.",
}


def public(module: str) -> list[str]:
    """The public names of a module: its ``__all__``, or its own classes and functions."""
    found = importlib.import_module(module)
    if hasattr(found, "__all__"):
        return sorted(found.__all__, key=str.lower)
    return [n for n, x in vars(found).items() if getattr(x, "__module__", None) == module and not n.startswith("_")]


class PublicNames(SphinxDirective):
    """``{public-names} module``: a section of all its public names, each with its docstring."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The documented names."""
        module = self.arguments[0]
        lines = [f".. py:module:: {module}", ""]
        for name in public(module):
            value = getattr(importlib.import_module(module), name)
            lines += _entry(module, name, value)
        container = nodes.container()
        self.state.nested_parse(StringList(["````{eval-rst}", *lines, "````"], source=module), 0, container)
        return container.children


def _entry(module: str, name: str, value: Any) -> list[str]:
    """Lines that document a name, or lead to where it is documented."""
    home = next((m for m in MODULES if _stands_in(m, name, value)), module)
    if home != module:
        kind = "class" if inspect.isclass(value) else "function"
        return [f".. py:{kind}:: {name}", "", f"   See :py:obj:`{home}.{name}`.", ""]
    if inspect.isclass(value):
        return [f".. autoclass:: {module}.{name}", "   :members:", ""]
    if inspect.isroutine(value):
        return [f".. autofunction:: {module}.{name}", ""]
    said = f"The module ``{value.__name__}``." if inspect.ismodule(value) else SAID.get(name, "")
    return [f".. py:data:: {name}", "", f"   {said}", ""]


def _stands_in(module: str, name: str, value: Any) -> bool:
    """Tells whether a module of the list has the very same object, nearer to where it is defined."""
    own = getattr(value, "__module__", "") or ""
    return (
        own.startswith(f"{module}.")
        and module != "mmppl"
        and getattr(importlib.import_module(module), name, None) is value
    )


def setup(app: Any) -> dict[str, bool]:
    """Registers the directive."""
    app.add_directive("public-names", PublicNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
