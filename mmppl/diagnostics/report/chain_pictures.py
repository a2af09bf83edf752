"""Chains at work, as pictures: from the base to the tilted prior, and from the guide to the posterior."""

from html import escape

import numpy as np

from mmppl.data import Dataset
from mmppl.diagnostics.energies import energies
from mmppl.diagnostics.report.page import grid, paragraph
from mmppl.diagnostics.report.pictures import rows_of
from mmppl.inference import Fitted, trajectory

__all__ = ["chain_pictures"]

FRAMES, EVERY, STEP = 8, 10, 0.1
PRIOR_STEP = 0.2


def chain_pictures(fitted: Fitted, dataset: Dataset, seed: int = 0) -> str:
    """HTML of the frames; empty for programs that no kernel samples."""
    if fitted.program.kernel is None:
        return ""
    parts = []
    if energies(fitted, dataset.test[:2], seed=seed):
        caption = "Two chains that start in the base of the prior and climb its energy."
        parts += [_frames(fitted, dataset, None, "From the base to the prior", caption, PRIOR_STEP, seed)]
    source = next(iter(dataset.modalities))
    has = np.flatnonzero(np.asarray(dataset.test.present[source]))[:2]
    if has.size:
        caption = f"Chains that start at the guide's answer to the {source} of two test tuples; latents are decoded."
        given = dataset.test[has].only(source)
        parts += [_frames(fitted, dataset, given, "From the guide to the posterior", caption, STEP, seed)]
    return "".join(parts)


def _frames(fitted, dataset, given, title, caption, step, seed) -> str:
    number = 2 if given is None else len(given)
    frames = trajectory(fitted, given, num=number, frames=FRAMES, every=EVERY, step_size=step, seed=seed)
    rows = []
    for chain in range(number):
        for name, values in frames.items():
            own = rows_of(dataset, name, values[:, chain], "frame")
            rows += [(f"{head}, chain {chain + 1}", found, given) for head, found, given in own]
    header = ["", *(str(EVERY * k) for k in range(FRAMES + 1))]
    said = paragraph(f"{caption} A column is a number of steps.")
    return f"<h3>{escape(title)}</h3>" + said + grid(title, header, rows)
