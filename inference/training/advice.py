"""Warnings at a fit: settings that will not do what they seem to, and scales that residuals speak against."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mmppl.batch import Modality
from mmppl.errors import TrainingWarning
from mmppl.inference.objectives.schedules import WarmUp
from mmppl.inference.objectives.stratified import Stratified
from mmppl.inference.training.moments import Statistics
from mmppl.inference.training.program import Program
from mmppl.inference.training.standardization import CENTRE, SPREAD
from mmppl.warn import warn

__all__ = ["warn_of_cost", "warn_of_scales", "warn_of_units", "warn_of_warm_up"]

# Terms of a step beyond which their cost is said; five modalities have 31 subsets.
MANY_TERMS = 16
# Ratio of deviations beyond which one network cannot serve all units alike.
UNITS = 100.0
WRONG_BY = 2.0
# Residuals have settled where they change by less than this over the later half of so many epochs.
FLAT, EPOCHS = 0.05, 8


def warn_of_warm_up(objective: Any, stage: str, steps: int) -> None:
    """Warns where beta's warm-up is longer than the stage it is in."""
    beta = getattr(objective, "beta", None)
    if not isinstance(beta, WarmUp) or beta.steps <= steps:
        return
    reached = float(beta(np.array(float(steps))))
    _warn(
        f"Expected a warm-up of beta within the {steps} steps of stage '{stage}'; got {beta.steps} steps, so that beta "
        f"ends at {reached:.3g}, not at {beta.end:.3g}. Take more epochs, or a warm-up of at most {steps} steps."
    )


def warn_of_cost(objective: Any, stage: str, modalities: int) -> None:
    """Warns where all strata of an objective are decoded in every step, and are many."""
    if not isinstance(objective, Stratified) or objective.strata != "all":
        return
    terms = objective.strata_of(modalities)
    if terms > MANY_TERMS:
        _warn(
            f"{type(objective).__name__}(strata='all') of stage '{stage}' decodes every datum {terms} times in each "
            f"step, once for each stratum of {modalities} modalities. strata='one' decodes it once, for a bound with "
            "the same mean and more noise."
        )


def warn_of_units(statistics: Statistics, weights: Iterable[str]) -> None:
    """Warns where vectors are in very different units and no network of theirs standardises them."""
    weights = list(weights)
    deviations: dict[str, np.ndarray] = {}
    for name, modality in statistics.modalities.items():
        own = [w for w in weights if w.startswith(f"{name}.") and w.rpartition(".")[2] in (CENTRE, SPREAD)]
        if modality.kind != "vector" or modality.scoring.values == "counts" or own:
            continue
        spread = statistics.values(name).deviation.reshape(-1)
        if (spread > 0).any():
            deviations[name] = spread[spread > 0]
    if not deviations:
        return
    low = min(deviations, key=lambda name: deviations[name].min())
    high = max(deviations, key=lambda name: deviations[name].max())
    least, most = deviations[low].min(), deviations[high].max()
    if most > UNITS * least:
        _warn(
            f"Expected data of like units, or networks that standardise them; got standard deviations from {least:.3g} "
            f"('{low}') to {most:.3g} ('{high}'), and no network '<modality>.<part>' of these with a Standardize in "
            "it. Standardise the data, or build networks by mmppl.nets.encoder and decoder, called so."
        )


def warn_of_scales(program: Program, history: Sequence[Mapping[str, Any]]) -> None:
    r"""Warns where a scale that is not learned is wrong by 2, by the residuals that the objective's terms have.

    They follow from the mean log likelihood that the history has: of a normal density of D values and scale s,

    .. math:: \overline{r^2} / s^2 = -2 \log p / D - \log 2 \pi s^2

    and of a Laplace density :math:`\overline{|r|} / s = -\log p / D - \log 2 s`. The scale that such an objective is
    greatest at is the one of its residuals. That it is too small is said where residuals have settled alone.
    """
    if program.rebuild is None:  # what a user's own program scores by is not known
        return
    for name, modality in program.modalities.items():
        values = [record[f"log_lik.{name}"] for record in history if f"log_lik.{name}" in record]
        ratio = _residual(modality, values[-1]) if values else None
        if ratio is None or not isinstance(modality.scale, float):
            continue
        before = _residual(modality, values[len(values) // 2])
        settled = len(values) >= EPOCHS and before is not None and abs(before / ratio - 1.0) < FLAT
        if ratio <= 1 / WRONG_BY or (ratio >= WRONG_BY and settled):
            _warn(
                f"Expected residuals of modality '{name}' of about its fixed scale, {modality.scale:.3g}; got "
                f"{ratio * modality.scale:.3g}, {ratio:.2g} times that. Learn it, by scale='learned', or give "
                "what the noise is."
            )


def _residual(modality: Modality, log_lik: float) -> float | None:
    """The size of residuals in units of a fixed scale; None where they do not follow from a log likelihood."""
    scale, number = modality.scale, max(math.prod(modality.shape), 1)
    if not isinstance(scale, float) or modality.likelihood not in ("normal", "laplace") or not math.isfinite(log_lik):
        return None
    if modality.likelihood == "laplace":
        return max(-log_lik / number - math.log(2 * scale), 1e-12)
    return math.sqrt(max(-2 * log_lik / number - math.log(2 * math.pi * scale**2), 1e-24))


def _warn(message: str) -> None:
    warn(message, TrainingWarning)
