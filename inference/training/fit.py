"""Fitting a program: stages, progress, records, checkpoints."""

import copy
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import ANYTHING, checked
from mmppl.data.dataset import Dataset
from mmppl.data.row_source import RowSource
from mmppl.errors import OptionError
from mmppl.inference.objectives.schedules import WarmUp
from mmppl.inference.training.advice import warn_of_cost, warn_of_scales, warn_of_units, warn_of_warm_up
from mmppl.inference.training.callbacks import Callbacks
from mmppl.inference.training.checkpoints import check_weights
from mmppl.inference.training.fitted import Fitted
from mmppl.inference.training.history import History
from mmppl.inference.training.leakage import check_no_leakage
from mmppl.inference.training.loop import Loop
from mmppl.inference.training.moments import Statistics
from mmppl.inference.training.prepared import Prepared, prepared
from mmppl.inference.training.processes import check_one_process
from mmppl.inference.training.program import Program, Stage
from mmppl.inference.training.resuming import check_data, check_same, losses_of
from mmppl.inference.training.run_folder import Run
from mmppl.inference.training.run_info import RunInfo
from mmppl.inference.training.scratch import Scratch
from mmppl.inference.training.settings import DIVIDING, Settings, TrainingSettings
from mmppl.inference.training.short_run import warn_of_biased_chains
from mmppl.inference.training.standardization import standardization
from mmppl.memory import asked_by
from mmppl.progress import tqdm

__all__ = ["fit"]


