"""The schema of ``run.json``, and of how far a run is: typed, checked as they are read, with a version."""

import json
import math
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from uuid import uuid4

from mmppl.batch import Modality
from mmppl.errors import ModalityError, OptionError, RunError
from mmppl.inference.training.checksums import of_json

__all__ = ["FORMAT", "Progress", "RunInfo"]

FORMAT = 3
PACKAGES = ("mmppl", "numpy", "jax", "numpyro", "equinox", "optax", "torch", "pyro-ppl", "arviz")
CHECKSUM = "checksum"
LATER = ("precision",)  # fields that runs of earlier versions lack


def _whole(x: Any, least: int = 0) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and x >= least


def _number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)


def _text(x: Any) -> bool:
    return isinstance(x, str) and x != ""


def _named(x: Any) -> bool:
    return isinstance(x, dict) and all(map(_text, x))


def _texts(x: Any) -> bool:
    return _named(x) and all(isinstance(value, str) for value in x.values())


def _digest(x: Any) -> bool:
    label = x.get("label") if isinstance(x, dict) else 0
    return (
        isinstance(x, dict)
        and _whole(x.get("rows"))
        and _texts(x.get("values"))
        and _texts(x.get("present"))
        and (label is None or _text(label))
    )


# What each field of RunInfo must be, in words, and the test of it.
CHECKS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "run": ("a text", _text),
    "model": ("a text", _text),
    "options": ("an object", _named),
    "modalities": ("an object of objects", lambda x: _named(x) and all(map(_named, x.values()))),
    "backend": ("a text", _text),
    "seed": ("a whole number >= 0", _whole),
    "objectives": ("a list of texts", lambda x: isinstance(x, list) and all(map(_text, x))),
    "epochs": ("a whole number >= 1", lambda x: _whole(x, 1)),
    "batch_size": ("a whole number >= 1", lambda x: _whole(x, 1)),
    "learning_rate": ("a number > 0", lambda x: _number(x) and x > 0),
    "ema": ("a number in [0, 1)", lambda x: _number(x) and 0 <= x < 1),
    "clip": ("a number > 0", lambda x: _number(x) and x > 0),
    "optimizer": ("a text", _text),
    "schedule": ("a text", _text),
    "precision": ("a text", _text),
    "early_stopping": ("an object of patience and min_delta", _named),
    "validation": ("an object", _named),
    "label": ("a list of one label", lambda x: isinstance(x, list) and len(x) == 1),
    "data_digest": ("an object of rows, values, present and label", _digest),
    "versions": ("an object of texts", _texts),
    "commit": ("a text", _text),
}


@cache
def _versions() -> dict[str, str]:
    out = {}
    for package in PACKAGES:
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    return out


