"""Models and guides with their weights, and kernels, as arguments of what is compiled."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import jax

from mmppl.by_value import fixed
from mmppl.numpyro.state import given
from mmppl.numpyro.threads import alone

__all__ = ["Bound", "Recipe", "Same", "unbound"]


@jax.tree_util.register_pytree_node_class
class Bound:
    """A model or guide with its weights: an ordinary NumPyro callable.

    It is a pytree whose leaves are the weights. Handed to a compiled function as an argument, other weights of the same
    program compile nothing anew, and what is compiled keeps no weights.

    Arguments:
        fn: The program's own callable.
        data: Parameters and mutable state by the host's names.
    """

    def __init__(self, fn: Callable, data: Mapping[str, Any]):
        self.fn, self.data = fn, dict(data)

    @alone.within_handlers
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return given(self.fn, data=self.data)(*args, **kwargs)

    def tree_flatten(self) -> tuple[tuple, "Same"]:
        return (self.data,), Same(self.fn)

    @classmethod
    def tree_unflatten(cls, aux: "Same", children: tuple) -> "Bound":
        new = object.__new__(cls)
        new.fn, (new.data,) = aux.fn, children
        return new


def unbound(program: Callable) -> Callable:
    """The program's own callable, with weights or without."""
    return program.fn if isinstance(program, Bound) else program


class Same:
    """A callable as a static argument; one that has no hash is the same as itself alone."""

    def __init__(self, fn: Any):
        self.fn = fn
        try:
            self.hash, self.by_value = hash(fn), True
        except TypeError:
            self.hash, self.by_value = id(fn), False

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Same):
            return NotImplemented
        return self.fn is other.fn or (self.by_value and other.by_value and self.fn == other.fn)


class Recipe(Same):
    """A kernel without its model, as a static argument: those of one kind and the same options are the same."""

    def __init__(self, kernel: Any):
        if getattr(kernel, "model", None) is not None:
            kernel = copy.copy(kernel)
            kernel.model = None
        self.kernel = kernel
        super().__init__(fixed((type(kernel), *sorted(vars(kernel).items()))))

    def of(self, model: Callable) -> Any:
        """The kernel of a model."""
        kernel = copy.copy(self.kernel)
        kernel.model = model
        return kernel
