"""Settings of a fit: one record, checked before anything else, of which a run folder keeps a copy."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any, TypedDict

from mmppl.checks import kind_of
from mmppl.errors import OptionError
from mmppl.inference.training.early_stopping import EarlyStopping
from mmppl.inference.training.precision import check_precision
from mmppl.inference.training.schedules import NAMED

__all__ = ["Settings", "TrainingSettings", "check_parts", "described"]

# Types and ranges of the numbers. A step of Adam is about its learning rate, and has to stay far inside the precision.
NUMBERS: dict[str, tuple[type, str, Callable[[Any], bool]]] = {
    "epochs": (Integral, "to be None or a whole number, epochs >= 1", lambda x: x >= 1),
    "batch_size": (Integral, "to be a whole number, batch_size >= 1", lambda x: x >= 1),
    "learning_rate": (Real, "to be a finite number, learning_rate > 0 and at most 1e30", lambda x: 0 < x <= 1e30),
    "seed": (Integral, "to be a whole number, seed >= 0", lambda x: x >= 0),
    "accumulate": (Integral, "to be a whole number, accumulate >= 1", lambda x: x >= 1),
    "devices": (Integral, "(--devices) to be a whole number, devices >= 1", lambda x: x >= 1),
    "ema": (Real, "to be a number, 0 <= ema < 1", lambda x: 0 <= x < 1),
    "clip": (Real, "to be None or a finite number, clip > 0", lambda x: x > 0),
}
MAY_BE_NONE = ("epochs", "learning_rate", "clip")
# Numbers of parts that a step is divided into: a run is the same whatever they are.
DIVIDING = ("accumulate", "devices")
# Difference of a loss and the sum of its parts, relative to it or to the number of rows, that rounding may make.
DIVIDED = 1e-4
# Epochs where nothing is said: few data take more, since their epochs have few steps.
EPOCHS, STEPS, MOST = 30, 4000, 300


class TrainingSettings(TypedDict, total=False):
    """Keywords of :func:`~mmppl.inference.fit` that say how a step is taken; see there."""

    epochs: int | None
    batch_size: int
    learning_rate: float
    seed: int
    ema: float
    clip: float | None
    optimizer: Any
    schedule: Any
    early_stopping: int | EarlyStopping | None
    accumulate: int
    devices: int
    precision: str | None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of :func:`~mmppl.inference.fit` with their defaults, checked; the arguments are described there.

    Raises:
        OptionError: If a number is out of range, or settings do not go together.

    Example:
        >>> Settings(epochs=3, early_stopping=2).early_stopping
        EarlyStopping(patience=2, min_delta=0.0)
    """

    epochs: int | None = None
    batch_size: int = 128
    learning_rate: float | None = None
    seed: int = 0
    ema: float = 0.0
    clip: float | None = None
    optimizer: Any = None
    schedule: Any = None
    early_stopping: int | EarlyStopping | None = None
    accumulate: int = 1
    devices: int = 1
    precision: str | None = None

    def __post_init__(self) -> None:
        for name, (kind, wanted, holds) in NUMBERS.items():
            value = getattr(self, name)
            if value is None and name in MAY_BE_NONE:
                continue
            # A number that is not finite, or a fraction of a count, is in no range.
            number = isinstance(value, kind) and kind_of(int if kind is Integral else float).holds(value)
            if not (number and holds(value)):
                raise OptionError(f"Expected {name} {wanted}; got {name}={value!r}.")
            object.__setattr__(self, name, int(value) if kind is Integral else float(value))
        check_precision(self.precision)
        own = self.optimizer is None
        if not own and self.learning_rate is not None:
            raise OptionError(
                f"Expected the learning rate within optimizer=; got learning_rate={self.learning_rate!r} beside it. "
                "Give it to the optimizer."
            )
        if self.schedule is None:
            # An optimizer that is given is taken as it is.
            object.__setattr__(self, "schedule", "cosine" if own else "constant")
        elif not callable(self.schedule) and self.schedule not in NAMED:
            raise OptionError(f"Expected a schedule among {list(NAMED)}, or one of the host; got {self.schedule!r}.")
        if self.early_stopping is not None and not isinstance(self.early_stopping, EarlyStopping):
            object.__setattr__(self, "early_stopping", EarlyStopping(self.early_stopping))

    def with_epochs(self, steps: int) -> "Settings":
        """The same with a number of epochs, of so many steps each.

        Example:
            >>> [Settings().with_epochs(steps).epochs for steps in (1, 20, 1000)]
            [300, 200, 30]
            >>> Settings(epochs=2).with_epochs(1).epochs
            2
        """
        return self if self.epochs else replace(self, epochs=min(max(EPOCHS, -(-STEPS // steps)), MOST))

    def check_divides(self, batch_size: int) -> None:
        """Raises :class:`OptionError` if the rows of a step cannot be divided into parts."""
        if batch_size % (self.devices * self.accumulate):
            raise OptionError(
                f"Expected a batch_size that devices={self.devices} (--devices) times accumulate={self.accumulate} "
                f"divide; got batch_size={batch_size}, at most the number of rows. Choose another."
            )

    def with_learning_rate(self, rate: float) -> "Settings":
        """The same with a learning rate of Adam, if it has none and neither an optimizer nor a schedule has it.

        Example:
            >>> Settings().with_learning_rate(3e-3).learning_rate
            0.003
            >>> Settings(learning_rate=0.1).with_learning_rate(3e-3).learning_rate
            0.1
        """
        given = self.learning_rate is not None or self.optimizer is not None or callable(self.schedule)
        return self if given else replace(self, learning_rate=rate)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Settings":
        """Settings of keywords.

        Raises:
            OptionError: Also if a keyword is unknown.
        """
        known = [field.name for field in fields(cls)]
        unknown = [name for name in given if name not in known]
        if unknown:
            raise OptionError(f"Unknown settings {unknown} of fit; it has {known}.")
        return cls(**given)

    def record(self, batch_size: int) -> dict[str, Any]:
        """Values for a run folder: what is no number or text, by its description."""
        stop = self.early_stopping
        own = (field.name for field in fields(self) if field.name not in DIVIDING)
        out = {name: getattr(self, name) for name in own} | {"batch_size": batch_size}
        named = out["schedule"] if isinstance(out["schedule"], str) else described(out["schedule"])
        optimizer = None if out["optimizer"] is None else described(out["optimizer"])
        stopping = stop.as_dict() if isinstance(stop, EarlyStopping) else None
        return out | {"schedule": named, "optimizer": optimizer, "early_stopping": stopping}


def check_parts(whole: float, parts: float, rows: int) -> None:
    """Checks that the parts of a step, at its first one, sum up to the whole.

    Arguments:
        whole: The loss of the rows of a step, their sum.
        parts: The sum of the losses of their parts.
        rows: Number of these rows.

    Raises:
        OptionError: If they differ.
    """
    if math.isfinite(whole) and abs(parts - whole) > DIVIDED * max(abs(whole), rows):
        raise OptionError(
            "Expected a program whose rows are each by themselves, so that they can be divided (devices=, "
            f"accumulate=); got a loss of {whole / rows:.6g} for a batch, {parts / rows:.6g} for its parts. Latents "
            "outside the plate of the data, a plate with size=, batch normalisation, draws that take more random "
            "numbers for some values than for others and the like cannot be; where a number of particles or terms is "
            "that of the rows of a part, take another batch_size."
        )


def described(value: Any) -> str:
    """A value as it writes itself, without addresses in memory: a function or a type by its name.

    Example:
        >>> from functools import partial
        >>> described(partial(sorted, reverse=True)), described({"a.": max})
        ('sorted(reverse=True)', '{a.: max}')
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {described(x)}" for name, x in value.items()) + "}"
    if hasattr(value, "func") and hasattr(value, "keywords"):
        parts = [*map(described, value.args), *(f"{name}={described(x)}" for name, x in value.keywords.items())]
        return f"{described(value.func)}({', '.join(parts)})"
    said = repr(value)
    if callable(value) or " at 0x" in said:
        return getattr(value, "__qualname__", type(value).__qualname__)
    return said
