"""What tables of systems measure of a fit, by :func:`mmppl.diagnostics.evaluate`."""

from typing import Any

import numpy as np

from benchmarks.pages import Row
from mmppl.data import Dataset
from mmppl.diagnostics import evaluate
from mmppl.inference import Fitted
from mmppl.metrics import Classifiers

__all__ = ["judged", "measures"]


def judged(fitted: Fitted, data: Dataset, classifiers: Classifiers, rows: int, seed: int) -> dict[str, Any]:
    """Everything that is measured; predictions and their coverage are of so many test rows."""
    return evaluate(fitted, data, classifiers=classifiers, prediction_rows=rows, seed=seed)


def measures(found: dict[str, Any], fitted: Fitted, kind: str) -> Row:
    """The numbers of a row, those of what is generated of ``"draws"`` or of ``"means"``."""
    scored = found["log_likelihood"]
    told = [one["value"] for one in found["two_sample"]["draws"].values() if one is not None]
    sets = [one["coverage"] for own in (found["prediction"] or {}).values() for one in own.values()]
    return {
        "joint": found["coherence"][kind]["joint"]["value"],
        "cross": found["cross_coherence"][kind]["mean"]["value"],
        "left": found["leave_one_out_coherence"][kind]["mean"]["value"],
        "frechet": float(np.mean(list(found["frechet"][kind].values()))),
        "told": float(np.mean(told)),
        "coverage": float(np.mean(sets)) if sets else None,
        "log_lik": None if scored is None else scored["density"],
        "bad_k": None if scored is None else scored["share_k_above_0.7"],
        # The first epoch of a stage compiles.
        "epoch": float(np.median([line["seconds"] for line in fitted.history])),
    }
