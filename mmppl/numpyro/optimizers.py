"""Optimizers and schedules of optax that a user gives to a fit."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from numpyro.optim import _NumPyroOptim

from mmppl.errors import OptionError
from mmppl.inference.training.parameter_groups import check_groups, group_of
from mmppl.inference.training.schedules import SCHEDULES
from mmppl.numpyro.weights import public

__all__ = ["checked_optimizer", "checked_schedule", "grouped", "scheduled", "updated"]

Groups = tuple[tuple[str, optax.GradientTransformation], ...]


def checked_optimizer(given: Any, params: Mapping[str, Any]) -> Groups:
    """Transformations by the beginnings of parameters' names, ``("", ...)`` for all.

    Raises:
        OptionError: If one is no transformation of optax, cannot be run on gradients and parameters, or a parameter is
            left without one.
    """
    groups = tuple(given.items()) if isinstance(given, Mapping) else (("", given),)
    for _, transformation in groups:
        # NumPyro's own have these too, and another state: they keep the parameters in it.
        is_one = hasattr(transformation, "init") and hasattr(transformation, "update")
        if not is_one or isinstance(transformation, _NumPyroOptim):
            raise OptionError(
                "Expected optimizer= to be a transformation of optax, such as optax.adamw(1e-3), or a dictionary of "
                f"these by beginnings of names; got {transformation!r:.100}."
            )
        try:
            jax.eval_shape(lambda p, t=transformation: updated(t, p, t.init(p), p, jnp.zeros(()))[0], dict(params))
        except Exception as error:
            raise OptionError(
                "Expected optimizer= to be a transformation of optax that takes gradients, parameters and a value; got "
                f"one that fails with {type(error).__name__}: {str(error).splitlines()[0]:.200}"
            ) from error
    check_groups([name for name, _ in groups], jax.tree.leaves(_names(params)))
    return groups


def grouped(groups: Groups, params: Mapping[str, Any]) -> optax.GradientTransformation:
    """One transformation of all parameters."""
    if len(groups) == 1:
        return groups[0][1]
    beginnings = [name for name, _ in groups]
    labels = jax.tree.map(lambda name: group_of(name, beginnings), _names(params))
    return optax.partition(dict(groups), labels)


def _names(params: Mapping[str, Any]) -> dict[str, Any]:
    """The public name of every array, in its place."""

    def named(path: tuple, _: Any) -> str:
        network, *rest = path
        inside = jax.tree_util.keystr(tuple(rest), simple=True, separator=".")
        return ".".join(filter(None, (public(network.key), inside)))

    return jax.tree_util.tree_map_with_path(named, dict(params))


def updated(
    optimiser: optax.GradientTransformation, grads: Any, state: Any, params: Any, value: jax.Array
) -> tuple[Any, Any]:
    """Updates and the next state; an optimiser that looks at the loss is given it."""
    if isinstance(optimiser, optax.GradientTransformationExtraArgs):
        return optimiser.update(grads, state, params, value=value)
    return optimiser.update(grads, state, params)


def scheduled(schedule: Any, step: jax.Array, steps: jax.Array) -> Any:
    """The schedule at a step: the factor by name, or what optax's own gives."""
    return schedule(step) if callable(schedule) else SCHEDULES[schedule](step / steps)


def checked_schedule(schedule: Any, factor: float) -> float:
    """The factor on a schedule of optax.

    Raises:
        OptionError: If it gives no number for a step.
    """
    try:
        shape = jax.eval_shape(schedule, jnp.zeros((), jnp.int32)).shape
    except Exception as error:
        raise OptionError(
            "Expected schedule= to be a function of the step, such as optax.cosine_decay_schedule(1e-3, 1000); got one "
            f"that fails with {type(error).__name__}: {str(error).splitlines()[0]:.200}"
        ) from error
    if shape != ():
        raise OptionError(f"Expected schedule= to give one number for a step; got an array of shape {shape}.")
    return factor
