"""Writing files whole or not at all, and saying what is in the way."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmppl.errors import DataError

__all__ = ["whole"]


@contextmanager
def whole(path: Path, room: int = 0) -> Iterator[Path]:
    """A place beside a path for what is to be there: moved when all of it is written, and removed otherwise.

    Arguments:
        path: The file, or folder, to write; what is there is replaced at the end alone.
        room: Bytes that the disk is asked for first. HDF5, whose files are then as large at most, ends the process by a
            segmentation fault where a disk is found full on the way.

    Raises:
        DataError: If it cannot be written, as on a full disk.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole(Path(folder) / "a.txt") as part:
        ...         _ = part.write_text("all")
        ...     [file.name for file in Path(folder).iterdir()]
        ['a.txt']
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")
    try:
        if room and hasattr(os, "posix_fallocate"):
            with part.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, room)
            part.unlink()
        yield part
        part.replace(path)
    except OSError as error:
        raise DataError(
            f"'{path}' cannot be written: {error.strerror or error}. Nothing of it is left, and what was there is kept."
        ) from error
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        part.unlink(missing_ok=True)
