"""Fitting a program: stages, progress, records, checkpoints."""

import copy
import inspect
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import ANYTHING, checked
from mmppl.data import minibatches
from mmppl.data.arrays import taken
from mmppl.errors import OptionError, TrainingError, TrainingWarning
from mmppl.inference.objectives.schedules import WarmUp
from mmppl.inference.training.advice import warn_of_cost, warn_of_scales, warn_of_units, warn_of_warm_up
from mmppl.inference.training.callbacks import STATES, Callbacks, FitEvent
from mmppl.inference.training.checkpoints import check_weights, save
from mmppl.inference.training.checksums import digesting
from mmppl.inference.training.early_stopping import EarlyStopping
from mmppl.inference.training.fitted import Fitted
from mmppl.inference.training.held_out import even_blocks, hold_out, weighted_mean
from mmppl.inference.training.history import History
from mmppl.inference.training.leakage import check_no_leakage
from mmppl.inference.training.processes import check_one_process
from mmppl.inference.training.program import Program, Stage
from mmppl.inference.training.resuming import BEST, LOSS, check_data, check_same, losses_of, restore
from mmppl.inference.training.run_folder import Run
from mmppl.inference.training.run_info import RunInfo
from mmppl.inference.training.settings import Settings, TrainingSettings
from mmppl.inference.training.short_run import warn_of_biased_chains
from mmppl.inference.training.standardization import standardization
from mmppl.memory import asked_by
from mmppl.progress import tqdm
from mmppl.warn import warn

__all__ = ["fit"]

MEASURED = 256


