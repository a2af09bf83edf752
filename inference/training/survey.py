"""The first reading of a source: every row is checked, and a digest made, before the first step."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.data.rows import Rows, block_rows
from mmppl.inference.training.checksums import Running
from mmppl.inference.training.moments import in_blocks
from mmppl.presence import say_missing

__all__ = ["Survey", "survey"]


class Survey(NamedTuple):
    """Findings of a reading of all rows.

    Arguments:
        partial: Names of modalities of which some row has some elements and lacks others.
        digest: Digest of the rows, as a batch of them would have.
        absent: Names of modalities that no row has.
    """

    partial: tuple[str, ...]
    digest: dict[str, Any]
    absent: tuple[str, ...]


def survey(rows: Rows, check: Callable[[Batch], None], *, partly: bool) -> Survey:
    """Reads all rows once.

    Arguments:
        rows: The rows.
        check: Refuses what a host cannot represent.
        partly: Whether the program can be declared anew for rows that lack single elements.

    Raises:
        DataError, ModalityError: With the place of the first row that fails.
    """
    own: Mapping[str, Modality] = rows.declared or {}
    loose = {n: replace(m, partial=True) if partly and m.shape else m for n, m in own.items()}
    read, number = rows.declared_as(loose), len(rows)
    values, masks, elements = ({name: Running(number) for name in own} for _ in range(3))
    covariates = {name: Running(number) for name in rows.covariates}
    label: Running | None = None
    found: set[str] = set()
    absent = dict.fromkeys(own)
    for batch in in_blocks(read, block_rows(own)):
        check(batch)
        for name in own:
            values[name].add(np.asarray(batch[name]))
            masks[name].add(present := np.asarray(batch.present[name]))
            if present.any():
                absent.pop(name, None)
            if name in batch.elements:
                elements[name].add(np.asarray(batch.elements[name]))
                if not own[name].partial and (batch.present[name] & ~batch.whole(name)).any():
                    found.add(name)
        for name, running in covariates.items():
            running.add(np.asarray(batch.covariates[name]))
        if batch.label is not None:
            label = label or Running(number)
            label.add(np.asarray(batch.label))
    for name, count in read.gaps.items():
        say_missing(name, (number, math.prod(own[name].shape)), count)
    finest = {n: elements[n] if own[n].partial or n in found else masks[n] for n in own}
    digest = {
        "rows": number,
        "values": {name: running.digest() for name, running in values.items()},
        "present": {name: running.digest() for name, running in finest.items()},
        "label": None if label is None else label.digest(),
    }
    if covariates:
        digest["covariates"] = {name: running.digest() for name, running in covariates.items()}
    return Survey(tuple(name for name in own if name in found), digest, tuple(absent))
