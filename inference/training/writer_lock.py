"""The lock of a run folder: one writer at a time, by the system's own file locks, which end with their process."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mmppl.errors import RunError

__all__ = ["LOCK", "writer"]

LOCK = ".lock"


@contextmanager
def writer(folder: Path) -> Iterator[None]:
    """Holds the folder for this writer alone; the file of the lock says whose it is, and stays.

    Raises:
        RunError: If another process, or another thread of this one, is writing there; or the folder takes no file.
    """
    file = folder / LOCK
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(
            f"'{folder}' is being written by {_holder(file)}. Wait until it has ended, or stop it; or choose another "
            "folder."
        ) from None
    except OSError as error:
        raise RunError(f"'{folder}' cannot be written: {error.strerror or error}.") from error
    try:
        with suppress(OSError):  # a full disk, say: the lock holds all the same
            file.write_text(f"process {os.getpid()} on {platform.node()}\n")
        yield
    finally:
        lock.release()


def _holder(file: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return file.read_text().strip() or "another process"
    return "another process"
