"""The tensors that a computation depends on, read off autograd's own graph."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from mmppl.errors import OptionError

__all__ = ["Dependencies", "beyond"]

Edge = tuple[Any, int]


class Dependencies(TorchFunctionMode):
    """Context manager that watches a computation: ``of(out)`` are the outside tensors that its result depends on.

    The graph of the result is followed back along every path, until the path leaves the computation: at the tensor
    that was handed in, of which autograd holds the node and the watch the tensor, or else at a leaf. So it matters
    not where a tensor was kept: in a distribution, a list of transforms, a module, or the closure of a function.

    Raises:
        OptionError: Within a transform of ``torch.func``, if a tensor that is handed in requires a gradient.

    Example:
        >>> scale = torch.zeros(2, requires_grad=True).exp()
        >>> with Dependencies() as watch:
        ...     out = (lambda z: (z / scale).sum())(torch.ones(2))
        >>> [found is scale for found in watch.of(out)]
        [True]
    """

    def __init__(self) -> None:
        super().__init__()
        # Autograd numbers its nodes as they are made: those from here on are the computation's own.
        self.first = torch.ones((), requires_grad=True).clone().grad_fn._sequence_nr()
        self.handed_in: dict[Edge, torch.Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for x in _tensors((args, kwargs)):
            if torch._C._are_functorch_transforms_active():
                _refuse_plain(x)
            elif x.grad_fn is not None and x.grad_fn._sequence_nr() < self.first:
                self.handed_in[_edge(x)] = x
        return func(*args, **(kwargs or {}))

    def of(self, out: torch.Tensor, apart_from: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """Names of the parameters that ``out`` depends on, other than through ``apart_from``."""
        return tuple(_ends(out, self.handed_in, apart_from))


def beyond(out: torch.Tensor, known: Iterable[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """The leaves that ``out`` depends on otherwise than through the tensors that are known.

    Example:
        >>> a, b = (torch.ones((), requires_grad=True) for _ in range(2))
        >>> scale = a.exp()
        >>> [found is b for found in beyond(scale * b, [scale])]
        [True]
    """
    known = list(known)
    names = {id(x) for x in known}
    ends = _ends(out, {_edge(x): x for x in known if x.grad_fn is not None}, None)
    return tuple(x for x in ends if id(x) not in names)


def _ends(out: torch.Tensor, stops: dict[Edge, torch.Tensor], apart_from: torch.Tensor | None) -> list[torch.Tensor]:
    """The first of the stops, or else the leaf, on each path back from ``out``."""
    if not out.requires_grad:
        return []
    if out.grad_fn is None:
        return [out]
    ends: dict[int, torch.Tensor] = {}
    seen = {out.grad_fn} if apart_from is None else {out.grad_fn, apart_from.grad_fn}
    pending = list(out.grad_fn.next_functions)
    while pending:
        edge = pending.pop()
        node = edge[0]
        end = stops.get(edge, node.variable if type(node).__name__ == "AccumulateGrad" else None)
        if end is not None:
            ends[id(end)] = end
        elif node is not None and node not in seen:
            seen.add(node)
            pending.extend(node.next_functions)
    return list(ends.values())


def _refuse_plain(x: torch.Tensor) -> None:
    """Refuses parameters under ``torch.func``, where a result has no graph to follow."""
    if x.requires_grad and not torch._C._functorch.is_functorch_wrapped_tensor(x):
        raise OptionError(
            f"Expected no parameters that require gradients under torch.func (vmap, grad, jvp); got one of shape "
            f"{tuple(x.shape)}. Use torch.autograd and plates, or detach it."
        )


def _edge(x: torch.Tensor) -> Edge:
    return x.grad_fn, x.output_nr


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, list | tuple):
        for branch in tree:
            yield from _tensors(branch)
    elif isinstance(tree, dict):
        yield from _tensors(tuple(tree.values()))
