"""`mmppl data`."""

import re
from typing import Annotated

import typer

from mmppl.cli.completion import complete_data
from mmppl.cli.systems import plain

__all__ = ["data"]

FILES = (
    "FILE.npz               arrays by name; <name>__present, __kind, __coordinates, __units, label",
    "FILE.csv, FILE.parquet columns view/column make a vector or counts together; needs mmppl[tables]",
    "FILE.h5ad, FILE.h5mu   AnnData and MuData; needs mmppl[omics]",
    "FILE.zarr              an xarray data set; needs mmppl[zarr]",
    "FOLDER                 of <name>.npy, arrays that stay on the disk; <name>__present, label",
)


def data(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A data set, which is explained.", autocompletion=complete_data),
    ] = None,
) -> None:
    """List data and how to get them; explain one with its NAME."""
    from mmppl.data.loading import NAMES, described

    if name is not None:
        print(plain(described(name)[1]))
        return
    for each in NAMES:
        line, _, root = described(each)
        head, _, rest = line.partition(": ")
        print(f"{each}: {rest if re.sub('[^a-z]', '', head.lower()) == each.replace('_', '') else line}")
        print(f"    --data {each}" + (" --data-root DIR" if root else ""))
    print("\nYour own:")
    for line in FILES:
        print(f"    --data {line}")
