"""Options that several commands have, and `--set key=value`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mmppl.errors import OptionError, RunError

__all__ = [
    "FIT_SETTINGS",
    "Force",
    "RunFolder",
    "Seed",
    "new_file",
    "parse_covariates",
    "parse_kinds",
    "parse_settings",
    "parse_values",
    "path_of",
]


def path_of(text: str) -> Path:
    """A path of the command line, where an empty text would stand for the folder that one is in.

    Example:
        >>> path_of("a.npz").suffix
        '.npz'
    """
    if not text.strip() or "\0" in text:
        raise typer.BadParameter(f"expected a path; got {text!r}.")
    return Path(text)


RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder written by 'mmppl fit'.", parser=path_of)]
Seed = Annotated[int, typer.Option(help="Random seed; the same seed gives the same result.", min=0)]
Force = Annotated[bool, typer.Option("--force", help="Replace an output that exists.")]

# What --set may change beside the options of the model: the type, and whether "none" is a value.
FIT_SETTINGS: dict[str, tuple[type, bool]] = {
    "batch_size": (int, False),
    "learning_rate": (float, False),
    "ema": (float, False),
    "clip": (float, True),
    "schedule": (str, False),
}
WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def parse_settings(pairs: Sequence[str], model: str, defaults: dict[str, Any]) -> tuple[dict, dict]:
    """Splits ``key=value`` texts into options of the model and settings of ``fit``, each in its option's type.

    Arguments:
        pairs: The texts.
        model: Name of the model, for messages.
        defaults: The options of the model with their defaults, whose types the values take.

    Raises:
        OptionError: If a text has no ``=``, the key is unknown, or the value is of another type or negative.

    Example:
        >>> parse_settings(["latent_dim=8", "tilt=no", "clip=5"], "ebm", {"latent_dim": 24, "tilt": True})
        ({'latent_dim': 8, 'tilt': False}, {'clip': 5.0})
        >>> parse_settings(["likelihood=ink:beta,word:categorical"], "mvae", {"likelihood": {}})[0]
        {'likelihood': {'ink': 'beta', 'word': 'categorical'}}
        >>> [parse_settings([f"reduce={text}"], "mld", {"reduce": None})[0]["reduce"] for text in ("0.1", "none")]
        [0.1, None]
        >>> parse_settings(["likelihood=poisson", "scale=2"], "mvae", {"likelihood": {}, "scale": {}})[0]
        {'likelihood': 'poisson', 'scale': 2.0}
    """
    options: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, found, text = pair.partition("=")
        if not found:
            raise OptionError(f"Expected --set key=value; got '{pair}'.")
        if key == "covariates":
            raise OptionError("Expected covariates by --covariates name,name:kind; got --set covariates=.")
        # An option of the model goes first: `ebm` has a schedule of its stages.
        if key in FIT_SETTINGS and key not in defaults:
            kind, optional = FIT_SETTINGS[key]
            settings[key] = None if optional and text.lower() == "none" else _value(key, text, kind)
        elif key in defaults:
            # Of an option that is None by default the system itself knows the type.
            options[key] = _optional(text) if defaults[key] is None else _value(key, text, type(defaults[key]))
        else:
            known = ", ".join((*defaults, *FIT_SETTINGS))
            raise OptionError(f"Unknown option '{key}' of model '{model}'. Expected one of {known}.")
    return options, settings


def parse_kinds(pairs: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Takes ``kind=name:kind,name:kind`` out of ``key=value`` texts: the other texts, and kinds by modality.

    Raises:
        OptionError: If one has no name or no kind.

    Example:
        >>> parse_kinds(["latent_dim=8", "kind=rna:tokens,age:vector"])
        (['latent_dim=8'], {'rna': 'tokens', 'age': 'vector'})
    """
    own = [pair.partition("=")[2] for pair in pairs if pair.startswith("kind=")]
    kinds: dict[str, str] = {}
    for text in own:
        values = _value("kind", text, dict)
        if not isinstance(values, dict):
            raise OptionError(f"Expected option 'kind' as modality:kind,modality:kind; got '{text}'.")
        kinds |= {name: str(kind) for name, kind in values.items()}
    return [pair for pair in pairs if not pair.startswith("kind=")], kinds


def parse_covariates(text: str | None) -> dict[str, str | None]:
    """Covariates by name, with their kinds where one is said.

    Raises:
        OptionError: If a name is empty or stands twice, or a kind is empty.

    Example:
        >>> parse_covariates("site:category,age")
        {'site': 'category', 'age': None}
    """
    parts = [part.strip() for part in text.split(",")] if text is not None else []
    pairs = [(name, kind or None) for name, _, kind in (part.partition(":") for part in parts)]
    if any(not name for name, _ in pairs) or len(dict(pairs)) < len(pairs) or any(p.endswith(":") for p in parts):
        raise OptionError(f"Expected --covariates as name,name:kind, each once; got '{text}'.")
    return dict(pairs)


def parse_values(text: str | None, known: Mapping[str, Any]) -> dict[str, Any] | None:
    """Values of covariates by name, numbers where they are.

    Arguments:
        text: ``name=value,name=value``.
        known: The covariates of the program.

    Raises:
        OptionError: If it is not of that form, or a value of a number is none.

    Example:
        >>> from mmppl.covariates import Covariate
        >>> parse_values("site=2,age=4.5", {"site": Covariate("category", names=("1", "2")), "age": Covariate()})
        {'site': '2', 'age': 4.5}
    """
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and found for name, found, _ in pairs):
        raise OptionError(f"Expected --covariates as name=value,name=value; got '{text}'.")
    out: dict[str, Any] = {}
    for name, _, value in pairs:
        name = name.strip()
        of_number = name in known and known[name].names is None
        out[name] = _number(value) if of_number else value
        if of_number and isinstance(out[name], str):
            raise OptionError(f"Expected a number for covariate '{name}'; got '{value}'.")
    return out


def _value(key: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in WORDS:
            raise OptionError(f"Expected option '{key}' to be true or false; got '{text}'.")
        return WORDS[text.lower()]
    if kind is str:
        return text
    if kind is dict:
        if text and ":" not in text and "," not in text:
            return _number(text)
        pairs = [part.rpartition(":") for part in text.split(",")]
        whole = all(name and found and value for name, found, value in pairs)
        if not whole or len({name for name, _, _ in pairs}) < len(pairs):
            raise OptionError(
                f"Expected option '{key}' as modality:value,modality:value, each once, or one value for all; got "
                f"'{text}'."
            )
        return {name: _number(value) for name, _, value in pairs}
    try:
        value = kind(text)
    except ValueError:
        name = {int: "a whole number", float: "a number"}.get(kind, f"of type {kind.__name__}")
        raise OptionError(f"Expected option '{key}' to be {name}; got '{text}'.") from None
    if not 0 <= value < float("inf"):
        raise OptionError(f"Expected option '{key}' to be finite and not negative; got {text}.")
    return value


def _optional(text: str) -> int | float | str | None:
    if text.lower() == "none":
        return None
    return int(text) if text.isdecimal() else _number(text)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def new_file(path: Path, force: bool) -> Path:
    """Refuses, before any work is done, an output that exists or that has no folder to be in."""
    if path.is_dir():
        raise RunError(f"Expected a file to write; '{path}' is a folder.")
    if path.exists() and not force:
        raise RunError(f"'{path}' exists already; pass --force to replace it.")
    if not path.parent.is_dir():
        raise RunError(f"The folder of '{path}' does not exist; make it first.")
    return path
