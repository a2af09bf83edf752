"""Prediction of every modality given subsets of the others: error, R2, held-out likelihood, coverage."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp

from mmppl.batch import Batch
from mmppl.checks import ANYTHING, at_least, checked, within
from mmppl.diagnostics.calibration import places
from mmppl.errors import ModalityError
from mmppl.inference import Fitted
from mmppl.inference.posterior.psis import pareto_k
from mmppl.inference.posterior.trust import share_above, trusted_k
from mmppl.modality import Modality
from mmppl.names import checked_subsets

__all__ = ["Prediction", "as_json", "prediction_by_subset"]

LABELS = ("category", "tokens")
CHUNK = 4096  # most rows times draws at once


@dataclass(frozen=True)
class Prediction:
    r"""Prediction of one modality given a subset S of the others, over N data that have both.

    Arguments:
        num: Number N of data.
        error: Root mean squared error of the mean of :math:`p(x_m \mid x_S)`, in the modality's unit; None for labels
            and tokens, and for coordinates in several units.
        r2: :math:`R^2` against predicting the mean of the N data: of images over all pixels, else the mean over the
            coordinates that vary; None for labels and tokens, and where nothing varies.
        accuracy: Share of labels or tokens that are the most likely under :math:`p(x_m \mid x_S)`; None for numbers.
        nll: Mean of :math:`-\log \frac{1}{K} \sum_k p(x_m \mid z_k)` with :math:`z_k \sim q(z \mid x_S)`, nats per
            datum: in expectation an upper bound on the log loss of :math:`\int p(x_m \mid z) q(z \mid x_S) dz`. None
            where z says a number or pixel itself, as in a diffusion in the space of the data: no draw meets another.
        nll_error: Its standard error over data; None where a few draws make up the sum over K, PSIS k of the densities
            being above 0.7 for more than a twentieth of the data, and the bound is off by an unknown number of nats.
        coverage: Share of values in the central set of the level asked for.
    """

    num: int
    error: float | None
    r2: float | None
    accuracy: float | None
    nll: float | None
    nll_error: float | None
    coverage: float


@checked(num=at_least(2), subsets=ANYTHING, level=within(0, 1, open_ends="()"))
def prediction_by_subset(
    fitted: Fitted,
    data: Batch | Mapping[str, Any],
    *,
    subsets: Sequence[Sequence[str]] | None = None,
    num: int = 100,
    level: float = 0.8,
    seed: int = 0,
) -> dict[tuple[str, ...], dict[str, Prediction]]:
    r"""Measures how well each modality is predicted given subsets of the others.

    Arguments:
        fitted: A fitted program.
        data: Data that were held out; a modality is evaluated on rows that have it and all of S.
        subsets: Each S; None for each modality alone and all but one.
        num: Draws K for each datum.
        level: Level of the central sets.
        seed: Random seed.

    Returns:
        By subset and by modality; modalities that fewer than two rows have are left out.

    Raises:
        ModalityError, DataError: If the data do not fit the program, or a subset names an unknown modality.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import models
        >>> from mmppl.data import load
        >>> from mmppl.inference import fit
        >>> data = load("linear_gaussian")
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> fitted = fit(program, data.train[:256], epochs=1, progress=False)
        >>> found = prediction_by_subset(fitted, data.test[:20], subsets=[("a", "b")], num=10)
        >>> found["a", "b"]["c"].num
        20
    """
    data = fitted.program.taken(data).validate(fitted.program.modalities)
    wanted = alone_and_all_but_one(data.modalities) if subsets is None else checked_subsets(subsets)
    out: dict[tuple[str, ...], dict[str, Prediction]] = {}
    for given in wanted:
        unknown = [name for name in given if name not in data.modalities]
        if unknown:
            raise ModalityError(f"Expected subsets of {list(data.modalities)}; got {unknown}.")
        found = {
            name: one
            for name in data.modalities
            if name not in given and (one := _predict(fitted, data, given, name, num, level, seed)) is not None
        }
        if found:
            out[given] = found
    return out


def alone_and_all_but_one(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Subsets of one modality, and of all but one.

    Example:
        >>> alone_and_all_but_one("ab")
        [('a',), ('b',)]
        >>> len(alone_and_all_but_one("abc"))
        6
    """
    alone = [(name,) for name in names] if len(names) > 1 else []
    rest = [tuple(n for n in names if n != name) for name in names] if len(names) > 2 else []
    return alone + rest


