"""Limits on archives of arrays: what a file says of its members is checked before any of them is unpacked."""

import os
import zipfile
from math import prod
from typing import IO

import numpy as np

from mmppl.errors import DataError

__all__ = ["MOST_UNPACKED", "check_archive"]

MOST_UNPACKED = 2**31
ENDING = ".npy"


def check_archive(file: IO[bytes], path: str | os.PathLike, max_bytes: int) -> None:
    """Checks the members of a ``.npz`` file: that they are arrays, as large as their headers say, and not too large.

    A member that is stored as it is takes its place in the file already. What is compressed may unpack to ``max_bytes``
    in all, so that a small file cannot fill the memory.

    Arguments:
        file: The file, open; afterwards at its beginning.
        path: Its path, for messages.
        max_bytes: The limit in bytes.

    Raises:
        DataError: Names the member, or the sizes.
        BadZipFile: If it is no archive.
    """
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        unknown = [name for name in names if not name.endswith(ENDING)]
        if unknown:
            raise DataError(f"Expected nothing but arrays in {path}; got '{unknown[0]}'. Write it with write_npz.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"Expected every array of {path} once; got '{twice[0]}' twice. Write it with write_npz.")
        stored = sum(member.file_size for member in members if member.compress_type == zipfile.ZIP_STORED)
        packed = sum(member.file_size for member in members) - stored
        if stored > size:
            raise DataError(f"Expected {path}, of {_size(size)}, to hold what it says; it says {_size(stored)}.")
        if packed > max_bytes:
            raise DataError(
                f"Expected {path} to unpack to at most {_size(max_bytes)}; its {_size(size)} unpack to {_size(packed)}."
                " If you trust it, read it with max_bytes= larger (--max-bytes), and write it uncompressed by"
                " write_npz."
            )
        for member in members:
            with archive.open(member) as opened:
                wanted = _header_size(opened)
            if wanted is not None and wanted != member.file_size:
                name = member.filename.removesuffix(ENDING)
                raise DataError(
                    f"Expected array '{name}' of {path} to take the {_size(member.file_size)} that are there; its "
                    f"header says {_size(wanted)}. The file is corrupt; write it with write_npz."
                )
    file.seek(0)


def _header_size(opened: IO[bytes]) -> int | None:
    """Bytes of an array and its header, by the header; None where objects or what numpy does not know stand there."""
    version = np.lib.format.read_magic(opened)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        return None
    shape, _, dtype = read(opened)
    return None if dtype.hasobject else opened.tell() + prod(shape) * dtype.itemsize


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number:,} bytes"
