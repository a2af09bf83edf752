"""`mmppl systems`."""

import inspect
import re
import textwrap
from typing import Annotated

import typer

from mmppl.cli.completion import complete_models

__all__ = ["plain", "systems"]


def systems(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A model, whose options are explained.", autocompletion=complete_models),
    ] = None,
) -> None:
    """List the models and their settings; explain one by its NAME."""
    from mmppl.models.catalogue import SYSTEMS, settings
    from mmppl.models.common.documented import references

    if name is not None:
        print(_explained(name))
        return
    for each, make in SYSTEMS.items():
        text = inspect.getdoc(make) or ""
        print(f"{each}: {text.splitlines()[0]}")
        for line in references(text):
            print(f"    {line}")
        for key, value in settings(each).items():
            if key == "covariates":
                print("    --covariates NAME,NAME:KIND")
                continue
            print(f"    --set {key}={str(value).lower() if isinstance(value, bool) else value}")
        print()


def _explained(name: str) -> str:
    """A model's papers, and each of its options with type, default, meaning and an example."""
    from mmppl.models.catalogue import SYSTEMS, options
    from mmppl.models.common.documented import references

    found = options(name)
    text = inspect.getdoc(SYSTEMS[name]) or ""
    lines = [f"{name}: {text.splitlines()[0]}", *(f"    {line}" for line in references(text)), "", "Options:"]
    for option in found:
        lines.append(f"  {option.name}: {option.kind}, default {option.default}")
        lines += textwrap.wrap(plain(option.text), 96, initial_indent="      ", subsequent_indent="      ")
        lines.append(f"      {option.example}" if option.example else "      From Python alone.")
    return "\n".join([*lines, "", f"mmppl fit --model {name} --data polydigits --backend numpyro --out runs/{name}"])


def plain(text: str) -> str:
    """The words of a docstring without its markup.

    Example:
        >>> plain("See :class:`~mmppl.batch.Modality`, or ``None``.")
        'See Modality, or None.'
    """
    text = re.sub(r":[a-z]+:`~?([^`]*)`", lambda found: _last(found[1]), text)
    return text.replace("``", "").replace("`", "")


def _last(said: str) -> str:
    return said if said.startswith("\\") or " " in said else said.rpartition(".")[2]