def as_json(found: Mapping[tuple[str, ...], Mapping[str, Prediction]]) -> dict[str, Any]:
    """Predictions by ``"a+b"`` and by modality, as JSON can hold them."""
    return {"+".join(given): {name: asdict(one) for name, one in own.items()} for given, own in found.items()}


def _predict(
    fitted: Fitted, data: Batch, given: tuple[str, ...], name: str, num: int, level: float, seed: int
) -> Prediction | None:
    modality = fitted.program.modalities[name]
    has = np.logical_and.reduce([np.asarray(data.present[n]) for n in (name, *given)])
    rows, size = data[np.flatnonzero(has)], max(1, CHUNK // num)
    if len(rows) < 2:
        return None
    parts = [_guess(fitted, rows[i : i + size], given, name, num, (seed, i)) for i in range(0, len(rows), size)]
    predicted, place, log_lik, k = (np.concatenate(part) for part in zip(*parts, strict=True))
    value, there = np.asarray(rows[name]), np.asarray(rows.there(name))
    error = r2 = accuracy = None
    if modality.kind in LABELS:
        accuracy = float(np.mean((predicted == value)[there]))
    else:
        error, r2 = _error(predicted, value, there, pooled=modality.kind == "image")
        error = error if _one_unit(modality) else None
    inside = np.abs(place - 0.5) <= level / 2
    # A point has no density, and that of a pixel about itself is too narrow for draws to meet it.
    points = not np.isfinite(log_lik).all() or fitted.program.bound is not None and modality.kind not in LABELS
    nll = None if points else -float(log_lik.mean())
    told = not points and trusted_k(share_above(k))
    nll_error = float(log_lik.std(ddof=1) / len(rows) ** 0.5) if told else None
    return Prediction(len(rows), error, r2, accuracy, nll, nll_error, float(np.mean(inside[there])))


def _guess(
    fitted: Fitted, rows: Batch, given: tuple[str, ...], name: str, num: int, seed: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The mean or most frequent value, the value's place among draws, its log density, and k of that; by row."""
    host, modality, seen = fitted.program.ppl.host, fitted.program.modalities[name], rows.only(*given)
    again = int(np.random.SeedSequence(seed).generate_state(1)[0])
    hidden = host.latents(fitted.model, fitted.guide, seen, num, again, np.full(len(rows), not given))
    drawn = modality.typed(host.decode(fitted.model, hidden, seen, again + 1, False)[name])
    if modality.kind in LABELS:
        from scipy import stats  # takes long to import, which others need not wait for

        predicted = stats.mode(drawn, axis=0).mode
    else:
        predicted = host.decode(fitted.model, hidden, seen, again + 1, True)[name].mean(0)
    log_lik = host.scores(fitted.model, hidden, rows.only(name), prior=False)[0][name]
    place = places(drawn, np.asarray(rows[name]), np.random.default_rng(again))
    met = np.isfinite(log_lik).any(axis=0)
    k = np.full(len(rows), np.inf)
    k[met] = pareto_k(log_lik[:, met])
    return predicted, place, logsumexp(log_lik, axis=0) - np.log(num), k


def _one_unit(modality: Modality) -> bool:
    """Tells whether all values are in one unit, so that their errors can be put together.

    Example:
        >>> [_one_unit(Modality((2,), units=units)) for units in (None, "mm", ["mm", "g"])]
        [True, True, False]
    """
    return not isinstance(modality.units, tuple) or len(set(modality.units)) == 1


def _error(mean: np.ndarray, value: np.ndarray, there: np.ndarray, pooled: bool) -> tuple[float, float | None]:
    """Root mean squared error and R2, over the elements that are there."""
    mean, value, there = (x.reshape(len(x), -1) for x in (mean.astype(float), value.astype(float), there))
    number = np.maximum(there.sum(0), 1)
    lost = np.where(there, (mean - value) ** 2, 0.0).sum(0)
    centre = np.where(there, value, 0.0).sum(0) / number
    total = np.where(there, (value - centre) ** 2, 0.0).sum(0)
    varies = total > 0
    error = float((lost.sum() / there.sum()) ** 0.5)
    if not varies.any():
        return error, None
    if pooled:
        return error, float(1.0 - lost.sum() / total.sum())
    return error, float(np.mean(1.0 - lost[varies] / total[varies]))
