"""Encoded rows of a source, kept on the disk for the stages that learn from them."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.data.arrays import LABEL, PRESENT
from mmppl.data.row_files import RowFiles, write_rows
from mmppl.data.rows import Rows
from mmppl.inference.training.moments import in_blocks
from mmppl.inference.training.program import Stage
from mmppl.inference.training.run_folder import Run

__all__ = ["Scratch", "some_of"]

# End of the name of a file of a covariate, whose own name may not be one of a file.
COVARIATE = "__covariate"
# Batches that are encoded at a time, and rows that statistics of latents are taken of at the most.
BATCHES, MOST = 64, 2**17


class Scratch:
    """Encoded rows of a fit: of a batch in memory, of a source on the disk, in the run folder where there is one.

    Arguments:
        run: The run folder, if any.
        stack: At its end the files are removed.
    """

    def __init__(self, run: Run | None, stack: ExitStack):
        self.run, self.stack, self.number = run, stack, 0
        self.folder: Path | None = None

    def encoded(self, trainer: Any, stage: Stage, data: Batch | Rows, size: int) -> Any:
        """The data as the frozen encoders of a stage see them, ``size`` rows at a time."""
        if isinstance(data, Batch):
            return trainer.encode(stage.encode, data, size)

        known: list[str] = []

        def parts() -> Iterator[Batch]:
            for rows in in_blocks(data, size * BATCHES):
                found = trainer.encode(stage.encode, rows, size)
                known[:] = found.covariates
                beside = {f"{i}{COVARIATE}": found.covariates[name] for i, name in enumerate(known)}
                yield Batch.trusted({**found.values, **beside}, found.present, found.numbers, len(found))

        if self.folder is None:
            where: Any = tempfile.TemporaryDirectory(prefix="mmppl-") if self.run is None else self.run.scratch()
            self.folder = Path(self.stack.enter_context(where))
        self.number += 1
        files = write_rows(self.folder / str(self.number), parts())
        return Rows(_Encoded(files, known), None).taken_from(data)


class _Encoded:
    """A source of batches as they were written, with covariates of these names."""

    def __init__(self, files: RowFiles, covariates: Sequence[str]):
        self.files, self.covariates = files, covariates

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, places: np.ndarray) -> Batch:
        found = self.files[places]
        beside = {name: found.pop(f"{i}{COVARIATE}") for i, name in enumerate(self.covariates)}
        names = [name for name in found if name != LABEL and not name.endswith(PRESENT)]
        masks = {name: found[f"{name}{PRESENT}"] for name in names}
        values = {name: found[name] for name in names}
        return Batch.trusted(values, masks, found.get(LABEL), len(places), covariates=beside)


def some_of(data: Any) -> Batch:
    """All rows of a batch; of a source at most 131,072, evenly spread."""
    if isinstance(data, Batch):
        return data
    return data[np.linspace(0, len(data) - 1, min(len(data), MOST)).astype(np.int64)]
