"""Epochs and stages of a fit: steps, held-out losses, early stopping, records, saves."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mmppl import display
from mmppl.batch import Batch
from mmppl.data import minibatches
from mmppl.data.rows import Rows
from mmppl.errors import ModalityError, ObjectiveError, TrainingError, TrainingWarning
from mmppl.inference.training.callbacks import STATES, Callbacks, FitEvent
from mmppl.inference.training.checkpoints import check_weights, save
from mmppl.inference.training.course import ENDLESS, Course, until_flat
from mmppl.inference.training.early_stopping import EarlyStopping
from mmppl.inference.training.fitted import Fitted
from mmppl.inference.training.held_out import conditional_weights, even_blocks, weighted_mean, weights_of
from mmppl.inference.training.history import History
from mmppl.inference.training.noise import with_noise_of_cells
from mmppl.inference.training.prepared import Prepared
from mmppl.inference.training.program import Program, Stage
from mmppl.inference.training.resuming import BEST, LOSS, restore
from mmppl.inference.training.run_folder import Run
from mmppl.inference.training.scratch import Scratch, some_of
from mmppl.inference.training.settings import Settings
from mmppl.warn import warn

__all__ = ["Loop"]

# Rows of which a stage's measure is a mean.
MEASURED = 256


class Loop:
    """Epochs and stages of one fit, from the first or from where a resumed run stands.

    Arguments:
        program: The program, with its first weights.
        trainer: The host's trainer of it.
        data: The rows to train on, and those held out.
        size: Rows of a step.
        how: Settings of the fit.
        history: Records of the epochs so far, which grow.
        calls: Callbacks.
        run: The run folder, if this process writes one.
        bar: The progress bar.
        scratch: Place of rows that frozen encoders have made.
    """

    def __init__(
        self,
        program: Program,
        trainer: Any,
        data: Prepared,
        size: int,
        how: Settings,
        history: History,
        calls: Callbacks,
        run: Run | None,
        bar: Any,
        scratch: Scratch,
    ):
        self.program, self.trainer, self.data, self.held, self.size = program, trainer, data.data, data.held, size
        self.whole, self.asked = data.whole, data.asked
        self.how, self.history, self.calls, self.run, self.bar, self.label = how, history, calls, run, bar, data.label
        self.scratch = scratch
        self.first = self.good = trainer.weights()
        self.bounds_others = True
        self.waiting = False  # for the first step of a stage, which is compiled
        self.epoch, self.steps, self.stage = 0, sum(record.get("steps", 0) for record in history), ""

    def run_stage(
        self,
        stage: Stage,
        course: Course,
        losses: list[float],
        snapshot: Mapping[str, np.ndarray] | None,
        *,
        is_last: bool,
    ) -> None:
        """Runs a stage from its first epoch, or from a snapshot after those that have the losses."""
        trainer, self.stage = self.trainer, stage.name
        trainer.begin(stage, self._steps(course, losses), self._schedule(course))
        if not self.program.ppl.host.TRAINS_IN_PLACE:
            self.waiting = True
            self.bar.set_description(f"{stage.name}, compiling")
        best: Mapping[str, np.ndarray] | None = None
        if snapshot is not None:
            own = {n: x for n, x in snapshot.items() if not n.startswith((BEST, STATES))}
            restore(trainer, own, self.run)
            best = {n.removeprefix(BEST): x for n, x in snapshot.items() if n.startswith(BEST)}
            self.epoch += len(losses)
        else:
            self._call("on_stage", {})
        seen, held, whole = self._seen(stage)
        rule, searched = course.rule, course.searched(losses)
        while not course.over(losses):
            record = self._epoch(seen if searched is None else whole)
            # Where the learning rate is annealed, rows that were held out by default are learned from too.
            if held is not None and (searched is None or whole is seen):
                record |= self._held_out(held) | self._conditional()
            if stage.measure is not None:
                record |= trainer.measure(stage.measure, seen[:MEASURED], 0)
            self.epoch += 1
            losses.append(record.get(LOSS, float("nan")))
            if searched is None:
                searched = course.searched(losses)
                # The best weights so far, to which a stage goes back where it is over or goes on to be annealed.
                if rule and rule.best(losses) == len(losses) - 1:
                    best = trainer.snapshot()
                if searched and rule and best and rule.best(losses) < len(losses) - 1:
                    restore(trainer, best, self.run)
                if searched and course.anneals:
                    trainer.end_at(self._steps(course, losses))
            if course.over(losses):
                trainer.finish()
                if is_last and self.asked is not None:
                    now = Fitted(self.program, trainer.weights(), label=self.label)
                    less: Any = self.data if self.whole is None else self.whole
                    trainer.assign(with_noise_of_cells(now, less, self.asked, self.how.seed))
            self._end_epoch(stage, record, best if best and searched is None else {})

    def _seen(self, stage: Stage) -> tuple[Any, Any, Any]:
        """Rows as a stage sees them: to train on, held out, and to train on while the learning rate is annealed.

        They are encoded by frozen networks where it has such, for its first weights alone or for all its steps.
        """
        trainer, all_of = self.trainer, self.data if self.whole is None else self.whole
        if stage.encode is None:
            return self.data, self.held, all_of
        rows = (self.data, self.held, self.whole)
        seen, held, whole = (None if x is None else self.scratch.encoded(trainer, stage, x, self.size) for x in rows)
        if stage.initialize is not None:
            trainer.assign(stage.initialize(some_of(seen if whole is None else whole)))
        return (seen, held, seen if whole is None else whole) if stage.cache else (self.data, self.held, all_of)

    def _steps(self, course: Course, losses: list[float]) -> int:
        """Steps of a stage with these losses, if its end is known."""
        if not course.anneals:
            return course.number * (len(self.data) // self.size)
        if course.searched(losses) is None:
            return ENDLESS
        rows = self.data if self.whole is None else self.whole
        steps = course.best(losses) * (len(self.data) // self.size)
        return steps + course.annealing(losses) * (len(rows) // self.size)

    def _schedule(self, course: Course) -> Any:
        """The schedule of a stage: what is annealed over all of it by default is so at its end, if this is open."""
        return "late cosine" if course.anneals and self.how.schedule == "cosine" else self.how.schedule

    def _conditional(self) -> dict[str, float]:
        """Bounds of held-out modalities given the others, where the guide has a density that takes no integration."""
        program, held = self.program, self.held
        if (
            held is None
            or len(held.modalities) == 1
            or not program.density
            or program.ode_density
            or not (self.bounds_others and self.whole is None)
        ):
            return {}
        records, weights = [], []
        try:
            for number, rows in enumerate(even_blocks(held, self.size)):
                records.append(self.trainer.conditional(rows, number))
                weights.append(conditional_weights(records[-1], rows))
        except (ObjectiveError, ModalityError) as error:
            self.bounds_others = False
            warn(f"Held-out bounds of modalities given the others are left out. {error}", TrainingWarning)
            return {}
        mean = weighted_mean(records, weights)
        return {f"validation.{name}": x for name, x in mean.items() if any(weight[name] for weight in weights)}

    def end(self) -> None:
        """Tells callbacks that the fit ends."""
        self._call("on_end", self.history[-1] if self.history else {})

    def course_of(self, stage: Stage, number: int) -> Course:
        """The course of a stage, of so many epochs where its held-out loss is none to go by: no bound, and no score's.

        Where epochs are given, those are all it takes without a rule; where none are, it goes on until flat.
        """
        program, given = self.program, self.how.early_stopping
        rule = given if isinstance(given, EarlyStopping) else None
        is_open = self.how.epochs is None and self.held is not None
        if not (rule or is_open):
            return Course(number)
        own = until_flat(len(self.data) // self.size, rule) if is_open else Course(number, rule)
        own = own if own.anneals and self.how.schedule == "cosine" else replace(own, anneals=False)
        if program.ode_density or (stage.encode is not None and stage.cache):
            return own
        of_stage = replace(program, model=stage.model or program.model, guide=stage.guide or program.guide)
        fitted = Fitted(of_stage, self.trainer.weights(), label=self.label)
        priors = program.ppl.host.find_prior(fitted.model, self.data[:2])
        tilted = [site for site, prior in priors.items() if getattr(prior, "tilted", True)]
        if not tilted:
            return own
        if rule is not None:
            warn(
                f"Early stopping does not watch stage '{stage.name}': the loss lacks the normalizer of the energy of "
                f"'{tilted[0]}', so that epochs do not compare. The stage takes all of its epochs.",
                TrainingWarning,
            )
        return Course(number)

    def _held_out(self, data: Batch | Rows) -> dict[str, float]:
        """Means over the rows held out of what the objective records of them."""
        records, weights = [], []
        for number, rows in enumerate(even_blocks(data, self.size)):
            records.append(self.trainer.held_out(rows, number))
            weights.append(weights_of(records[-1], rows))
        return {f"validation.{name}": value for name, value in weighted_mean(records, weights).items()}

    def _epoch(self, data: Batch | Rows) -> dict[str, Any]:
        """Takes the steps of an epoch; means of what they record."""
        start, records = time.perf_counter(), []
        listen = self.calls.listen("on_step")
        for number, batch in enumerate(minibatches(data, self.size, seed=self.how.seed, epoch=self.epoch)):
            ok, record = self.trainer.step(batch)
            if self.waiting:
                self.waiting = False
                self.bar.set_description(self.stage)
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
        held = {"held_out": display.number(record[LOSS])} if LOSS in record else {}
        self.bar.set_postfix(loss=display.number(record["loss"]), **held)
        self.bar.update()

    def _call(self, hook: str, record: Mapping[str, Any]) -> None:
        if self.calls.listen(hook):
            self.calls.call(hook, FitEvent(self.stage, self.epoch, self.steps, record, self._now))

    def _now(self) -> Fitted:
        return Fitted(self.program, self.trainer.weights(), self.history, self.label)
