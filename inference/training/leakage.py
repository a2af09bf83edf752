"""Check that a guide ignores masked values."""

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch
from mmppl.data.rows import Rows
from mmppl.errors import ObjectiveError
from mmppl.inference.training.fitted import Fitted
from mmppl.inference.training.program import Program

__all__ = ["check_no_leakage"]


def check_no_leakage(fitted: Fitted, data: Batch | Rows) -> None:
    """Raises if the guide's draws change with values that are not present.

    An objective of several terms shows the guide one array of values under several masks, so that each network runs
    once. A guide that reads ``batch[name]`` without ``batch.present[name]`` would then answer from what a term hides.

    Arguments:
        fitted: A program and its weights.
        data: Rows to try it on.

    Raises:
        ObjectiveError: If the guide looks at a hidden modality, which it names.
    """
    names = data.modalities
    if len(names) < 2 or not _several_terms(fitted.program, data):
        return
    # Row i hides the modality i, once with its value left in its place and once with another one there. The latter is
    # done for one row at a time: a network may look at all rows of a batch, as batch normalisation does.
    rows = data[np.arange(len(names)) % len(data)]
    order = np.arange(len(names))
    present = {name: rows.present[name] & (order != i) for i, name in enumerate(names)}
    left = _draws(fitted, rows.with_parts(present=present, label=None))
    for i, (name, value) in enumerate(rows.values.items()):
        there = (order == i).reshape(-1, *(1,) * (value.ndim - 1))
        values = {**rows.values, name: np.where(there, _another(value, fitted, name), value)}
        elements = dict(rows.elements)
        if name in elements:
            elements[name] = elements[name] ^ there
        drawn = _draws(fitted, rows.with_parts(values=values, present=present, label=None, elements=elements))
        if any(not np.array_equal(z[i], drawn[site][i]) for site, z in left.items()):
            raise ObjectiveError(
                f"Expected a guide that answers from what is present; got draws that change with '{name}' where it is "
                f"hidden. Read batch.present['{name}'] with batch['{name}'], as the aggregations do."
            )


def _several_terms(program: Program, data: Batch | Rows) -> bool:
    """Tells whether any stage's objective asks the guide about more than one subset."""
    objectives = [program.objective, *(stage.objective for stage in program.stages if stage.objective)]
    rng, like = np.random.default_rng(0), np.zeros(())
    return any(o.terms(get_backend(like), data[:2], rng, like).several() for o in objectives)


def _another(value: np.ndarray, fitted: Fitted, name: str) -> np.ndarray:
    """Another value of the same kind: larger by more than its rounding, for ids the next one."""
    modality = fitted.program.modalities[name]
    if modality.ids:
        return (value.astype(modality.dtype) + 1) % modality.ids
    return value + 1 + np.abs(value)


def _draws(fitted: Fitted, batch: Batch) -> dict[str, np.ndarray]:
    host = fitted.program.ppl.host
    hidden = host.latents(fitted.model, fitted.guide, batch, 1, 0, np.zeros(len(batch), bool))
    return {site: np.asarray(z)[0] for site, z in hidden.items()}
