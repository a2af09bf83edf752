"""Any modality from any subset of the others."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import ANYTHING, at_least, checked
from mmppl.covariates import as_known
from mmppl.data.row_source import RowSource, is_source
from mmppl.data.rows import Rows
from mmppl.errors import DataError, ModalityError, OptionError
from mmppl.inference.drawn_blocks import DrawnBlocks
from mmppl.inference.draws import Draws
from mmppl.inference.draws_folder import DrawsFolder, DrawsInMemory
from mmppl.inference.kernels import KERNELS
from mmppl.inference.training.example import example
from mmppl.inference.training.fitted import Fitted
from mmppl.inference.training.processes import check_one_process
from mmppl.progress import tqdm

__all__ = ["complete", "generate"]


@checked(given=ANYTHING, covariates=ANYTHING, num=at_least(1), chunk=at_least(1), devices=at_least(1))
def generate(
    fitted: Fitted,
    given: Batch | Mapping[str, Any] | RowSource | None = None,
    num: int = 1,
    *,
    want: Sequence[str] | None = None,
    mean: bool = False,
    sampler: str | None = None,
    covariates: Mapping[str, Any] | None = None,
    seed: int = 0,
    chunk: int = 4096,
    devices: int = 1,
    out: str | os.PathLike | None = None,
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
        given: A batch, or arrays by name; each row may have another pattern of present modalities. Or a source of
            rows, see :class:`~mmppl.data.RowSource`. None draws from the prior.
        num: Number of draws K for each row.
        want: Modalities to return; all by default.
        mean: Whether to return the likelihood's mean (the most likely token or category) instead of a draw.
        sampler: None for the guide's draws, or a kernel by name, such as ``"mala"``, for 200 steps.
        covariates: Covariates c' to draw under, of a program that conditions on any: one value for all rows, or one for
            each. With ``given`` they answer what a row would be under others than its own, :math:`z \sim q(z \mid x_S,
            c),\ x_m \sim p(x_m \mid z, c')`: those not named stay as they are, and every modality is drawn, also what
            is observed. Without ``given`` all of them, for each of the ``num`` draws.
        seed: Random seed.
        chunk: Most rows times draws at once. Each such block has random numbers of its own.
        devices: Number of devices: JAX's, among which the rows of a block are divided, on NumPyro; processes of this
            machine, which share the blocks out, on Pyro. Draws are those of one device.
        out: A folder to make, in which each modality is written to ``<name>.npy``, block by block: for more rows than
            memory holds. The arrays that are returned are memory-mapped then.
        progress: Whether to show a progress bar.

    Returns:
        For each wanted modality ``(K, N, *event)``, or ``(K, *event)`` without ``given``: token ids, categories and
        counts as int64, numbers as the host drew them, in float32 but for a program in double precision. Observed
        values come back unchanged; where they are finer than the draws beside them the array is as fine as they are.
        A dictionary that shows itself: see :meth:`~mmppl.inference.Draws.show`.

    Raises:
        ModalityError, DataError: If ``given`` does not fit the program, or it or ``want`` names an unknown modality.
        OptionError: If the sampler is unknown, ``num`` is out of range, or there are fewer devices.
        InferenceError: If draws are not finite, or one of several processes has been ended.
        DataError: If ``out`` exists or cannot be written, or a source fails.

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
    if devices > 1:
        check_one_process(devices, False)
    # Rows of one batch share what lies outside the plate, so each draw from the prior has a batch of its own then.
    alone = given is None and bool(fitted.outside)
    number, take = _prior_rows(fitted, 1 if alone else num) if given is None else _given_rows(fitted, given)
    _check_lengths(covariates, number)

    def taken(start: int, stop: int) -> tuple[Batch, Mapping[str, Any] | None]:
        rows = take(start, stop)
        if not covariates and given is not None:
            return rows, None
        part = {n: x[start:stop] if np.ndim(x) else x for n, x in (covariates or {}).items()}
        rows_under = _under(fitted, rows, part)
        return (rows_under, None) if given is None else (rows, rows_under.covariates)

    each = num if given is not None or alone else 1
    blocks = DrawnBlocks(fitted, taken, each, names, mean, sampler, seed, even=out is not None)
    axis, lead = (1, None) if given is not None else (0, 1 if alone else 0)
    into = DrawsInMemory(axis) if out is None else DrawsFolder(out, num if alone else number, axis)
    size = max(1, min(number, chunk // each))
    starts = range(0, number, size)
    with into as writer:
        done = fitted.program.ppl.host.on_devices(devices, [partial(blocks, s, min(s + size, number)) for s in starts])
        for start in tqdm(starts, desc="generate", disable=not progress, leave=False):
            block = next(done)
            writer.add(start, block if lead is None else {n: x.take(0, axis=lead) for n, x in block.items()})
        done.close()
    return Draws(into.arrays(), modalities, given=given is not None)


def _prior_rows(fitted: Fitted, number: int) -> tuple[int, Callable[[int, int], Batch]]:
    """Rows without anything, as many as are asked for, none of which takes memory."""

    def take(start: int, stop: int) -> Batch:
        return example(fitted.program.modalities, stop - start).only().with_parts(places=np.arange(start, stop))

    return number, take


def _given_rows(fitted: Fitted, given: Any) -> tuple[int, Callable[[int, int], Batch]]:
    """Number of the rows that are given, and a function that takes some of them."""
    modalities, known = fitted.program.modalities, fitted.program.covariates
    if not is_source(given):
        batch = complete(given, fitted).validate(modalities, allow_empty_rows=True)
        return len(batch), lambda start, stop: batch[start:stop]
    first = Rows(given, modalities, known).first_names()
    rows = Rows(given, {n: m for n, m in modalities.items() if n in first}, known, allow_empty_rows=True)
    return len(rows), lambda start, stop: complete(rows[start:stop], fitted).with_parts(places=np.arange(start, stop))


def _check_lengths(covariates: Mapping[str, Any] | None, number: int) -> None:
    for name, value in (covariates or {}).items():
        if np.ndim(value) and len(value) != number:
            raise DataError(f"Covariate '{name}': expected one value, or {number}, one a row; got {np.shape(value)}.")


def _under(fitted: Fitted, rows: Batch, covariates: Mapping[str, Any]) -> Batch:
    """The rows under other covariates, one for all or one for each; those not named are their own."""
    known = fitted.program.covariates
    own = {name: rows.covariates[name] for name in known if name in rows.covariates}
    for name, value in covariates.items():
        value = np.asarray(value) if not hasattr(value, "shape") else value
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