@checked(data=ANYTHING, validation=ANYTHING, callbacks=ANYTHING)
def fit(
    program: Program,
    data: Batch | Mapping[str, Any] | Dataset | RowSource,
    *,
    validation: Any = None,
    callbacks: Iterable[Any] = (),
    out: str | os.PathLike | None = None,
    resume: bool = False,
    force: bool = False,
    info: Mapping[str, Any] | None = None,
    progress: bool = True,
    **settings: Unpack[TrainingSettings],
) -> Fitted:
    """Fits a program to data by its objective, stage by stage: with Adam, or an optimizer of the host's.

    What networks keep that is no parameter, as running statistics (buffers on Pyro, mutable sites on NumPyro), moves in
    steps of training alone, and is part of the weights, never averaged. A step leaves networks of torch in the mode
    that the program gave them, but for those whose parameters all stay as they are; anything else runs them in
    evaluation mode.

    Arguments:
        program: What to fit. A published system starts from weights drawn from ``seed``; a user-defined program from
            the weights its networks have.
        data: The training data: a batch or arrays by name, of numpy or any host; a data set, whose training part is
            taken; or a source of rows, see :class:`~mmppl.data.RowSource`, that need not fit into memory: it is read
            once before the first step, to be checked, and read ahead by a thread in each epoch. Modalities may be
            missing, but not all of a row.
        validation: Data held out, on which the objective is evaluated after each epoch: a batch or arrays by name, a
            data set, whose test part is taken, a source of rows, or the share of the rows to hold out, in (0, 1), drawn
            by the seed. Networks of torch are in evaluation mode, the noise is the same in every epoch, and a beta that
            warms up is what it ends at. The history has it behind ``validation.``, and beside it
            ``validation.conditional.<m>``, a bound of log p(x_m | the others) of each modality, where the guide has a
            density.
        callbacks: Objects with some of the methods of :class:`~mmppl.inference.Callback`.
        out: Run folder, saved after every epoch; while the fit goes on no other can write there.
        resume: Whether to go on with the run in ``out``, bit for bit on the same machine: with the same data, which the
            folder has a digest of. One that has saved nothing yet begins anew.
        force: Whether a run in ``out`` may be replaced; only what mmppl wrote is.
        info: What else ``run.json`` should say, such as the data's name.
        progress: Whether to show a progress bar; in a log it is a line every half a minute, or less often.
        epochs: Passes over the data, all stages together, and at most where they stop early. None: each stage goes on
            for itself until the held-out bound is flat, with a constant learning rate; then, from the best weights on,
            for half as many epochs as it took to these, while the rate is annealed. Without ``validation`` a published
            system holds out a tenth of the rows, 5,000 at most, and learns from these too while the rate is annealed.
            Of vectors in memory that lack single elements, scored by normals with learned noise, it also holds out a
            tenth of what there is, 1,000 elements of each modality at most; in the end the noise is made as large as
            these say, so that intervals of what is missing are as wide as they say. A stage is flat where half as many
            steps as it took to the best bound brought no better one, at least 200 and at most 500 steps, or five epochs
            if these are more; or after 6,000 steps, or 300 epochs if these are more, but not more than 3,000. With less
            than 100 rows, a program of one's own without ``validation``, and a stage that learns an energy it is a
            number: 30, and for few data as many as make 4,000 steps, but not more than 300, shared by the stages.
        batch_size: Rows in a step.
        learning_rate: Adam's, times the stage's factor. None for the program's: 1e-3, or 3e-3 for systems of vectors
            alone whose objective is a bound of one latent, such as :func:`~mmppl.models.mvae`.
        seed: Random seed.
        ema: Decay of the averaged weights; 0 for none. A stage ends on its averaged weights. At its step t = 0, 1, ...
            the decay is at most (1 + t) / (10 + t), so that a short stage keeps little of what it started from.
        clip: Bound on the global norm of the gradient of the loss per datum; None for none.
        optimizer: In place of Adam, an optax transformation on NumPyro, such as ``optax.adamw(1e-3)``; on Pyro a
            function of parameters that gives an optimizer of torch, such as ``partial(torch.optim.AdamW, lr=1e-3)``, or
            one of ``pyro.optim``. Or a dictionary of these by the beginnings of parameters' names, the longest that
            fits: ``{"image.": slow, "": fast}``. The stage's factor is on its steps; clip and ema go on top.
        schedule: ``"cosine"`` annealing of the learning rate over each stage, the default with Adam, or ``"constant"``,
            the default with a user-defined optimizer. Or one of the host, by steps of a stage: on NumPyro an optax
            schedule, which is Adam's learning rate; on Pyro a function of an optimizer that gives a scheduler of
            torch.
        accumulate: Number A of parts of a step, taken one after another in the memory of one: A divides the rows of a
            step. Losses and weights are those of the whole step.
        devices: Number of devices among which the rows of a step are divided: JAX's on NumPyro, those of all processes
            that ``jax.distributed`` has joined; on Pyro processes of this machine, or torchrun's. Losses, weights and
            run folders are those of one device.
        precision: ``"bf16-mixed"`` for networks in bfloat16, as torch's autocast takes them: in steps, products of
            networks that ``mm.net`` gives (of any module on Pyro); parameters, the optimizer's state, densities and
            sums stay in float32, and whatever judges runs in it. None for the program's own precision.
        early_stopping: Patience in epochs, or :class:`~mmppl.inference.EarlyStopping`: a stage ends where the held-out
            loss no longer falls, and goes back to its best weights in any case. A stage that learns an energy is not
            watched: its loss lacks the normalizer.

    Raises:
        ModalityError, DataError: If the data do not fit the program, or a source fails: the error has the row's place.
        OptionError: If a setting is unknown or out of range, an optimizer, schedule or callback is none, early stopping
            has no validation data, a stage would train no parameter, there are fewer devices, or they do not divide
            the rows of a step, the host is in double precision beside ``precision`` or the program has no network for
            it, or the process is one of several that torchrun started and devices are not as many.
        ObjectiveError: If an objective needs more modalities, or the guide of a user-defined program looks at what an
            objective of several terms hides.
        RunError: If ``out`` exists, is not this run or is being written by another process, if the data are others, or
            if a save fails, as on a full disk; then its ``fitted`` holds what could not be saved.
        OutOfMemoryError: If memory does not suffice.
        TrainingError: If a loss, gradient or weight is not finite; its ``fitted`` holds the last good state, which is
            also what the run folder keeps. If one of several processes ends before its time.

    Warns:
        TrainingWarning: If a warm-up of beta is longer than its stage; if units of the data differ by more than 100 and
            nothing standardises them; if an objective decodes more than 16 strata in each step; if a fixed scale is
            wrong by 2, as residuals say; if early stopping does not watch a stage; if short-run chains end before they
            reach an energy-tilted prior, see :class:`~mmppl.priors.ChainBias`.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import models
        >>> from mmppl.data import load
        >>> data = load("linear_gaussian")
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> fitted = fit(program, data.train[:256], validation=0.2, epochs=2, batch_size=64, progress=False)
        >>> fitted.history.table()["validation.loss"].shape
        (2,)
    """
    how, calls = Settings.of(settings), Callbacks(callbacks)
    if how.early_stopping is not None and validation is None:
        raise OptionError("Expected validation= with early_stopping=, such as validation=0.1; got none.")
    check_one_process(how.devices, program.ppl.host.TRAINS_IN_PLACE)
    program, ready = prepared(program, data, validation, how.seed, is_open=how.epochs is None)
    data = ready.data
    batch_size = min(how.batch_size, len(data))
    joined = program.ppl.host.processes(how.devices) if how.devices > 1 else nullcontext(0)  # refuses too many
    how.check_divides(batch_size)
    how = how.with_learning_rate(program.learning_rate)
    if ready.held is None:
        how = how.with_epochs(len(data) // batch_size)
    plan = _plan(program.stages, epochs := how.with_epochs(len(data) // batch_size).epochs or 0)
    host, label = program.ppl.host, ready.label
    run = about = found = digest = progress_made = None
    if out is not None:
        run, about = Run(out), _about(program, ready, how, batch_size, info)
        calls.state()
    elif resume:
        raise OptionError("resume needs out=, the run folder.")
    with host.fitting(), ExitStack() as stack:
        snapshot, done, history = None, 0, History()
        first_process = stack.enter_context(joined) == 0
        if not first_process:  # it writes nothing, and is not seen
            calls, progress = Callbacks(()), False
        elif run:
            digest = ready.digesting()
        # The run to go on with, if any.
        if run and about and resume:
            found = run.info(resume=True)
            check_same(found, about)
            if first_process:
                stack.enter_context(run.writing())
            snapshot, progress_made = run.state() or (None, None)
            done = 0 if progress_made is None else progress_made.epoch
        elif run and first_process:
            run.check_free(force=force)
        # The program from its first weights.
        program = _within(program.fresh(how.seed), epochs * (len(data) // batch_size))
        plan = [(program.own(stage), number) for stage, number in plan]
        stack.enter_context(asked_by(f"a step of '{program.name}' with {batch_size} rows (batch_size)"))
        trainer = _trainer(program, plan, data[:batch_size], how)
        first = trainer.weights()
        if program.rebuild is None and not resume:
            check_no_leakage(Fitted(program, first, label=label), data)
        # What a resumed run has behind it, or the weights that fit the units of the data.
        if run and found and not first_process:
            history = History(run.history(progress_made) if progress_made else ())
        elif run and about and digest:
            about = replace(about, data_digest=digest())
            if found:
                check_data(found, digest())
                history = History(run.go_back(progress_made))
        if snapshot is not None:
            if first_process:
                calls.load(snapshot, str(out))
        elif done == 0:
            rows = data if ready.whole is None else ready.whole
            statistics = Statistics(rows, program.modalities, program.covariates)
            _warn_before(program, plan, statistics, batch_size, first)
            trainer.assign(standardization(statistics, first))
        if not first_process:
            run = None
        if run and about and not resume:
            stack.enter_context(run.writing())
            run.create(about, force=force)
        # The epochs.
        total = None if how.epochs is None else epochs
        bar = stack.enter_context(tqdm(total=total, initial=done, disable=not progress, unit="epoch"))
        loop = Loop(program, trainer, ready, batch_size, how, history, calls, run, bar, Scratch(run, stack))
        stack.callback(loop.end)
        _run_stages(loop, plan, snapshot, done)
        weights = trainer.weights()
        check_weights(weights, first, Fitted(program, loop.good, history, label))
    fitted = Fitted(program, weights, history, label)
    warn_of_scales(program, history)
    warn_of_biased_chains(fitted, data)
    return fitted


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """The signature that a notebook shows: the settings as the keywords that they are."""
    own = list(inspect.signature(function).parameters.values())[:-1]
    settings = inspect.signature(Settings).parameters.values()
    return inspect.signature(function).replace(parameters=[*own, *settings])


fit.__signature__ = _signature(fit)  # type: ignore[attr-defined]


def _about(
    program: Program, ready: Prepared, how: Settings, batch_size: int, info: Mapping[str, Any] | None
) -> RunInfo:
    """The record of the fit for its run folder.

    Raises:
        OptionError: If the options of the program cannot be saved.
    """
    program.check_options_can_be_saved()
    return RunInfo(
        **program.about(),
        objectives=[(stage.objective or program.objective).written() for stage in program.stages],
        label=None if ready.label is None else ready.label.tolist(),
        validation=ready.about_held,
        more=dict(info or {}),
        **how.record(batch_size),
    )


def _trainer(program: Program, plan: list[tuple[Stage, int]], rows: Batch, how: Settings) -> Any:
    """The host's trainer of the program, from the rows of a step.

    Raises:
        OptionError: If a stage would train no parameter, or the host cannot run the optimizer or schedule.
    """
    own: dict[str, Any] = {"seed": how.seed, "learning_rate": how.learning_rate, "clip": how.clip, "ema": how.ema}
    own |= {name: getattr(how, name) for name in DIVIDING if getattr(how, name) > 1}
    own |= {} if how.precision is None else {"precision": how.precision}
    trainer = program.ppl.host.Trainer(program, rows, **own, optimizer=how.optimizer)
    for stage, _ in plan:
        if not trainer.moved(stage):
            raise OptionError(
                f"Expected stage '{stage.name}' to train some of the parameters {list(trainer.weights())}; got names "
                f"that begin with {list(stage.train)}."
            )
        if how.optimizer is not None or callable(how.schedule):
            trainer.begin(stage, 1, how.schedule)  # refuses what the host cannot run, before a folder is made
    return trainer


def _run_stages(
    loop: Loop, plan: list[tuple[Stage, int]], snapshot: Mapping[str, np.ndarray] | None, done: int
) -> None:
    """Runs the stages, but for those that a resumed run has behind it: ``done`` epochs, which end in the snapshot."""
    for place, (stage, number) in enumerate(plan, start=1):
        course = loop.course_of(stage, number)
        losses = losses_of(loop.history[loop.epoch :], course)
        if course.over(losses) and loop.epoch + len(losses) < done:
            loop.epoch += len(losses)
            continue
        loop.run_stage(stage, course, losses, snapshot, is_last=place == len(plan))
        snapshot = None


def _warn_before(
    program: Program, plan: list[tuple[Stage, int]], statistics: Statistics, size: int, weights: Iterable[str]
) -> None:
    """Warns of what the settings will not do, before the first step."""
    data = statistics.data
    for stage, number in plan:
        objective = stage.objective or program.objective
        warn_of_warm_up(objective, stage.name, number * (len(data) // size))
        warn_of_cost(objective, stage.name, len(data.modalities))
    if program.rebuild is None:
        warn_of_units(statistics, weights)


def _within(program: Program, steps: int) -> Program:
    """The program whose warm-up of beta fits into so many steps, where it is to; stages have their own schedules."""
    beta = getattr(program.objective, "beta", None)
    if not isinstance(beta, WarmUp) or len(program.stages) > 1 or beta.within(steps) is beta:
        return program
    objective = copy.copy(program.objective)
    objective.beta = beta.within(steps)
    return replace(program, objective=objective)


def _plan(stages: tuple[Stage, ...], epochs: int) -> list[tuple[Stage, int]]:
    """Epochs of each stage, by share; every stage gets at least one."""
    if epochs < len(stages):
        raise OptionError(f"Expected at least {len(stages)} epochs, one for each stage; got {epochs}.")
    total = sum(stage.share for stage in stages)
    ends = np.round(np.cumsum([stage.share for stage in stages]) / total * epochs).astype(int)
    numbers = np.maximum(np.diff(np.concatenate([[0], ends])), 1)
    numbers[int(numbers.argmax())] -= int(numbers.sum()) - epochs
    return [(stage, int(n)) for stage, n in zip(stages, numbers, strict=True)]
