"""Checks that a run is resumed as it began, and how far each of its stages was."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmppl.errors import DataError, RunError
from mmppl.inference.training.course import Course
from mmppl.inference.training.run_folder import Run
from mmppl.inference.training.run_info import RunInfo

__all__ = ["BEST", "check_data", "check_same", "difference", "losses_of", "restore"]

# What a run is resumed with has to be equal in these.
SAME = (
    *("model", "options", "modalities", "objectives", "backend", "label"),
    *("epochs", "batch_size", "learning_rate", "seed", "ema", "clip", "optimizer", "schedule", "precision"),
    "early_stopping",
)
# Beginning of the names of arrays in a state that are of its best epoch.
BEST = "best."
# What run.json says more now than it once did; a run that lacks it is gone on with.
ADDED = ("part",)
SAID_LATER = ("coordinates", "units")
LOSS = "validation.loss"


def losses_of(history: Sequence[Mapping[str, Any]], course: Course) -> list[float]:
    """Held-out losses of the epochs of a stage, which the history begins with.

    Example:
        >>> from mmppl.inference import EarlyStopping
        >>> losses_of([{"validation.loss": x} for x in (1.0, 2.0, 2.0, 5.0)], Course(9, EarlyStopping(2)))
        [1.0, 2.0, 2.0]
    """
    losses: list[float] = []
    for record in history:
        if course.over(losses):
            break
        losses.append(record.get(LOSS, float("nan")))
    return losses


def restore(trainer: Any, snapshot: Mapping[str, Any], run: Run | None) -> None:
    """Gives a trainer its state back.

    Raises:
        RunError: If the state is of another program.
    """
    try:
        trainer.restore(snapshot)
    except DataError as error:
        path = None if run is None else run.path
        raise RunError(f"The state in '{path}' does not fit the program: {error} Fit it again.") from error


def check_same(found: RunInfo, wanted: RunInfo) -> None:
    """Compares the settings of a run folder with those that it is to be resumed with.

    Raises:
        RunError: Names what differs.
    """
    for key in SAME:
        held, value = getattr(found, key), getattr(wanted, key)
        if key == "modalities":
            value = _as_said(value, held)
        if held != value:
            raise RunError(f"The run has {key}={held!r}, not {value!r}; resume it with the same settings.")
    for key, value in wanted.more.items():
        if key in ADDED and key not in found.more:
            continue
        if found.more.get(key) != value:
            raise RunError(f"The run has {key}={found.more.get(key)!r}, not {value!r}; resume it with the same info.")
    if found.validation != wanted.validation:
        raise RunError(
            "The run has other validation data, or another share of the rows. Resume it with the same validation=."
        )


def _as_said(modalities: Mapping[str, Mapping], held: Mapping[str, Mapping]) -> dict[str, dict]:
    """Modalities less what a run of an earlier version does not say of them."""
    return {
        name: {field: x for field, x in own.items() if field not in SAID_LATER or field in held.get(name, own)}
        for name, own in modalities.items()
    }


def check_data(found: RunInfo, digest: Mapping[str, Any]) -> None:
    """Compares the data of a run folder with the digest of those that it is to be resumed with.

    Raises:
        RunError: Names what differs.
    """
    changed = difference(found.data_digest or {}, digest)
    if changed:
        raise RunError(f"The data are not those that the run began with: {changed}. Resume it with the same data.")


def difference(found: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The part of the data whose digest is another, in words."""
    if found.get("rows") != now["rows"]:
        return f"{now['rows']} rows, not {found.get('rows')}"
    for part, what in (("values", "values of"), ("present", "presence of")):
        names = [name for name, held in now[part].items() if found[part].get(name) != held]
        if names:
            return f"other {what} modality '{names[0]}'"
    if found.get("covariates") != now.get("covariates"):
        return "other covariates"
    return None if found["label"] == now["label"] else "other labels"
