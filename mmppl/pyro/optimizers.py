"""Optimizers and schedulers of torch: those that a user gives to a fit, and Adam."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from pyro.optim import PyroOptim
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from mmppl.errors import OptionError
from mmppl.inference.threads import ignored_warnings
from mmppl.inference.training.parameter_groups import check_groups, group_of
from mmppl.inference.training.schedules import SCHEDULES
from mmppl.pyro.weights import array

__all__ = ["Groups", "StageOptimizer", "checked_optimizer"]

Groups = dict[str, Callable[..., torch.optim.Optimizer]]
WANTED = (
    "Expected optimizer= to be a function of parameters that gives an optimizer of torch, such as "
    "partial(torch.optim.AdamW, lr=1e-3), one of pyro.optim, or a dictionary of these by beginnings of names"
)

NUMBER = "#"  # marks a number of Python's among tensors


def checked_optimizer(given: Any, params: Mapping[str, torch.Tensor]) -> Groups:
    """Functions that make optimizers, by the beginnings of parameters' public names, ``""`` for all.

    Raises:
        OptionError: If one is no such function, or a parameter is left without one.
    """
    groups = dict(given) if isinstance(given, Mapping) else {"": given}
    factories = {begin: _factory(one) for begin, one in groups.items()}
    for make in factories.values():
        try:
            made = make(list(params.values()))
        except Exception as error:
            raise OptionError(f"{WANTED}; got one that fails with {type(error).__name__}: {error!s:.200}") from error
        if not isinstance(made, torch.optim.Optimizer):
            raise OptionError(f"{WANTED}; got a function that gives a {type(made).__name__}.")
        if isinstance(made, torch.optim.LBFGS):
            raise OptionError(f"{WANTED}; got LBFGS, which evaluates a loss several times in a step. Take another.")
    check_groups(list(factories), list(params))
    return factories


def _factory(given: Any) -> Callable[..., torch.optim.Optimizer]:
    if isinstance(given, PyroOptim):
        if not isinstance(given.pt_optim_args, dict) or given.pt_clip_args:
            raise OptionError(f"{WANTED}; got one of pyro.optim with arguments by parameter or clipping. Use clip=.")
        return lambda params: given.pt_optim_constructor(params, **given.pt_optim_args)
    if isinstance(given, torch.optim.Optimizer):
        raise OptionError(f"{WANTED}; got a {type(given).__name__} that has parameters already.")
    if not callable(given):
        raise OptionError(f"{WANTED}; got {given!r:.100}.")
    return given


class StageOptimizer:
    """Optimizers of the parameters that a stage moves, and what their learning rates do.

    Arguments:
        given: As :func:`checked_optimizer` gives it; None for Adam.
        moving: The parameters by public name.
        rate: Adam's learning rate.
        factor: The stage's factor on every learning rate.
        momentum: Adam's decay of the first moment.
        schedule: The name of one, or a function of an optimizer that gives a scheduler of torch.
        steps: Steps of the stage.

    Raises:
        OptionError: If the schedule gives no scheduler of steps.
    """

    def __init__(
        self,
        given: Groups | None,
        moving: Mapping[str, torch.Tensor],
        *,
        rate: float | None,
        factor: float,
        momentum: float,
        schedule: Any,
        steps: int,
    ):
        self.given, self.moving, self.schedule, self.steps = given, moving, schedule, steps
        if given is None:
            lr = (1e-3 if rate is None else rate) * factor
            betas = momentum, 0.999
            self.every = [torch.optim.Adam(moving.values(), lr, betas=betas, eps=1e-8, fused=True)]
        else:
            own: dict[str, list[torch.Tensor]] = {}
            for name, p in moving.items():
                own.setdefault(group_of(name, given), []).append(p)
            self.every = [given[begin](params) for begin, params in own.items()]
            for group in self._groups():
                group["lr"] = group["lr"] * factor
        self.base = [float(group["lr"]) for group in self._groups()]
        self.schedulers = [_scheduler(schedule, one) for one in self.every] if callable(schedule) else []

    def _groups(self) -> Iterator[dict[str, Any]]:
        return (group for one in self.every for group in one.param_groups)

    def zero_grad(self) -> None:
        """Forgets gradients."""
        for one in self.every:
            one.zero_grad(set_to_none=True)

    def step(self, taken: int) -> None:
        """One step after so many, by the gradients that parameters have."""
        if not self.schedulers:
            factor = float(SCHEDULES[self.schedule](np.array(taken / self.steps)))
            for group, rate in zip(self._groups(), self.base, strict=True):
                group["lr"] = rate * factor
        for one in self.every:
            one.step()
        for scheduler in self.schedulers:
            scheduler.step()

    def snapshot(self) -> dict[str, np.ndarray]:
        """State of the optimizers, by public name of the parameters and by number of their groups."""
        out: dict[str, np.ndarray] = {}
        for name, p in self.moving.items():
            for one in self.every:
                for key, value in one.state.get(p, {}).items():
                    if isinstance(value, torch.Tensor):
                        out[f"optimiser.{name}.{key}"] = array(value)
                    elif _is_number(value):
                        out[f"optimiser.{name}.{key}{NUMBER}"] = np.array(value)
        if self.given is not None:
            for number, group in enumerate(self._groups()):
                out |= {f"group.{number}.{key}": np.array(x) for key, x in group.items() if _is_number(x)}
        return out

    def alike(self, snapshot: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays as the state has them, with what only steps make where the one given has it."""
        out: dict[str, np.ndarray] = {}
        for name, p in self.moving.items():
            if self.given is None:
                parts = {"step": np.zeros((), np.float32), "exp_avg": array(p), "exp_avg_sq": array(p)}
                own = {f"optimiser.{name}.{part}": value for part, value in parts.items()}
                if any(part in snapshot for part in own):  # what the loss does not hang on, Adam has no moments of
                    out |= own
            else:
                begin = f"optimiser.{name}."
                out |= {key: np.zeros_like(x) for key, x in snapshot.items() if key.rpartition(".")[0] + "." == begin}
        return out

    def restore(self, snapshot: Mapping[str, np.ndarray], taken: int) -> None:
        """Goes back to a snapshot after so many steps; schedulers take as many anew."""
        states: dict[str, dict[str, Any]] = {}
        for key, value in snapshot.items():
            of, _, part = key.rpartition(".")
            stored = value.item() if part.endswith(NUMBER) else torch.tensor(value)
            states.setdefault(of, {})[part.removesuffix(NUMBER)] = stored
        for one in self.every:
            for p in (p for group in one.param_groups for p in group["params"]):
                name = next(name for name, own in self.moving.items() if own is p)
                state = states.get(f"optimiser.{name}", {})
                cast = {key: x if key == "step" or not _is_like(x, p) else x.to(p.dtype) for key, x in state.items()}
                if cast:
                    one.state[p] = cast
        with ignored_warnings(UserWarning):  # torch would have a step of the optimizer before each
            for scheduler in self.schedulers:
                for _ in range(taken):
                    scheduler.step()
        if self.given is not None:
            for number, group in enumerate(self._groups()):
                for key, old in group.items():
                    if f"group.{number}.{key}" in snapshot:
                        group[key] = type(old)(snapshot[f"group.{number}.{key}"].item())


def _scheduler(make: Any, optimizer: torch.optim.Optimizer) -> LRScheduler:
    wanted = (
        "Expected schedule= to be a function of an optimizer that gives a scheduler of torch, such as "
        "partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.999)"
    )
    try:
        made = make(optimizer)
    except Exception as error:
        raise OptionError(f"{wanted}; got one that fails with {type(error).__name__}: {error!s:.200}") from error
    if isinstance(made, ReduceLROnPlateau):
        raise OptionError(f"{wanted}; got ReduceLROnPlateau, which is no function of the step. Take early_stopping=.")
    if not isinstance(made, LRScheduler):
        raise OptionError(f"{wanted}; got one that gives a {type(made).__name__}.")
    return made


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool)


def _is_like(x: Any, p: torch.Tensor) -> bool:
    return isinstance(x, torch.Tensor) and x.shape == p.shape
