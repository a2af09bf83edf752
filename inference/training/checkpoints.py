"""Saves after an epoch, of good weights alone."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mmppl.errors import RunError, TrainingError
from mmppl.inference.training.fitted import Fitted
from mmppl.inference.training.run_folder import Run
from mmppl.nets.transfer import not_finite

__all__ = ["check_weights", "save"]


def check_weights(weights: Mapping[str, np.ndarray], first: Mapping[str, np.ndarray], good: Fitted) -> None:
    """Raises :class:`TrainingError` if weights are no longer finite, before they are saved over good ones."""
    for name, value in weights.items():
        bad = not_finite(value, first.get(name))
        if bad:
            error = TrainingError(
                f"Weights '{name}' are not finite after epoch {len(good.history) + 1}: {bad} of {value.size} values. "
                "What was saved before is kept; lower the learning rate or set clip."
            )
            error.fitted = good  # type: ignore[attr-defined]
            raise error


def save(run: Run, state: Mapping[str, np.ndarray], fitted: Fitted) -> None:
    """Saves an epoch; an error of the disk takes along what could not be saved."""
    line = fitted.history[-1]
    try:
        # The line first: resuming drops a line too many, but could not make one up.
        run.log(line)
        run.save(fitted.weights, state, line["epoch"])
    except RunError as error:
        error.fitted = replace(fitted, history=fitted.history)  # type: ignore[attr-defined]
        raise
