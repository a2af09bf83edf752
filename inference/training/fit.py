"""Fitting a program: stages, progress, records, checkpoints."""

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from mmppl.batch import Batch
from mmppl.data import minibatches
from mmppl.data.arrays import taken
from mmppl.errors import OptionError, RunError, TrainingError
from mmppl.inference.training.fitted import Fitted
from mmppl.inference.training.leakage import check_no_leakage
from mmppl.inference.training.learning_rate import SCHEDULES
from mmppl.inference.training.program import Program, Stage
from mmppl.inference.training.run_folder import Run
from mmppl.inference.training.short_run import warn_of_biased_chains
from mmppl.inference.training.standardization import standardization

__all__ = ["fit"]


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
        out: Run folder, saved after every epoch.
        resume: Whether to go on with the run in ``out``, bit for bit on the same machine.
        force: Whether a run in ``out`` may be replaced.
        info: What else ``run.json`` should say, such as the data's name.
        progress: Whether to show a progress bar.

    Raises:
        ModalityError, DataError: If the data do not fit the program.
        OptionError: If a number is out of range, or a stage would train no parameter.
        ObjectiveError: If an objective needs more modalities, or the guide of a user-defined program looks at what an
            objective of several terms hides.
        RunError: If ``out`` exists, or is not this run.
        TrainingError: If a loss or gradient is not finite; its ``fitted`` holds the last good state, which is also
            what the run folder keeps.

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
    if epochs < 1 or batch_size < 1 or learning_rate <= 0 or not 0.0 <= ema < 1.0 or (clip is not None and clip <= 0):
        raise OptionError("Expected epochs >= 1, batch_size >= 1, learning_rate > 0, 0 <= ema < 1 and clip > 0.")
    if schedule not in SCHEDULES:
        raise OptionError(f"Expected a schedule among {list(SCHEDULES)}; got {schedule!r}.")
    data = taken(data, program.modalities).validate(program.modalities)
    for objective in (program.objective, *(stage.objective for stage in program.stages if stage.objective)):
        objective.check(data.modalities)
    batch_size = min(batch_size, len(data))
    plan = _plan(program.stages, epochs)
    settings = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "ema": ema,
        "clip": clip,
        "schedule": schedule,
    }
    host = program.ppl.host
    about = {
        "model": program.name,
        "options": program.options,
        "modalities": {name: modality.as_dict() for name, modality in program.modalities.items()},
        "objectives": [repr(stage.objective or program.objective) for stage in program.stages],
        "backend": host.NAME,
        **settings,
        **(info or {}),
    }
    label = _label(data)
    if label is not None:
        about["label"] = label.tolist()
    run, done, snapshot = None, 0, None
    if out is not None:
        program.check_options_can_be_saved()
        run = Run(out)
        if resume:
            _same(run.info(), about)
            snapshot, progress_made = run.state()
            done = int(progress_made["epoch"])
            run.truncate(done)
        else:
            run.check_free(force=force)
    elif resume:
        raise OptionError("resume needs out=, the run folder.")
    program = program.fresh(seed)
    history = run.history() if run and resume else []
    trainer = host.Trainer(program, data[:batch_size], seed=seed, learning_rate=learning_rate, clip=clip, ema=ema)
    weights = trainer.weights()
    for stage, _ in plan:
        if not trainer.moved(stage):
            raise OptionError(
                f"Expected stage '{stage.name}' to train some of the parameters {list(weights)}; got names that begin "
                f"with {list(stage.train)}."
            )
    if program.rebuild is None and not resume:
        check_no_leakage(Fitted(program, weights, label=label), data)
    if not resume:
        trainer.assign(standardization(data, program.modalities, weights))
    if run and not resume:
        run.create(about, force=force)
    bar = tqdm(total=epochs, initial=done, disable=not progress, unit="epoch")
    epoch = 0
    try:
        for stage, number in plan:
            last = epoch + number
            if last < done:
                epoch = last
                continue
            trainer.begin(stage, number * (len(data) // batch_size), schedule)
            if snapshot is not None:
                trainer.restore(snapshot)
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
                line = {"epoch": epoch, "stage": stage.name, **record}
                history.append(line)
                if run:
                    # The line first: resuming drops a line too many, but could not make one up.
                    run.log(line)
                    run.save(trainer.weights(), trainer.snapshot(), {"epoch": epoch})
                bar.set_description(stage.name)
                bar.set_postfix(loss=f"{record['loss']:.4g}")
                bar.update()
    finally:
        bar.close()
    fitted = Fitted(program, trainer.weights(), history, label)
    warn_of_biased_chains(fitted, data)
    return fitted


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


def _same(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        # A run of an earlier version does not say its objectives.
        held = found.get(key, value if key == "objectives" else None)
        if held != value:
            raise RunError(f"The run has {key}={held!r}, not {value!r}; resume it with the same settings.")
