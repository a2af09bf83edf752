"""A Python scan for the eager backends."""

from typing import Any


def python_scan(f, carry, xs, stack):
    """Runs ``carry, y = f(carry, x)`` over the first axis of ``xs``; arrays in tuples are stacked leaf by leaf."""
    ys = []
    for i in range(_length(xs)):
        carry, y = f(carry, _index(xs, i))
        ys.append(y)
    return carry, _stack(ys, stack)


def _length(xs: Any) -> int:
    return _length(xs[0]) if isinstance(xs, tuple) else xs.shape[0]


def _index(xs: Any, i: int) -> Any:
    return tuple(_index(x, i) for x in xs) if isinstance(xs, tuple) else xs[i]


def _stack(ys: list, stack) -> Any:
    if ys[0] is None:
        return None
    if isinstance(ys[0], tuple):
        columns = [_stack(list(column), stack) for column in zip(*ys, strict=True)]
        return type(ys[0])(*columns) if hasattr(ys[0], "_fields") else tuple(columns)
    return stack(ys)
