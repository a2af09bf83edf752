"""Draws of modalities for some rows at a time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.errors import InferenceError
from mmppl.inference.posterior.short_chains import refine_draws
from mmppl.inference.training.fitted import Fitted
from mmppl.memory import asked_by

__all__ = ["DrawnBlocks", "keep"]

STEPS = 200


@dataclass(frozen=True, eq=False)
class DrawnBlocks:
    """Draws for blocks of rows, each of which has random numbers of its own.

    Arguments:
        fitted: A fitted program.
        take: Gives rows from a first to before a last one, and the covariates to draw under, where they are others.
        num: Draws K of each row.
        names: Modalities to draw.
        mean: Whether to take means in place of draws.
        sampler: A kernel that moves the latents, by name, or None.
        seed: Random seed.
        even: Whether arrays are as fine as values that are given, in blocks too that have none.
    """

    fitted: Fitted
    take: Callable[[int, int], tuple[Batch, Mapping[str, Any] | None]]
    num: int
    names: tuple[str, ...]
    mean: bool
    sampler: str | None
    seed: int
    even: bool = False

    def __call__(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Arrays ``(K, stop - start, *event)`` by name, what is observed in its place.

        Raises:
            InferenceError: If draws are not finite.
        """
        fitted, (rows, others) = self.fitted, self.take(start, stop)
        host, empty = fitted.program.ppl.host, ~np.asarray(rows.observed())
        again = int(np.random.SeedSequence([self.seed, start]).generate_state(1)[0])
        with asked_by(f"generate, {self.num} draws of {len(rows)} rows (num, chunk)"):
            hidden = host.latents(fitted.model, fitted.guide, rows, self.num, again, empty)
            if self.sampler is not None:
                hidden = refine_draws(fitted, rows, hidden, seed=again, kernel=self.sampler, steps=STEPS)
            # Under other covariates nothing that was observed is given.
            decoded = rows.with_parts(covariates=dict(others), elements={}) if others else rows
            draws = host.decode(fitted.model, hidden, decoded, again + 1, self.mean)
        for name in self.names:
            _check_finite(name, draws[name], start, empty)
        typed = {n: fitted.program.modalities[n].typed(draws[n], self.mean) for n in self.names}
        if others:
            return typed
        kept = {n: keep(x, rows, n) for n, x in typed.items()}
        return {n: _as_fine(x, np.asarray(rows[n])) for n, x in kept.items()} if self.even else kept


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


def _as_fine(draws: np.ndarray, given: np.ndarray) -> np.ndarray:
    floats = draws.dtype.kind == given.dtype.kind == "f"
    return draws.astype(np.promote_types(draws.dtype, given.dtype), copy=False) if floats else draws
