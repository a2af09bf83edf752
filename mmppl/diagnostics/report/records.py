"""Records that commands have put into a run folder, as long as they are of its last epoch."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmppl.diagnostics.summary import read_posterior, summarise_posterior, worst_data
from mmppl.errors import MMPPLError, RunError
from mmppl.inference import Run

__all__ = ["DIAGNOSIS", "EVALUATION", "POSTERIOR", "record_of", "summary_of_run", "readable", "summary_of"]

EVALUATION, DIAGNOSIS, POSTERIOR = "evaluation.json", "diagnosis.json", "posterior.nc"


def record_of(file: Path, epochs: int) -> dict[str, Any] | None:
    """Content of a file about the run as it is; None where there is none, or it is of another epoch."""
    if not file.is_file():
        return None
    with readable(file):
        found = json.loads(file.read_text(encoding="utf-8"))
        return found if found["epochs"] == epochs else None


def summary_of_run(run: Run) -> dict[str, Any] | None:
    """Summary of the chains that a run folder holds; None where it holds none, or its weights are newer."""
    file, weights = run.path / POSTERIOR, run.path / "params.safetensors"
    if not file.is_file() or (weights.is_file() and file.stat().st_mtime < weights.stat().st_mtime):
        return None
    return summary_of(file)


def summary_of(file: Path) -> dict[str, Any]:
    """Summary of the chains in a file, with the data to be trusted least."""
    with readable(file):
        tree = read_posterior(file)
        return summarise_posterior(tree) | {"worst": worst_data(tree)}


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Tells of a file that is broken, or of another version, which had other keys; errors of mmppl's stay as they are.

    Raises:
        RunError: With the file and what was wrong.
    """
    try:
        yield
    except MMPPLError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunError(
            f"'{file}' does not hold what this version writes there ({error!r:.80}). Remove it, and it is made again."
        ) from error
