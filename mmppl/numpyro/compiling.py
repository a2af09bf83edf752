"""Compilation of the package's own entry points, and their random keys."""

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

from mmppl.nets.equinox_bfloat16 import is_in_bfloat16
from mmppl.nets.equinox_rows import division

__all__ = ["RNG", "compiled", "compiled_once", "random_key", "step_compiled", "wrapped_key"]

F = TypeVar("F", bound=Callable[..., Any])

# Threefry is unrolled into kernels that take seconds to compile wherever as many numbers are drawn as there are data.
RNG = "rbg"
# LLVM's levels on CPU. The second, which is the default, takes half as long again to compile as the first, whose code
# is as fast; none takes a quarter less still, for code that is half as fast. XLA_FLAGS may say another.
LEVEL = "xla_backend_optimization_level"


def random_key(seed: int) -> jax.Array:
    """Random key of a seed, of the kind whose draws compile fast; the same draws on one version of JAX alone."""
    return jax.random.key(seed, impl=RNG)


def wrapped_key(data: jax.Array) -> jax.Array:
    """Random key whose data, as numbers, are kept beside others."""
    return jax.random.wrap_key_data(data, impl=RNG)


def compiled(fn: F) -> F:
    """Compiles a function at its first call, what is no array in its arguments static, as ``eqx.filter_jit`` does."""
    return _late(fn, eqx.filter_jit, 1)


def compiled_once(fn: F) -> F:
    """Compiles a function, with little effort, that is called once where it is called."""
    return _late(fn, eqx.filter_jit, 0)


def step_compiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a step of training, whose first argument is destroyed."""
    return _late(fn, functools.partial(jax.jit, donate_argnums=0), 1)


def _late(fn: Any, jit: Callable[..., Any], level: int) -> Any:
    """Asks for the backend at the first call: at import a program may still choose its devices."""

    @functools.cache
    def made(own: bool, *others: Any) -> Callable[..., Any]:
        # JAX knows what it has traced by the function alone: in bfloat16, and for each division of rows, it is another.
        return jit(functools.partial(fn) if any(others) else fn, compiler_options={LEVEL: level} if own else None)

    @functools.wraps(fn, updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        # Options are of what is compiled as a whole; a function that another one calls is part of that one.
        outermost = not isinstance(jnp.zeros(()), jax.core.Tracer)
        own = outermost and jax.default_backend() == "cpu" and LEVEL not in os.environ.get("XLA_FLAGS", "")
        return made(own, is_in_bfloat16(), division())(*args, **kwargs)

    return call
