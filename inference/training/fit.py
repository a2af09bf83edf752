"""Fitting a program: stages, progress, records, checkpoints."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from mmppl.batch import Batch
from mmppl.data import minibatches
from mmppl.data.arrays import taken
from mmppl.errors import DataError, OptionError, RunError, TrainingError
from mmppl.inference.training.checksums import data_digest
from mmppl.inference.training.fitted import Fitted
from mmppl.inference.training.leakage import check_no_leakage
from mmppl.inference.training.learning_rate import SCHEDULES
from mmppl.inference.training.processes import check_one_process
from mmppl.inference.training.program import Program, Stage
from mmppl.inference.training.run_folder import Run
from mmppl.inference.training.run_info import RunInfo
from mmppl.inference.training.short_run import warn_of_biased_chains
from mmppl.inference.training.standardization import standardization
from mmppl.memory import asked_by
from mmppl.nets.transfer import not_finite

__all__ = ["fit"]

# What a run is resumed with has to be equal in these.
SAME = (
    *("model", "options", "modalities", "objectives", "backend", "label"),
    *("epochs", "batch_size", "learning_rate", "seed", "ema", "clip"),
)
# Types and ranges of the numbers. A step of Adam is about its learning rate, and has to stay far inside the precision.
SETTINGS: dict[str, tuple[type, str, Callable[[Any], bool]]] = {
    "epochs": (Integral, "to be a whole number, epochs >= 1", lambda x: x >= 1),
    "batch_size": (Integral, "to be a whole number, batch_size >= 1", lambda x: x >= 1),
    "learning_rate": (Real, "to be a finite number, learning_rate > 0 and at most 1e30", lambda x: 0 < x <= 1e30),
    "seed": (Integral, "to be a whole number, seed >= 0", lambda x: x >= 0),
    "ema": (Real, "to be a number, 0 <= ema < 1", lambda x: 0 <= x < 1),
    "clip": (Real, "to be None or a finite number, clip > 0", lambda x: x > 0),
}


def fit(
    program: Program,
    data: Batch | Mapping[str, Any],
    *,
    epochs: int = 30,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    seed: int = 0,
    ema: float = 0.0,
    clip: float | None = None,
    schedule: str = "cosine",
    out: str | os.PathLike | None = None,
    resume: bool = False,
    force: bool = False,
    info: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Fitted:
    """Fits a program to data with Adam on the program's objective, stage by stage.

    What networks keep that is no parameter, as running statistics (buffers on Pyro, mutable sites on NumPyro), moves in
    steps of training alone, and is part of the weights, never averaged. A step leaves networks of torch in the mode
    that the program gave them, but for those whose parameters all stay as they are; anything else runs them in
    evaluation mode.

    Arguments:
        program: What to fit. A published system starts from weights drawn from ``seed``; a user-defined program from
            the weights its networks have.
        data: The training data, a batch or arrays by name, of numpy or any host; modalities may be missing, but not all
            of a row.
        epochs: Passes over the data, all stages together.
        batch_size: Rows in a step.
        learning_rate: Adam's, times the stage's factor.
        seed: Random seed.
        ema: Decay of the averaged weights; 0 for none. A stage ends on its averaged weights. At its step t = 0, 1, ...
            the decay is at most (1 + t) / (10 + t), so that a short stage keeps little of what it started from.
        clip: Bound on the global norm of the gradient of the loss per datum; None for none.
        schedule: ``"cosine"`` annealing of the learning rate over each stage, or ``"constant"``.
        out: Run folder, saved after every epoch; while the fit goes on no other can write there.
        resume: Whether to go on with the run in ``out``, bit for bit on the same machine: with the same data, which the
            folder has a digest of. One that has saved nothing yet begins anew.
        force: Whether a run in ``out`` may be replaced; only what mmppl wrote is.
        info: What else ``run.json`` should say, such as the data's name.
        progress: Whether to show a progress bar.

    Raises:
        ModalityError, DataError: If the data do not fit the program.
        OptionError: If a number is out of range, a stage would train no parameter, or the process is one of several
            that torchrun started.
        ObjectiveError: If an objective needs more modalities, or the guide of a user-defined program looks at what an
            objective of several terms hides.
        RunError: If ``out`` exists, is not this run or is being written by another process, if the data are others, or
            if a save fails, as on a full disk; then its ``fitted`` holds what could not be saved.
        OutOfMemoryError: If memory does not suffice.
        TrainingError: If a loss, gradient or weight is not finite; its ``fitted`` holds the last good state, which is
            also what the run folder keeps.

    Warns:
        TrainingWarning: If short-run chains end before they reach an energy-tilted prior, see
            :class:`~mmppl.priors.ChainBias`.

    Example:
        >>> import mmppl.numpyro as mm
        >>> from mmppl import models
        >>> from mmppl.data import load
        >>> data = load("linear_gaussian")
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> fitted = fit(program, data.train[:256], epochs=2, batch_size=64, progress=False)
        >>> len(fitted.history)
        2
    """
    _check_numbers(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed, ema=ema, clip=clip)
    if schedule not in SCHEDULES:
        raise OptionError(f"Expected a schedule among {list(SCHEDULES)}; got {schedule!r}.")
    check_one_process()
    data = taken(data, program.modalities)
    program = program.for_elements_of(data)
    data = data.validate(program.modalities)
    for objective in (program.objective, *(stage.objective for stage in program.stages if stage.objective)):
        objective.check(data.modalities)
    batch_size = min(batch_size, len(data))
    plan = _plan(program.stages, epochs)
    settings: dict[str, Any] = {
        "epochs": int(epochs),
        "batch_size": int(batch_size),
        "learning_rate": float(learning_rate),
        "seed": int(seed),
        "ema": float(ema),
        "clip": None if clip is None else float(clip),
        "schedule": schedule,
    }
    host, label = program.ppl.host, _label(data)
    run = about = None
    if out is not None:
        run = Run(out)
        program.check_options_can_be_saved()
        about = RunInfo(
            **program.about(),
            objectives=[repr(stage.objective or program.objective) for stage in program.stages],
            label=None if label is None else label.tolist(),
            data_digest=data_digest(data),
            more=dict(info or {}),
            **settings,
        )
    elif resume:
        raise OptionError("resume needs out=, the run folder.")
    with host.fitting(), ExitStack() as held:
        snapshot, done, history = None, 0, []
        if run and about and resume:
            _same(run.info(), about)
            held.enter_context(run.writing())
            snapshot, progress_made = run.state() or (None, None)
            done = 0 if progress_made is None else progress_made.epoch
            history = run.go_back(progress_made)
        elif run:
            run.check_free(force=force)
        program = program.fresh(seed)
        rows = f"a step of '{program.name}' with {batch_size} rows (batch_size)"
        held.enter_context(asked_by(rows))
        trainer = host.Trainer(program, data[:batch_size], seed=seed, learning_rate=learning_rate, clip=clip, ema=ema)
        first = good = trainer.weights()
        for stage, _ in plan:
            if not trainer.moved(stage):
                raise OptionError(
                    f"Expected stage '{stage.name}' to train some of the parameters {list(first)}; got names that "
                    f"begin with {list(stage.train)}."
                )
        if program.rebuild is None and not resume:
            check_no_leakage(Fitted(program, first, label=label), data)
        if done == 0 and snapshot is None:
            trainer.assign(standardization(data, program.modalities, first))
        if run and about and not resume:
            held.enter_context(run.writing())
            run.create(about, force=force)
        bar = held.enter_context(tqdm(total=epochs, initial=done, disable=not progress, unit="epoch"))
        epoch = 0
        for stage, number in plan:
            last = epoch + number
            if last < done:
                epoch = last
                continue
            trainer.begin(stage, number * (len(data) // batch_size), schedule)
            if snapshot is not None:
                _restore(trainer, snapshot, run)
                snapshot, epoch = None, done
            seen = data if stage.encode is None else trainer.encode(stage.encode, data, batch_size)
            if stage.initialize is not None:
                trainer.assign(stage.initialize(seen))
            if not stage.cache:
                seen = data
            while epoch < last:
                record = _epoch(trainer, seen, batch_size, seed, epoch, program, history)
                epoch += 1
                if epoch == last:
                    trainer.finish()
                history.append({"epoch": epoch, "stage": stage.name, **record})
                if run:
                    weights = trainer.weights()
                    _check_weights(weights, first, Fitted(program, good, history[:-1], label))
                    _save(run, trainer.snapshot(), Fitted(program, weights, history, label))
                    good = weights
                bar.set_description(stage.name)
                bar.set_postfix(loss=f"{record['loss']:.4g}")
                bar.update()
        weights = trainer.weights()
        _check_weights(weights, first, Fitted(program, good, history, label))
    fitted = Fitted(program, weights, history, label)
    warn_of_biased_chains(fitted, data)
    return fitted


def _check_numbers(**numbers: Any) -> None:
    """Refuses settings out of range, by name; a number that is not finite, or a fraction of a count, is in no range."""
    for name, (kind, wanted, holds) in SETTINGS.items():
        value = numbers[name]
        real = isinstance(value, kind) and not isinstance(value, bool | np.bool_)
        if value is None and name == "clip" or real and np.isfinite(value) and holds(value):
            continue
        raise OptionError(f"Expected {name} {wanted}; got {name}={value!r}.")


def _restore(trainer: Any, snapshot: Mapping[str, np.ndarray], run: Run | None) -> None:
    try:
        trainer.restore(snapshot)
    except DataError as error:
        path = None if run is None else run.path
        raise RunError(f"The state in '{path}' does not fit the program: {error} Fit it again.") from error


def _check_weights(weights: Mapping[str, np.ndarray], first: Mapping[str, np.ndarray], good: Fitted) -> None:
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


def _save(run: Run, state: Mapping[str, np.ndarray], fitted: Fitted) -> None:
    """Saves an epoch; an error of the disk takes along what could not be saved."""
    line = fitted.history[-1]
    try:
        # The line first: resuming drops a line too many, but could not make one up.
        run.log(line)
        run.save(fitted.weights, state, line["epoch"])
    except RunError as error:
        error.fitted = replace(fitted, history=list(fitted.history))  # type: ignore[attr-defined]
        raise


def _epoch(
    trainer: Any, data: Batch, size: int, seed: int, epoch: int, program: Program, history: list
) -> dict[str, float]:
    start, records = time.perf_counter(), []
    for number, batch in enumerate(minibatches(data, size, seed=seed, epoch=epoch)):
        ok, record = trainer.step(batch)
        if not ok:
            error = TrainingError(
                f"The loss or its gradient is not finite in epoch {epoch + 1}, step {number + 1} "
                f"({', '.join(f'{k}={v:.4g}' for k, v in record.items())}). The state before this step is kept; lower "
                "the learning rate or set clip."
            )
            error.fitted = Fitted(program, trainer.weights(), list(history), _label(data))  # type: ignore[attr-defined]
            raise error
        records.append(record)
    mean = {name: float(np.mean([r[name] for r in records])) for name in records[0]}
    return {**mean, "steps": len(records), "seconds": round(time.perf_counter() - start, 3)}


def _label(data: Batch) -> np.ndarray | None:
    return None if data.label is None else np.asarray(data.label[:1])


def _plan(stages: tuple[Stage, ...], epochs: int) -> list[tuple[Stage, int]]:
    """Epochs of each stage, by share; every stage gets at least one."""
    if epochs < len(stages):
        raise OptionError(f"Expected at least {len(stages)} epochs, one for each stage; got {epochs}.")
    total = sum(stage.share for stage in stages)
    ends = np.round(np.cumsum([stage.share for stage in stages]) / total * epochs).astype(int)
    numbers = np.maximum(np.diff(np.concatenate([[0], ends])), 1)
    numbers[int(numbers.argmax())] -= int(numbers.sum()) - epochs
    return [(stage, int(n)) for stage, n in zip(stages, numbers, strict=True)]


def _same(found: RunInfo, wanted: RunInfo) -> None:
    for key in SAME:
        held, value = getattr(found, key), getattr(wanted, key)
        if held != value:
            raise RunError(f"The run has {key}={held!r}, not {value!r}; resume it with the same settings.")
    for key, value in wanted.more.items():
        if found.more.get(key) != value:
            raise RunError(f"The run has {key}={found.more.get(key)!r}, not {value!r}; resume it with the same info.")
    changed = _changed(found.data_digest or {}, wanted.data_digest or {})
    if changed:
        raise RunError(f"The data are not those that the run began with: {changed}. Resume it with the same data.")


def _changed(found: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The part of the data whose digest is another, in words."""
    if found.get("rows") != now["rows"]:
        return f"{now['rows']} rows, not {found.get('rows')}"
    for part, what in (("values", "values of"), ("present", "presence of")):
        names = [name for name, held in now[part].items() if found[part].get(name) != held]
        if names:
            return f"other {what} modality '{names[0]}'"
    return None if found["label"] == now["label"] else "other labels"
