"""Course of a stage: a number of epochs, or until the held-out bound is flat and the learning rate is annealed."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmppl.inference.training.early_stopping import EarlyStopping

__all__ = ["ENDLESS", "Course", "Flat", "held_share", "patience", "until_flat"]

# Share of the rows that is held out to see where the bound is flat, at most so many, and rows of which none is.
SHARE, MOST_HELD, FEW = 0.1, 5000, 100
# What is waited for: at most so many epochs, or as many as make these steps.
PATIENCE, STEPS = 5, 500
# Of these as many as half of those to the best epoch, at least as many as make these steps: of few rows, of which an
# epoch is one step, the bound is best after 40 to 400 and falls from then on.
WAITED, LEAST = 0.5, 200
# Epochs of a search at most, or as many as make these steps where epochs have few.
LONGEST, LONGEST_STEPS, LONGEST_FEW = 300, 6000, 3000
# Epochs of a search for each that the learning rate is annealed in: that is the last third of a stage, see late_cosine.
ANNEALED = 2
# Steps of a stage whose end is not known yet.
ENDLESS = 10**12


@dataclass(frozen=True)
class Flat(EarlyStopping):
    r"""The rule of a fit whose end nobody names: it waits half as long as it took to the best epoch.

    It ends after epoch :math:`t` where the best one is :math:`b` and :math:`t - b \ge \min(\max(b / 2, L), P)`.

    Arguments:
        least: L, in epochs.

    Example:
        >>> rule = Flat(patience=4, least=2)
        >>> [rule.ended([1.0, *[2.0] * waited]) for waited in (1, 2)]  # best after the first epoch
        [False, True]
        >>> [rule.ended([6.0, 5.0, 4.0, 3.0, 2.0, 1.0, *[2.0] * waited]) for waited in (2, 3)]
        [False, True]
    """

    least: int = 1

    def waited(self, best: int, taken: int) -> bool:
        """Tells whether a stage is over whose best epoch so far has this number, of so many that were taken."""
        return taken - best - 1 >= min(max(WAITED * (best + 1), self.least), self.patience)


@dataclass(frozen=True)
class Course:
    """Course of a stage: how long it goes on.

    Arguments:
        number: Epochs; at most where a rule ends it earlier.
        rule: By which held-out losses it ends earlier, if any.
        anneals: Whether it then goes on from its best weights, while the learning rate is annealed, half as many epochs
            as it took to these.

    Example:
        >>> course = Course(100, EarlyStopping(2), anneals=True)
        >>> course.length([3.0, 1.0, 2.0]), course.length([3.0, 1.0, 2.0, 1.5])  # best after two epochs
        (None, 5)
    """

    number: int
    rule: EarlyStopping | None = None
    anneals: bool = False

    def searched(self, losses: Sequence[float]) -> int | None:
        """Epochs until the rule ended, or all; None while neither is so."""
        if self.rule:
            for taken, best in enumerate(self.rule.bests(losses[: self.number]), 1):
                if self.rule.waited(best, taken):
                    return taken
        return self.number if len(losses) >= self.number else None

    def best(self, losses: Sequence[float]) -> int:
        """The number of epochs after which the held-out loss was best; all without a rule."""
        return self.rule.best(losses[: self.searched(losses)]) + 1 if self.rule else len(losses)

    def annealing(self, losses: Sequence[float]) -> int:
        """The number of epochs in which the learning rate is annealed."""
        return -(-self.best(losses) // ANNEALED) if self.anneals else 0

    def length(self, losses: Sequence[float]) -> int | None:
        """The number of epochs of the stage, if the losses tell it already."""
        searched = self.searched(losses)
        return None if searched is None else searched + self.annealing(losses)

    def over(self, losses: Sequence[float]) -> bool:
        """Tells whether a stage with these losses is over."""
        return len(losses) == self.length(losses)


def held_share(rows: int) -> float | None:
    """The share of so many rows that is held out where epochs go on until the bound is flat; None of few.

    Example:
        >>> held_share(50), held_share(1000), held_share(10**6)
        (None, 0.1, 0.005)
    """
    return None if rows < FEW else min(SHARE, MOST_HELD / rows)


def patience(steps: int) -> int:
    """Epochs of so many steps without a better held-out loss after which the bound is flat in any case.

    Example:
        >>> [patience(steps) for steps in (2, 30, 1000)]
        [250, 17, 5]
    """
    return max(PATIENCE, -(-STEPS // steps))


def until_flat(steps: int, rule: EarlyStopping | None) -> Course:
    """The course of a stage that goes on until its held-out loss is flat, of epochs of so many steps.

    Arguments:
        steps: Steps of an epoch.
        rule: By which it is flat; None for the one of these steps.
    """
    number = max(LONGEST, min(-(-LONGEST_STEPS // steps), LONGEST_FEW))
    return Course(number, rule or Flat(patience(steps), least=max(PATIENCE, -(-LEAST // steps))), anneals=True)
