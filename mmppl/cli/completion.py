"""Completion of names in a shell: models, data, hosts, and options of the model that the line names."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mmppl.models.catalogue import Option

__all__ = ["complete_data", "complete_models", "complete_settings", "complete_words"]


def complete_models(incomplete: str) -> list[str]:
    """Names of models that begin so.

    Example:
        >>> complete_models("mmv")
        ['mmvae', 'mmvae_plus']
    """
    from mmppl.models.catalogue import SYSTEMS

    return [name for name in SYSTEMS if name.startswith(incomplete)]


def complete_data(incomplete: str) -> list[str]:
    """Names of data that begin so; files are the shell's.

    Example:
        >>> complete_data("lin")
        ['linear_gaussian']
    """
    from mmppl.data.loading import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


def complete_words(*words: str) -> Callable[[str], list[str]]:
    """Completion to one of a few words.

    Example:
        >>> complete_words("numpyro", "pyro")("p")
        ['pyro']
    """

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def complete_settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """Settings ``key=`` that begin so, of the fit and of the model that the line names, and values of a key."""
    from mmppl.cli.options import FIT_SETTINGS
    from mmppl.models.catalogue import SYSTEMS, options

    model = ctx.params.get("model")
    own = {o.name: o for o in options(model) if o.name != "covariates"} if model in SYSTEMS else {}
    key, equals, _ = incomplete.partition("=")
    if not equals:
        return [f"{name}=" for name in [*own, *FIT_SETTINGS] if name.startswith(incomplete)]
    values = {"schedule": ["cosine", "constant"]} | {name: _values(option) for name, option in own.items()}
    return [word for value in values.get(key, ()) if (word := f"{key}={value}").startswith(incomplete)]


def _values(option: "Option") -> list[str]:
    """The values of an option that its description names, the default first."""
    if option.kind.startswith("true or false"):
        return ["true", "false"]
    named = re.findall(r'"(\w+)"', option.text) if option.kind.startswith("text") else []
    return list(dict.fromkeys([option.default, *named]))
