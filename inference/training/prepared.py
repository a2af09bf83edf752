"""Data as a fit takes them: checked, with rows held out, in memory or read as they are needed."""

import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.data.dataset import Dataset
from mmppl.data.rows import Rows, rows_or_batch
from mmppl.errors import ModalityError
from mmppl.inference.training.checksums import digesting
from mmppl.inference.training.course import held_share
from mmppl.inference.training.held_out import hold_out
from mmppl.inference.training.noise import hold_out_cells
from mmppl.inference.training.program import Program
from mmppl.inference.training.survey import survey
from mmppl.presence import say_absent

__all__ = ["BY_DEFAULT", "Prepared", "prepared"]

# What a run folder says of rows that are held out where nothing is said, and learned from in the end.
BY_DEFAULT = "by_default"


@dataclass(frozen=True)
class Prepared:
    """The data of a fit.

    Arguments:
        data: The rows to train on.
        held: The rows held out, if any.
        about_held: What a run folder says of the rows held out.
        digest: The digest of the rows to train on, where it is known already.
        whole: Both, in their order, where rows are held out by default alone.
        asked: Rows of ``whole``, or else of ``data``, with cells that are held out of both, where there are such.
    """

    data: Batch | Rows
    held: Batch | Rows | None
    about_held: dict[str, Any] | None
    digest: dict[str, Any] | None = None
    whole: Batch | Rows | None = None
    asked: Batch | None = None

    @property
    def label(self) -> np.ndarray | None:
        """The label of the first row, ``(1,)``, for its type; None without labels."""
        label = self.data.label if isinstance(self.data, Batch) else self.data[:1].label
        return None if label is None else np.asarray(label[:1])

    def digesting(self) -> Callable[[], dict[str, Any]]:
        """Begins the digest, where it is not known, and returns what waits for it."""
        if isinstance(self.data, Batch):
            known = self.whole if isinstance(self.whole, Batch) else self.data
            return digesting(known if self.asked is None else self.asked)
        return lambda: self.digest or {}


def prepared(
    program: Program, data: Any, validation: Any, seed: int, *, is_open: bool = False
) -> tuple[Program, Prepared]:
    """The data of a fit, and the program, declared anew where they lack single elements, as ``fit`` takes them.

    Arguments:
        program: The program.
        data: As ``fit`` takes them.
        validation: As ``fit`` takes it.
        seed: Random seed.
        is_open: Whether a published system is fitted until the held-out bound is flat: some rows are held out then,
            unless they are few, where nothing is said, and some cells of batches that lack single elements.

    Raises:
        ModalityError, DataError: If the data do not fit the program.
        ObjectiveError: If an objective needs more modalities.
        OptionError: If no such rows can be held out.
    """
    for given in (data, validation):
        if isinstance(given, Dataset):
            _check_names(program, given)
    found = rows_or_batch(data.train if isinstance(data, Dataset) else data, program.modalities, program.covariates)
    by_default = is_open and validation is None and program.rebuild is not None
    if by_default:
        validation = held_share(len(found))
    if isinstance(found, Rows):
        return _of_source(program, found, validation, seed)
    program = program.for_elements_of(found)
    whole = batch = found.validate(program.modalities)
    batch, held, about = hold_out(validation, batch, program.modalities, seed, program.covariates)
    check, asked = program.ppl.host.check_numbers, None
    _check_objectives(program, batch.modalities)
    check(whole)
    for name in whole.modalities:
        if not np.any(whole.present[name]):
            say_absent(name)
    if isinstance(held, Rows):
        about = survey(held, check, partly=False).digest
    elif held is not None:
        check(held)
    by_default = by_default and held is not None
    if is_open and held is not None:
        every = whole if by_default else batch
        less = hold_out_cells(program, every, seed)
        if less is not None:
            asked = every
            batch = less
            if by_default:  # the same rows are held out, without their cells
                whole, (batch, held, _) = less, hold_out(validation, less, program.modalities, seed, program.covariates)
    if by_default:
        return program, Prepared(batch, held, {**(about or {}), BY_DEFAULT: True}, whole=whole, asked=asked)
    return program, Prepared(batch, held, about, asked=asked)


def _of_source(program: Program, rows: Rows, validation: Any, seed: int) -> tuple[Program, Prepared]:
    """The data of a fit to a source, whose rows are read once, those held out too."""
    check, partly = program.ppl.host.check_numbers, program.rebuild is not None
    _check_objectives(program, rows.modalities)
    is_share = isinstance(validation, Real | str | bytes)
    known = program.covariates
    train, held, about = hold_out(validation if is_share else None, rows, program.modalities, seed, known)
    first = survey(train, check, partly=partly)
    for name in first.absent:
        say_absent(name)
    program = program.for_partial(first.partial)
    if not is_share:
        _, held, about = hold_out(validation, train, program.modalities, seed, known)
    if isinstance(held, Rows):
        second = survey(held, check, partly=partly)
        program = program.for_partial(second.partial)
        held, about = held.declared_as(program.modalities), about or second.digest
    elif held is not None:
        check(held)
    return program, Prepared(train.declared_as(program.modalities), held, about, first.digest)


def _check_names(program: Program, dataset: Dataset) -> None:
    """Refuses a data set whose classes have other codes, or coordinates another order, than those of the program."""
    for name, modality in dataset.modalities.items():
        own = program.modalities.get(name)
        for field, what in (("names", "classes"), ("coordinates", "coordinates")):
            told, given = getattr(own, field, None), getattr(modality, field)
            if None not in (told, given) and told != given:
                raise ModalityError(
                    f"Modality '{name}': expected {what} {reprlib.repr(told)}, as the program has; the data set "
                    f"'{dataset.name}' has {reprlib.repr(given)}. Read it with modalities=program.modalities."
                )


def _check_objectives(program: Program, names: tuple[str, ...]) -> None:
    for objective in (program.objective, *(stage.objective for stage in program.stages if stage.objective)):
        objective.check(names)
