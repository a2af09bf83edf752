"""Callbacks of a fit: what they are called with, and the state that resuming keeps of them."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmppl.errors import OptionError, RunError
from mmppl.inference.training.fitted import Fitted

__all__ = ["STATES", "Callback", "Callbacks", "FitEvent"]

HOOKS = ("on_step", "on_epoch", "on_stage", "on_end")
STATES = "callbacks"


@dataclass(frozen=True)
class FitEvent:
    """An event of a fit, with which callbacks are called.

    Arguments:
        stage: Name of the stage.
        epoch: Epochs done so far, over all stages.
        step: Steps done so far, over all stages.
        record: Terms of the objective at a step; the line of the history at the end of an epoch; empty where a stage
            begins; the last line at the end of the fit.
        now: Makes a copy of the program with its weights at this moment.
    """

    stage: str
    epoch: int
    step: int
    record: Mapping[str, Any]
    now: Callable[[], Fitted]

    @property
    def fitted(self) -> Fitted:
        """The program with its weights and history at this moment, a copy: generate from it, or save it."""
        return self.now()


class Callback:
    """Base of callbacks, of which a subclass has those methods that it needs; any object that has one of them serves.

    A callback that also has ``state_dict()`` and ``load_state_dict(state)``, as parts of torch have them, is given its
    state back by ``fit(..., resume=True)``. The state is a dictionary of arrays and of what JSON can hold.

    Example:
        >>> class Longest(Callback):
        ...     def on_epoch(self, event):
        ...         print(event.epoch, sorted(event.record)[:2])
        >>> Longest().on_epoch(FitEvent("joint", 1, 10, {"epoch": 1, "loss": 2.0}, lambda: None))
        1 ['epoch', 'loss']
    """

    def on_step(self, event: FitEvent) -> None:
        """Is called after every step of the optimizer."""

    def on_epoch(self, event: FitEvent) -> None:
        """Is called after every epoch, before the run folder is saved."""

    def on_stage(self, event: FitEvent) -> None:
        """Is called where a stage begins."""

    def on_end(self, event: FitEvent) -> None:
        """Is called once as the fit ends, also where it ends by an error."""


class Callbacks:
    """The callbacks of a fit together.

    Arguments:
        given: Objects with some of the methods of :class:`Callback`.

    Raises:
        OptionError: If one has none of them.
    """

    def __init__(self, given: Any):
        if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
            raise OptionError(f"Expected callbacks=[...], a list of callbacks; got a {type(given).__name__}.")
        self.every = tuple(given)
        for callback in self.every:
            if isinstance(callback, type) or not any(callable(getattr(callback, hook, None)) for hook in HOOKS):
                raise OptionError(f"Expected callbacks with some of {', '.join(HOOKS)}; got {callback!r:.100}.")
        self._called = {hook: [f for c in self.every if (f := _own(c, hook)) is not None] for hook in HOOKS}
        self._with_state = [(n, c) for n, c in enumerate(self.every) if callable(getattr(c, "state_dict", None))]
        for _, callback in self._with_state:
            if not callable(getattr(callback, "load_state_dict", None)):
                raise OptionError(
                    f"Expected load_state_dict beside state_dict; got neither back from a {type(callback).__name__}."
                )

    def listen(self, hook: str) -> bool:
        """Tells whether any callback has the method."""
        return bool(self._called[hook])

    def call(self, hook: str, event: FitEvent) -> None:
        """Calls the method of every callback that has it, in their order."""
        for method in self._called[hook]:
            method(event)

    def state(self) -> dict[str, np.ndarray]:
        """State of all callbacks that have any, as arrays.

        Raises:
            OptionError: If a state holds what is neither an array nor JSON.
        """
        arrays: dict[str, np.ndarray] = {}
        said = []
        for number, callback in self._with_state:
            plain = {}
            for name, value in dict(callback.state_dict()).items():
                if hasattr(value, "__array__"):
                    arrays[f"{STATES}.{number}.{name}"] = np.array(value)
                else:
                    plain[name] = value
            said.append({"number": number, "kind": type(callback).__qualname__, "state": plain})
        if not said:
            return {}
        try:
            text = json.dumps(said)
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"Expected the state of callbacks to be arrays and what JSON can hold; got other ({error}). Change "
                "their state_dict."
            ) from error
        return arrays | {STATES: np.frombuffer(text.encode(), np.uint8)}

    def load(self, arrays: Mapping[str, np.ndarray], where: str) -> None:
        """Gives callbacks their states back.

        Raises:
            RunError: If these are not the callbacks whose states they are.
        """
        said = json.loads(arrays[STATES].tobytes()) if STATES in arrays else []
        found = [(entry["number"], entry["kind"]) for entry in said]
        own = [(number, type(callback).__qualname__) for number, callback in self._with_state]
        if found != own:
            raise RunError(
                f"'{where}' has the state of callbacks {[kind for _, kind in found]}, not of "
                f"{[kind for _, kind in own]} at the same places. Resume it with the same callbacks."
            )
        for (number, callback), entry in zip(self._with_state, said, strict=True):
            begin = f"{STATES}.{number}."
            own_arrays = {name.removeprefix(begin): x for name, x in arrays.items() if name.startswith(begin)}
            callback.load_state_dict({**entry["state"], **own_arrays})


def _own(callback: Any, hook: str) -> Callable[[FitEvent], None] | None:
    """The method of a callback, unless it is the one of :class:`Callback` that does nothing."""
    method = getattr(callback, hook, None)
    return None if getattr(method, "__func__", method) is getattr(Callback, hook) else method
