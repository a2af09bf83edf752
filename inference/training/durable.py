"""Writing that a crash cannot halve: beside the place, to the disk, then moved there."""

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mmppl.errors import RunError

__all__ = [
    "add_line",
    "folders_of",
    "is_part",
    "make_folder",
    "part_of",
    "parts_of",
    "remove",
    "remove_folder",
    "write_whole",
]

PART = ".part"


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; once this returns, a loss of power cannot take it back.

    Raises:
        RunError: If it cannot be written, as on a full disk. What was there before is there still.
    """
    part = part_of(path)
    with _told(path):
        try:
            with open(part, "wb") as file:
                _to_disk(file, data)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        _folder_to_disk(path.parent)


def add_line(path: Path, line: str) -> None:
    """Adds a line to a text file and brings it to the disk.

    Raises:
        RunError: If it cannot be written; a part of the line may be there.
    """
    with _told(path), open(path, "ab") as file:
        _to_disk(file, f"{line}\n".encode())


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it, where there is none.

    Raises:
        RunError: If it cannot be made.
    """
    with _told(path):
        path.mkdir(parents=True, exist_ok=True)


def remove(path: Path) -> None:
    """Removes a file, if it is there.

    Raises:
        RunError: If it cannot be removed.
    """
    with _told(path):
        path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Removes a folder and what is in it, if it is there.

    Raises:
        RunError: If it cannot be removed.
    """
    with _told(path):
        if path.is_dir():
            shutil.rmtree(path)


def part_of(path: Path) -> Path:
    """Place beside a path for what this process writes there before it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}{PART}")


def folders_of(path: Path) -> list[Path]:
    """Folders that writers of a path have made for themselves."""
    return [part for part in path.parent.glob(f".{glob.escape(path.name)}.*{PART}") if part.is_dir()]


def is_part(name: str) -> bool:
    """Tells whether a file is what a writer that was killed has left behind."""
    return name.endswith(PART)


def parts_of(path: Path) -> list[Path]:
    """Files that killed writers of a path have left behind; those of writers at work are among them."""
    return [part for part in path.parent.glob(f".{glob.escape(path.name)}.*{PART}") if part.is_file()]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"'{path}' cannot be written: {error.strerror or error}. What was saved before is kept; see to the disk, "
            "and go on with resume=True (--resume)."
        ) from error


def _to_disk(file: IO[bytes], data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _folder_to_disk(folder: Path) -> None:
    """Brings the names in a folder to the disk, where the system opens folders."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