@checked(data=ANYTHING, validation=ANYTHING, callbacks=ANYTHING)
def fit(
    program: Program,
    data: Batch | Mapping[str, Any],
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
        data: The training data, a batch or arrays by name, of numpy or any host; modalities may be missing, but not all
            of a row.
        validation: Data held out, on which the objective is evaluated after each epoch: a batch or arrays by name, a
            data set, whose test part is taken, or the share of the rows to hold out, in (0, 1), drawn by the seed.
            Networks of torch are in evaluation mode, the noise is the same in every epoch, and a beta that warms up is
            what it ends at. The history has it behind ``validation.``.
        callbacks: Objects with some of the methods of :class:`~mmppl.inference.Callback`.
        out: Run folder, saved after every epoch; while the fit goes on no other can write there.
        resume: Whether to go on with the run in ``out``, bit for bit on the same machine: with the same data, which the
            folder has a digest of. One that has saved nothing yet begins anew.
        force: Whether a run in ``out`` may be replaced; only what mmppl wrote is.
        info: What else ``run.json`` should say, such as the data's name.
        progress: Whether to show a progress bar.
        epochs: Passes over the data, all stages together, and at most where they stop early.
        batch_size: Rows in a step.
        learning_rate: Adam's, times the stage's factor; 1e-3 by default.
        seed: Random seed.
        ema: Decay of the averaged weights; 0 for none. A stage ends on its averaged weights. At its step t = 0, 1, ...
            the decay is at most (1 + t) / (10 + t), so that a short stage keeps little of what it started from.
        clip: Bound on the global norm of the gradient of the loss per datum; None for none.
        optimizer: In place of Adam, an optax transformation on NumPyro, such as ``optax.adamw(1e-3)``; on Pyro a
            function of parameters that gives an optimizer of torch, such as ``partial(torch.optim.AdamW, lr=1e-3)``, or
            one of ``pyro.optim``. Or a dictionary of these by the beginnings of parameters' names, the longest that
            fits: ``{"image.": slow, "": fast}``. The stage's factor is on its steps; clip and ema go on top.
        schedule: ``"cosine"`` annealing of the learning rate over each stage, the default with Adam, or ``"constant"``,
            the default with an optimizer of one's own. Or one of the host, by steps of a stage: on NumPyro an optax
            schedule, which is Adam's learning rate; on Pyro a function of an optimizer that gives a scheduler of
            torch.
        early_stopping: Patience in epochs, or :class:`~mmppl.inference.EarlyStopping`: a stage ends where the held-out
            loss no longer falls, and goes back to its best weights in any case. A stage that learns an energy is not
            watched: its loss lacks the normalizer.

    Raises:
        ModalityError, DataError: If the data do not fit the program.
        OptionError: If a setting is unknown or out of range, an optimizer, schedule or callback is none, early stopping
            has no validation data, a stage would train no parameter, or the process is one of several that torchrun
            started.
        ObjectiveError: If an objective needs more modalities, or the guide of a user-defined program looks at what an
            objective of several terms hides.
        RunError: If ``out`` exists, is not this run or is being written by another process, if the data are others, or
            if a save fails, as on a full disk; then its ``fitted`` holds what could not be saved.
        OutOfMemoryError: If memory does not suffice.
        TrainingError: If a loss, gradient or weight is not finite; its ``fitted`` holds the last good state, which is
            also what the run folder keeps.

    Warns:
        TrainingWarning: If a warm-up of beta is longer than its stage; if units of the data differ by more than 100 and
            nothing standardises them; if an objective decodes more than 16 strata in each step; if a fixed scale is
            wrong by 2, as residuals say; if early stopping does not watch a stage; if short-run chains end before they
            reach an energy-tilted prior, see :class:`~mmppl.priors.ChainBias`.

    Example:
        >>> import mmppl.numpyro as mm
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
    check_one_process()
    data = taken(data, program.modalities)
    program = program.for_elements_of(data)
    data = data.validate(program.modalities)
    data, held, about_held = hold_out(validation, data, program.modalities, how.seed)
    for objective in (program.objective, *(stage.objective for stage in program.stages if stage.objective)):
        objective.check(data.modalities)
    batch_size = min(how.batch_size, len(data))
    plan = _plan(program.stages, how.epochs)
    host, label = program.ppl.host, _label(data)
    for part in (data, held):
        if part is not None:
            host.check_numbers(part)
    run = about = found = digest = progress_made = None
    if out is not None:
        run = Run(out)
        program.check_options_can_be_saved()
        calls.state()
        digest = digesting(data)
        about = RunInfo(
            **program.about(),
            objectives=[repr(stage.objective or program.objective) for stage in program.stages],
            label=None if label is None else label.tolist(),
            validation=about_held,
            more=dict(info or {}),
            **how.record(batch_size),
        )
    elif resume:
        raise OptionError("resume needs out=, the run folder.")
    with host.fitting(), ExitStack() as stack:
        snapshot, done, history = None, 0, History()
        if run and about and resume:
            found = run.info()
            check_same(found, about)
            stack.enter_context(run.writing())
            snapshot, progress_made = run.state() or (None, None)
            done = 0 if progress_made is None else progress_made.epoch
        elif run:
            run.check_free(force=force)
        program = _within(program.fresh(how.seed), how.epochs * (len(data) // batch_size))
        stack.enter_context(asked_by(f"a step of '{program.name}' with {batch_size} rows (batch_size)"))
        own = {"seed": how.seed, "learning_rate": how.learning_rate, "clip": how.clip, "ema": how.ema}
        trainer = host.Trainer(program, data[:batch_size], **own, optimizer=how.optimizer)
        first = trainer.weights()
        for stage, _ in plan:
            if not trainer.moved(stage):
                raise OptionError(
                    f"Expected stage '{stage.name}' to train some of the parameters {list(first)}; got names that "
                    f"begin with {list(stage.train)}."
                )
            if how.optimizer is not None or callable(how.schedule):
                trainer.begin(stage, 1, how.schedule)  # refuses what the host cannot run, before a folder is made
        if program.rebuild is None and not resume:
            check_no_leakage(Fitted(program, first, label=label), data)
        if run and about and digest:
            about = replace(about, data_digest=digest())
            if found:
                check_data(found, digest())
                history = History(run.go_back(progress_made))
        if snapshot is not None:
            calls.load(snapshot, str(out))
        elif done == 0:
            _warn_before(program, plan, data, batch_size, first)
            trainer.assign(standardization(data, program.modalities, first))
        if run and about and not resume:
            stack.enter_context(run.writing())
            run.create(about, force=force)
        bar = stack.enter_context(tqdm(total=how.epochs, initial=done, disable=not progress, unit="epoch"))
        loop = _Loop(program, trainer, data, held, batch_size, how, history, calls, run, bar, label)
        stack.callback(loop.end)
        for stage, number in plan:
            rule = loop.rule_of(stage)
            losses, over = losses_of(history[loop.epoch :], number, rule)
            if over and loop.epoch + len(losses) < done:
                loop.epoch += len(losses)
                continue
            loop.run_stage(stage, number, rule, losses, snapshot)
            snapshot = None
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


class _Loop:
    """Epochs and stages of one fit, from where they are."""

    def __init__(
        self,
        program: Program,
        trainer: Any,
        data: Batch,
        held: Batch | None,
        size: int,
        how: Settings,
        history: History,
        calls: Callbacks,
        run: Run | None,
        bar: Any,
        label: np.ndarray | None,
    ):
        self.program, self.trainer, self.data, self.held, self.size = program, trainer, data, held, size
        self.how, self.history, self.calls, self.run, self.bar, self.label = how, history, calls, run, bar, label
        self.first = self.good = trainer.weights()
        self.epoch, self.steps, self.stage = 0, sum(record.get("steps", 0) for record in history), ""

    def run_stage(
        self,
        stage: Stage,
        number: int,
        rule: EarlyStopping | None,
        losses: list[float],
        snapshot: Mapping[str, np.ndarray] | None,
    ) -> None:
        """Runs a stage from its first epoch, or from a snapshot after those that have the losses."""
        trainer, self.stage = self.trainer, stage.name
        trainer.begin(stage, number * (len(self.data) // self.size), self.how.schedule)
        best: Mapping[str, np.ndarray] | None = None
        if snapshot is not None:
            own = {n: x for n, x in snapshot.items() if not n.startswith((BEST, STATES))}
            restore(trainer, own, self.run)
            best = {n.removeprefix(BEST): x for n, x in snapshot.items() if n.startswith(BEST)}
            self.epoch += len(losses)
        else:
            self._call("on_stage", {})
        seen, held = self.data, self.held
        if stage.encode is not None:
            seen = trainer.encode(stage.encode, self.data, self.size)
            held = None if held is None else trainer.encode(stage.encode, held, self.size)
        if stage.initialize is not None:
            trainer.assign(stage.initialize(seen))
        if not stage.cache:
            seen, held = self.data, self.held
        blocks = [] if held is None else list(even_blocks(held, self.size))
        over = len(losses) == number or bool(rule and rule.ended(losses))
        while not over:
            record = self._epoch(seen)
            if blocks:
                parts = [trainer.held_out(rows, n) for n, rows in enumerate(blocks)]
                record |= {f"validation.{name}": value for name, value in weighted_mean(parts, blocks).items()}
            if stage.measure is not None:
                record |= trainer.measure(stage.measure, seen[:MEASURED], 0)
            self.epoch += 1
            losses.append(record.get(LOSS, float("nan")))
            over = len(losses) == number or bool(rule and rule.ended(losses))
            if rule and rule.best(losses) == len(losses) - 1:
                best = trainer.snapshot()
            if over:
                if rule and best and rule.best(losses) < len(losses) - 1:
                    restore(trainer, best, self.run)
                trainer.finish()
            self._end_epoch(stage, record, {} if over or not best else best)

    def end(self) -> None:
        """Tells callbacks that the fit ends."""
        self._call("on_end", self.history[-1] if self.history else {})

    def rule_of(self, stage: Stage) -> EarlyStopping | None:
        """The rule by which a stage ends early, if its held-out loss is one to go by: a bound, or that of a score."""
        program, rule = self.program, self.how.early_stopping
        if not isinstance(rule, EarlyStopping):
            return None
        if program.ode_density or (stage.encode is not None and stage.cache):
            return rule
        of_stage = replace(program, model=stage.model or program.model, guide=stage.guide or program.guide)
        fitted = Fitted(of_stage, self.trainer.weights(), label=self.label)
        priors = program.ppl.host.find_prior(fitted.model, self.data[:2])
        tilted = [site for site, prior in priors.items() if getattr(prior, "tilted", True)]
        if not tilted:
            return rule
        warn(
            f"Early stopping does not watch stage '{stage.name}': the loss lacks the normalizer of the energy of "
            f"'{tilted[0]}', so that epochs do not compare. The stage takes all of its epochs.",
            TrainingWarning,
        )
        return None

    def _epoch(self, data: Batch) -> dict[str, Any]:
        """Takes the steps of an epoch; means of what they record."""
        start, records = time.perf_counter(), []
        listen = self.calls.listen("on_step")
        for number, batch in enumerate(minibatches(data, self.size, seed=self.how.seed, epoch=self.epoch)):
            ok, record = self.trainer.step(batch)
            if not ok:
                error = TrainingError(
                    f"The loss or its gradient is not finite in epoch {self.epoch + 1}, step {number + 1} "
                    f"({', '.join(f'{k}={v:.4g}' for k, v in record.items())}). The state before this step is kept; "
                    "lower the learning rate or set clip."
                )
                error.fitted = self._now()  # type: ignore[attr-defined]
                raise error
            records.append(record)
            self.steps += 1
            if listen:
                self._call("on_step", record)
        mean = {name: float(np.mean([r[name] for r in records])) for name in records[0]}
        return {**mean, "steps": len(records), "seconds": round(time.perf_counter() - start, 3)}

    def _end_epoch(self, stage: Stage, record: dict[str, Any], best: Mapping[str, np.ndarray]) -> None:
        """Records an epoch, tells callbacks, and saves it."""
        before = History(self.history)
        self.history.append({"epoch": self.epoch, "stage": stage.name, **record})
        self._call("on_epoch", self.history[-1])
        if self.run:
            weights = self.trainer.weights()
            check_weights(weights, self.first, Fitted(self.program, self.good, before, self.label))
            state = self.trainer.snapshot() | {f"{BEST}{n}": x for n, x in best.items()} | self.calls.state()
            save(self.run, state, Fitted(self.program, weights, self.history, self.label))
            self.good = weights
        self.bar.set_description(stage.name)
        held = {"held_out": f"{record[LOSS]:.4g}"} if LOSS in record else {}
        self.bar.set_postfix(loss=f"{record['loss']:.4g}", **held)
        self.bar.update()

    def _call(self, hook: str, record: Mapping[str, Any]) -> None:
        if self.calls.listen(hook):
            self.calls.call(hook, FitEvent(self.stage, self.epoch, self.steps, record, self._now))

    def _now(self) -> Fitted:
        return Fitted(self.program, self.trainer.weights(), self.history, self.label)


def _warn_before(
    program: Program, plan: list[tuple[Stage, int]], data: Batch, size: int, weights: Iterable[str]
) -> None:
    """Warns of what the settings will not do, before the first step."""
    for stage, number in plan:
        objective = stage.objective or program.objective
        warn_of_warm_up(objective, stage.name, number * (len(data) // size))
        warn_of_cost(objective, stage.name, len(data.modalities))
    if program.rebuild is None:
        warn_of_units(data, program.modalities, weights)


def _within(program: Program, steps: int) -> Program:
    """The program whose warm-up of beta fits into so many steps, where it is to; stages have their own schedules."""
    beta = getattr(program.objective, "beta", None)
    if not isinstance(beta, WarmUp) or len(program.stages) > 1 or beta.within(steps) is beta:
        return program
    objective = copy.copy(program.objective)
    objective.beta = beta.within(steps)
    return replace(program, objective=objective)


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
