"""Records that commands have put into a run folder, as long as they are of its last epoch."""

import json
from pathlib import Path
from typing import Any

from mmppl.errors import RunError

__all__ = ["kept_record"]


def kept_record(file: Path, epochs: int) -> dict[str, Any] | None:
    """Content of a file about the run as it is; None where there is none, or it is of another epoch."""
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return found if found["epochs"] == epochs else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"'{file}' cannot be read ({error!r:.80}). Remove it, and it is made again.") from error
