"""Records that commands have put into a run folder, as long as they are of its last epoch."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmppl.errors import RunError

__all__ = ["kept_record", "readable"]


def kept_record(file: Path, epochs: int) -> dict[str, Any] | None:
    """Content of a file about the run as it is; None where there is none, or it is of another epoch."""
    if not file.is_file():
        return None
    with readable(file):
        found = json.loads(file.read_text(encoding="utf-8"))
        return found if found["epochs"] == epochs else None


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Tells of a file that is broken, or of another version, which had other keys.

    Raises:
        RunError: With the file and what was wrong.
    """
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunError(
            f"'{file}' does not hold what this version writes there ({error!r:.80}). Remove it, and it is made again."
        ) from error
