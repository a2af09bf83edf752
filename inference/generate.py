"""Any modality from any subset of the others."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import ANYTHING, at_least, checked
from mmppl.covariates import as_known
from mmppl.errors import DataError, InferenceError, ModalityError, OptionError
from mmppl.inference.draws import Draws
from mmppl.inference.kernels import KERNELS
from mmppl.inference.posterior.short_chains import refine_draws
from mmppl.inference.training.fitted import Fitted, example
from mmppl.memory import asked_by
from mmppl.progress import tqdm

__all__ = ["complete", "generate", "keep"]

STEPS = 200


@checked(given=ANYTHING, covariates=ANYTHING, num=at_least(1), chunk=at_least(1))
def generate(
    fitted: Fitted,
    given: Batch | Mapping[str, Any] | None = None,
    num: int = 1,
    *,
    want: Sequence[str] | None = None,
    mean: bool = False,
    sampler: str | None = None,
    covariates: Mapping[str, Any] | None = None,
    seed: int = 0,
    chunk: int = 4096,
    progress: bool = False,
) -> Draws:
    r"""Draws modalities given what is present in each row, or from the prior.

    .. math:: z \sim q(z \mid x_S), \qquad x_m \sim p(x_m \mid z)

    Single elements that are missing are drawn like whole modalities, given all the rest of their row. In rows with
    nothing present z comes from the prior. Latents outside the plate of the data come from the guide where
    a row is given, and are shared by the rows of a draw. With a sampler, draws of z are moved towards the exact
    posterior :math:`p(z \mid x_S)` by steps of a kernel that start at the guide's.

    Arguments:
        fitted: A fitted program.
        given: A batch, or arrays by name; each row may have another pattern of present modalities. None draws from the
            prior.
        num: Number of draws K for each row.
        want: Modalities to return; all by default.
        mean: Whether to return the likelihood's mean (the most likely token or category) instead of a draw.
        sampler: None for the guide's draws, or a kernel by name, such as ``"mala"``, for 200 steps.
        covariates: Covariates c' to draw under, of a program that conditions on any: one value for all rows, or one for
            each. With ``given`` they answer what a row would be under others than its own, :math:`z \sim q(z \mid x_S,
            c),\ x_m \sim p(x_m \mid z, c')`: those not named stay as they are, and every modality is drawn, also what
            is observed. Without ``given`` all of them, for each of the ``num`` draws.
        seed: Random seed.
        chunk: Most rows times draws at once.
        progress: Whether to show a progress bar.

    Returns:
        For each wanted modality ``(K, N, *event)``, or ``(K, *event)`` without ``given``: token ids, categories and
        counts as int64, numbers as the host drew them, in float32 but for a program in double precision. Observed
        values come back unchanged; where they are finer than the draws beside them the array is as fine as they are.
        A dictionary that shows itself: see :meth:`~mmppl.inference.Draws.show`.

    Raises:
        ModalityError, DataError: If ``given`` does not fit the program, or it or ``want`` names an unknown modality.
        OptionError: If the sampler is unknown or ``num`` is out of range.
        InferenceError: If draws are not finite.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import models
        >>> from mmppl.data import load
        >>> from mmppl.inference import fit
        >>> data = load("linear_gaussian", num_train=64, num_test=8)
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> fitted = fit(program, data.train, epochs=1, seed=0, progress=False)
        >>> generate(fitted, data.test.only("a"), num=5)
        Draws: 5 of each of 8 rows
          modality  kind    array
          a         vector  5 x 8 x 3, float64
          b         vector  5 x 8 x 2, float32
          c         vector  5 x 8 x 4, float32
    """
    modalities, known = fitted.program.modalities, fitted.program.covariates
    if covariates and not known:
        raise OptionError(
            f"Expected no covariates, which '{fitted.program.name}' does not condition on; got {covariates!r:.200}. "
            "Give covariates=data.covariates to the system that is fitted."
        )
    if covariates is not None and (not isinstance(covariates, Mapping) or any(n not in known for n in covariates)):
        raise OptionError(f"Expected covariates among {list(known)}, values by name; got {covariates!r:.200}.")
    names = tuple(modalities) if want is None else tuple(want)
    unknown = [n for n in names if n not in modalities]
    if unknown or not names or len(set(names)) < len(names):
        raise ModalityError(f"Expected want, modalities among {list(modalities)}, each once; got {list(names)}.")
    if sampler is not None and sampler not in KERNELS:
        raise OptionError(f"Unknown sampler '{sampler}'; expected one of {sorted(KERNELS)}.")
    if given is None:
        if fitted.outside:
            # Rows of one batch share what lies outside the plate, so each draw has a batch of its own.
            empty = _under(fitted, example(modalities, 1).only(), covariates)
            made = _rows(fitted, empty, None, num, names, mean, None, seed, chunk, progress)
            return Draws({n: x[:, 0] for n, x in made.items()}, modalities, given=False)
        empty = _under(fitted, example(modalities, num).only(), covariates)
        made = _rows(fitted, empty, None, 1, names, mean, None, seed, chunk, progress)
        return Draws({n: x[0] for n, x in made.items()}, modalities, given=False)
    given = complete(given, fitted).validate(modalities, allow_empty_rows=True)
    others = None if covariates is None else _under(fitted, given, covariates).covariates
    return Draws(_rows(fitted, given, others, num, names, mean, sampler, seed, chunk, progress), modalities)


def _under(fitted: Fitted, rows: Batch, covariates: Mapping[str, Any] | None) -> Batch:
    """The rows under other covariates, one for all or one for each; those not named are their own."""
    known = fitted.program.covariates
    own = {name: rows.covariates[name] for name in known if name in rows.covariates}
    for name, value in (covariates or {}).items():
        value = np.asarray(value) if not hasattr(value, "shape") else value
        if value.ndim and len(value) != len(rows):
            raise DataError(f"Covariate '{name}': expected one value, or {len(rows)}, one a row; got {value.shape}.")
        own[name] = value if value.ndim else np.full(len(rows), value[()])
    return as_known(rows.with_covariates(own), known)


def complete(given: Batch | Mapping[str, Any], fitted: Fitted) -> Batch:
    """A modality that the batch does not hold at all is missing in every row."""
    modalities = fitted.program.modalities
    given = fitted.program.taken(given)
    unknown = [n for n in given.modalities if n not in modalities]
    if unknown:
        raise ModalityError(f"Expected given modalities among {list(modalities)}; got {unknown}. Leave them out.")
    blank = example(modalities, len(given)).only()
    values = {n: given.values.get(n, blank.values[n]) for n in modalities}
    masks = {n: given.masks.get(n, blank.masks[n]) for n in modalities}
    return Batch(values, masks, given.label, covariates=given.covariates, places=given.places)


def _rows(
    fitted: Fitted,
    batch: Batch,
    others: Mapping[str, np.ndarray] | None,
    num: int,
    names: tuple,
    mean: bool,
    sampler: str | None,
    seed: int,
    chunk: int,
    progress: bool,
) -> dict[str, np.ndarray]:
    host = fitted.program.ppl.host
    size = max(1, min(len(batch), chunk // num))
    parts: list[dict[str, np.ndarray]] = []
    for start in tqdm(range(0, len(batch), size), desc="generate", disable=not progress, leave=False):
        rows = batch[start : start + size]
        empty = ~np.asarray(rows.observed())
        again = int(np.random.SeedSequence([seed, start]).generate_state(1)[0])
        with asked_by(f"generate, {num} draws of {len(rows)} rows (num, chunk)"):
            hidden = host.latents(fitted.model, fitted.guide, rows, num, again, empty)
            if sampler is not None:
                hidden = refine_draws(fitted, rows, hidden, seed=again, kernel=sampler, steps=STEPS)
            decoded = rows
            if others:
                decoded = rows.with_parts(covariates={n: x[start : start + size] for n, x in others.items()})
            draws = host.decode(fitted.model, hidden, decoded, again + 1, mean)
        for name in names:
            _check_finite(name, draws[name], start, empty)
        typed = {n: fitted.program.modalities[n].typed(draws[n], mean) for n in names}
        parts.append(typed if others else {n: keep(x, rows, n) for n, x in typed.items()})
    return {n: np.concatenate([part[n] for part in parts], axis=1) for n in names}


def _check_finite(name: str, draws: np.ndarray, start: int, empty: np.ndarray) -> None:
    """Refuses draws ``(K, N, *event)`` that are not numbers: what is given, or the fit, is then wrong."""
    bad = ~np.isfinite(draws)
    if not bad.any():
        return
    rows = bad.any(tuple(i for i in range(bad.ndim) if i != 1))
    given = start + np.flatnonzero(rows & ~empty)
    if given.size:
        raise InferenceError(
            f"Draws of modality '{name}' are NaN or infinite in rows {given[:5].tolist()}. See that what is given has "
            "the units of the data that the program was fitted to."
        )
    raise InferenceError(
        f"Draws of modality '{name}' are NaN or infinite where nothing is given, from the prior. Look at the losses of "
        "the fit (fitted.history), and fit again, with a smaller learning rate or clip=."
    )


def keep(draws: np.ndarray, rows: Batch, name: str) -> np.ndarray:
    """Draws, with what is observed in its place: in the wider precision of both, so that neither is rounded."""
    value, mask = np.asarray(rows[name]), np.asarray(rows.there(name))
    if not mask.any():
        return draws
    if np.issubdtype(value.dtype, np.integer):
        value = value.astype(draws.dtype)  # ids below a vocabulary, which numpy would not let meet as unsigned
    return np.where(mask, value, draws)