def _commit() -> str | None:
    """The commit of the working folder, if it is under git."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """Content of ``run.json``, which says what the run is; None is not known, as of a program saved by itself.

    Arguments:
        model: Name of the system; "custom" for a user-defined program.
        options: The options it was made with.
        modalities: Its modalities, each as :meth:`~mmppl.batch.Modality.as_dict` gives it.
        backend: Name of the host.
        seed: Random seed.
        objectives: The objective of each stage, as it writes itself.
        epochs: Passes over the data; None until the held-out bound is flat.
        batch_size: Rows in a step.
        learning_rate: Adam's; None with an optimizer of the host's, which has its own.
        ema: Decay of the averaged weights.
        clip: Bound on the norm of the gradient.
        optimizer: A description of the host's, where it is not Adam.
        schedule: That of the learning rate.
        precision: That of its networks, where it is not the program's.
        early_stopping: Its fields.
        validation: The share of rows that is held out, and whether it is by default, or the digest of what is.
        label: A label of the data, in a list.
        data_digest: Rows of the data and checksums of their parts; see :func:`~.checksums.data_digest`.
        run: A name of its own, which the run's other files repeat.
        versions: Versions of packages.
        commit: Commit of the folder where it began.
        more: What else the user says of it, on the top level of the file.

    Raises:
        OptionError: If JSON cannot hold it, or ``more`` has the name of a field.
    """

    model: str
    options: dict[str, Any]
    modalities: dict[str, dict[str, Any]]
    backend: str
    seed: int
    objectives: list[str] | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    ema: float | None = None
    clip: float | None = None
    optimizer: str | None = None
    schedule: str | None = None
    precision: str | None = None
    early_stopping: dict[str, Any] | None = None
    validation: dict[str, Any] | None = None
    label: list | None = None
    data_digest: dict[str, Any] | None = None
    run: str = field(default_factory=lambda: uuid4().hex)
    versions: dict[str, str] = field(default_factory=lambda: dict(_versions()))
    commit: str | None = field(default_factory=_commit)
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        taken = sorted({"format", CHECKSUM, *CHECKS} & set(self.more))
        if taken:
            raise OptionError(f"Expected info= with names that run.json has not taken; got {taken}. Rename them.")
        for own in fields(self):
            value = getattr(self, own.name)
            try:
                plain = json.loads(json.dumps(value))
            except (TypeError, ValueError) as error:
                what = "info=" if own.name == "more" else f"{own.name}="
                raise OptionError(
                    f"Expected {what} that a run folder can hold as JSON; got {value!r} ({error})."
                ) from error
            object.__setattr__(self, own.name, plain)

    def as_dict(self) -> dict[str, Any]:
        """The content of ``run.json``, with its checksum."""
        own = {name: value for name, value in asdict(self).items() if name != "more"}
        content = {"format": FORMAT, **own, **self.more}
        return {**content, CHECKSUM: of_json(content)}

    @classmethod
    def read(cls, content: Any, file: str) -> "RunInfo":
        """Reads the content of ``run.json``.

        Raises:
            RunError: Names what is missing, of another type, or changed since it was written.
        """
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT or isinstance(found, bool):
            raise RunError(
                f"'{file}' is of a run of format {found!r}; expected {FORMAT}. Fit it again, in another folder or with "
                "force (--force)."
            )
        for name in (*CHECKS, CHECKSUM):
            if name not in content and name not in LATER:
                raise RunError(f"'{file}' cannot be loaded: it has no '{name}'. Fit it again.")
        optional = {own.name for own in fields(cls) if own.default is None or own.name == "commit"}
        for name, (wanted, holds) in CHECKS.items():
            value = content.get(name)
            if not (holds(value) or value is None and name in optional):
                raise RunError(f"'{file}' cannot be loaded: expected '{name}' to be {wanted}; got {value!r:.100}.")
        for name, fields_of in content["modalities"].items():
            try:
                Modality(**fields_of)
            except (ModalityError, TypeError) as error:
                raise RunError(f"'{file}' cannot be loaded: modality '{name}' is none ({error}).") from error
        rest = {name: value for name, value in content.items() if name != CHECKSUM}
        if of_json(rest) != content[CHECKSUM]:
            raise RunError(f"'{file}' has been changed since it was written: its checksum is another. Fit it again.")
        more = {name: value for name, value in rest.items() if name not in CHECKS and name != "format"}
        known: dict[str, Any] = {name: rest.get(name) for name in CHECKS}
        return cls(**known, more=more)


@dataclass(frozen=True)
class Progress:
    """Progress of a run at a save, which its weights and its state carry.

    Arguments:
        epoch: Epochs done.
        lines: The checksum of each line of ``metrics.jsonl`` so far.
    """

    epoch: int
    lines: tuple[str, ...] = ()

    def as_text(self) -> str:
        """Its form in a file's header."""
        return json.dumps({"epoch": self.epoch, "lines": list(self.lines)})

    @classmethod
    def read(cls, text: str, file: str) -> "Progress":
        """Reads what :meth:`as_text` gave.

        Raises:
            RunError: If it is something else.
        """
        try:
            content = json.loads(text)
            epoch, lines = content["epoch"], content["lines"]
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"'{file}' says not how far the run is ({error!r}). Fit it again.") from error
        if not _whole(epoch) or not isinstance(lines, list) or not all(map(_text, lines)):
            raise RunError(f"'{file}' says not how far the run is: epoch={epoch!r:.100}. Fit it again.")
        return cls(epoch, tuple(lines))
