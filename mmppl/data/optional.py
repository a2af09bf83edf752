"""Packages that only some readers need, imported as they are needed."""

import warnings
from importlib import import_module
from typing import Any

from mmppl.errors import PackageError

__all__ = ["need"]


def need(package: str, extra: str) -> Any:
    """A package, imported now.

    Arguments:
        package: Its name.
        extra: The extra of mmppl that has it.

    Raises:
        PackageError: If it is not installed.

    Example:
        >>> need("json", "tables").__name__
        'json'
    """
    try:
        with warnings.catch_warnings():
            # What a package says of its own packages as it is imported is not the user's to change.
            warnings.simplefilter("ignore")
            return import_module(package)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise PackageError(
            f"Expected the package '{package}', which is not installed. Install it: pip install 'mmppl[{extra}]'."
        ) from error
