"""Warnings that point at the line of a user's program, however deep in the package they come up."""

import sys
import warnings

__all__ = ["warn"]


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warns at the innermost line that is not of this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "mmppl":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
