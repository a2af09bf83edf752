"""Memory: how much there is, and errors that name what asked for too much."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmppl.errors import OutOfMemoryError

__all__ = ["asked_by", "lacks_memory", "memory", "out_of_memory"]

# Where Linux says how much a container may have, by the version of its groups.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# What JAX and torch say in the errors of theirs that are no MemoryError.
SAID = re.compile(r"RESOURCE_EXHAUSTED|out of memory|can't allocate|unable to allocate", re.IGNORECASE)


def memory() -> float:
    """The memory of this machine, or what this process may have of it, in bytes; infinite where that is not known."""
    found = [float("inf")]
    if hasattr(os, "sysconf") and {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= set(os.sysconf_names):
        found.append(float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
    for file in map(Path, LIMITS):
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            found.append(float(text))
    return min(found)


@contextmanager
def asked_by(what: str) -> Iterator[None]:
    """Context manager that turns a lack of memory into an error that says what asked for it.

    Arguments:
        what: What is done, and the sizes that it takes.

    Raises:
        OutOfMemoryError: Where numpy or a host runs out of memory.

    Example:
        >>> with asked_by("100 draws of 10 rows"):
        ...     raise MemoryError("Unable to allocate 8 GiB")
        Traceback (most recent call last):
            ...
        mmppl.errors.OutOfMemoryError: Out of memory in 100 draws of 10 rows: Unable to allocate 8 GiB. ...
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        raise out_of_memory(what, error) from error


def lacks_memory(error: BaseException) -> bool:
    """Tells whether an error is a lack of memory, of numpy or a host, that is not mmppl's own error yet."""
    if isinstance(error, OutOfMemoryError):
        return False
    return isinstance(error, MemoryError) or isinstance(error, RuntimeError) and bool(SAID.search(str(error)))


def out_of_memory(what: str, error: BaseException) -> OutOfMemoryError:
    """The error for a lack of memory, with what asked for it."""
    reason = (str(error).splitlines() or ["no more to be had"])[0][:200].rstrip(".")
    return OutOfMemoryError(f"Out of memory in {what}: {reason}. Take fewer at a time, or smaller ones.")
