"""Arguments checked where they enter: by the types that a signature declares, and by the ranges said beside it."""

import inspect
import os
import reprlib
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from mmppl.errors import OptionError
from mmppl.memory import lacks_memory, out_of_memory

T = TypeVar("T")

__all__ = ["ANYTHING", "Range", "above", "at_least", "check", "checked", "kind_of", "one_of", "within"]

# Whole numbers go into arrays of int64, and hosts add a little to seeds.
MOST = 2**62
# Numbers from here on are named where memory does not suffice.
LARGE = 1000
# Of float32, in which hosts compute.
LARGEST = 3.4e38


class Range(NamedTuple):
    """A range of numbers or choice of texts: its words, which go behind the type's, and the test of it."""

    words: str
    holds: Callable[[Any], bool]


class Kind(NamedTuple):
    """A type that an argument may have: its words, and the test of it."""

    words: str
    holds: Callable[[Any], bool]


ANYTHING = Range("", lambda x: True)
PASSES = Kind("", lambda x: True)


def at_least(least: float) -> Range:
    """Numbers from ``least`` on."""
    return Range(f">= {least:g}", lambda x: x >= least)


def above(least: float) -> Range:
    """Numbers above ``least``."""
    return Range(f"> {least:g}", lambda x: x > least)


def within(low: float, high: float, *, open_ends: str = "") -> Range:
    """Numbers from ``low`` to ``high``; ``open_ends`` is ``"("``, ``")"`` or ``"()"`` where an end is outside.

    Example:
        >>> within(0, 1, open_ends=")").words
        'in [0, 1)'
    """
    left, right = "(" in open_ends, ")" in open_ends
    return Range(
        f"in {'(' if left else '['}{low:g}, {high:g}{')' if right else ']'}",
        lambda x: (low < x if left else low <= x) and (x < high if right else x <= high),
    )


def one_of(names: Iterable[str]) -> Range:
    """Texts among ``names``."""
    known = tuple(names)
    return Range(f"among {known}", lambda x: x in known)


# What arguments of these names are everywhere.
USUAL = {"seed": at_least(0)}


def checked(**ranges: Range) -> Callable[[T], T]:
    """Makes a function, or a class, check its arguments by the types that its signature declares.

    A whole number is no fraction, no boolean and less than 2^62; a number is real and finite; a text is not a sequence
    of texts; arrays are of numbers, without masks. An array of a host may stand for a number. What is declared as
    ``Any``, or as a class of other packages, passes.

    Arguments:
        ranges: Ranges by the name of the argument; they hold of numbers and texts, not of None. With ``ANYTHING`` the
            argument is not checked, as its function says more of it.

    Raises:
        OptionError: From the function; it names the argument, what it should be and what was got.
        OutOfMemoryError: From the function, where memory does not suffice; it names its large numbers.

    Example:
        >>> @checked(num=at_least(1))
        ... def draw(num: int = 1, scale: float | None = None) -> None: ...
        >>> draw(2.5)
        Traceback (most recent call last):
            ...
        mmppl.errors.OptionError: Expected num to be a whole number >= 1; got 2.5 ...
    """

    def decorate(target: Any) -> Any:
        if inspect.isclass(target):
            target.__init__ = _checking(target.__init__, ranges, target.__name__)  # type: ignore[method-assign]
            return target
        return _checking(target, ranges, target.__name__)

    return decorate


def _checking(fn: Callable[..., Any], ranges: Mapping[str, Range], what: str) -> Callable[..., Any]:
    names = list(inspect.signature(fn).parameters)
    kinds: dict[str, Kind] = {}

    @wraps(fn)
    def checking(*args: Any, **kwargs: Any) -> Any:
        if not kinds:
            kinds.update(_declared(fn))
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if name in kinds:
                check(name, value, kinds[name], ranges.get(name) or USUAL.get(name), what)
        try:
            return fn(*args, **kwargs)
        except (MemoryError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
            raise out_of_memory(_asked(what, {**dict(zip(names, args, strict=False)), **kwargs}), error) from error

    return checking


def _asked(what: str, arguments: Mapping[str, Any]) -> str:
    """A function with those of its arguments that are large numbers."""
    large = [f"{n}={x}" for n, x in arguments.items() if isinstance(x, Integral) and abs(int(x)) >= LARGE]
    return what + (f" with {', '.join(large)}" if large else "")


def _declared(fn: Callable[..., Any]) -> dict[str, Kind]:
    """Kinds of a function's arguments, by name, as its signature declares them."""
    parameters = inspect.signature(fn).parameters.values()
    try:
        hints = get_type_hints(fn)
    except NameError:  # of a name that is imported for type checking alone
        hints = {p.name: p.annotation for p in parameters}
    various = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {p.name: kind_of(hints.get(p.name, Any)) for p in parameters if p.kind not in various}


def check(name: str, value: Any, kind: Kind, limits: Range | None, what: str) -> None:
    """Checks one argument of ``what``, a function or class.

    Raises:
        OptionError: If the value is of another kind or out of range.
    """
    if limits is ANYTHING:
        return
    if not kind.holds(value):
        beside = f" {limits.words}" if limits is not None else ""
        raise OptionError(f"Expected {name} to be {kind.words}{beside}; got {_brief(value)} in {what}.")
    if limits is not None and isinstance(value, Real | str) and not limits.holds(value):
        raise OptionError(f"Expected {name} {limits.words}; got {value!r} in {what}.")


def kind_of(hint: Any) -> Kind:
    """The kind of what a type declares."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in SIMPLE:
        return SIMPLE[hint]
    if origin in (Union, types.UnionType):
        kinds = [kind_of(arg) for arg in args]
        if PASSES in kinds:
            return PASSES
        return Kind(" or ".join(kind.words for kind in kinds), lambda x: any(kind.holds(x) for kind in kinds))
    if origin is Literal:
        return Kind(f"among {args}", lambda x: isinstance(x, str) and x in args)
    if hint is Callable or origin is Callable:
        return Kind("a function", callable)
    if origin in (dict, Mapping) and args:
        key, value = map(kind_of, args)
        return Kind(
            f"a mapping to {value.words or 'values'}",
            lambda x: isinstance(x, Mapping) and all(map(key.holds, x)) and all(map(value.holds, x.values())),
        )
    if origin in (tuple, list, Sequence) and args and Ellipsis not in args[:1]:
        if origin is tuple and Ellipsis not in args:
            own = [kind_of(arg) for arg in args]
            return Kind(f"{len(own)} values", lambda x: _is_sequence(x) and len(x) == len(own))
        each = kind_of(args[0])
        return Kind(
            f"a sequence, each {each.words or 'a value'}", lambda x: _is_sequence(x) and all(each.holds(y) for y in x)
        )
    mine = inspect.isclass(hint) and hint.__module__.startswith("mmppl.") and not getattr(hint, "_is_protocol", False)
    return Kind(f"a {hint.__name__}", lambda x: isinstance(x, hint)) if mine else PASSES


def _whole(x: Any) -> bool:
    return isinstance(x, Integral) and not isinstance(x, bool) and abs(int(x)) < MOST


def _number(x: Any) -> bool:
    if isinstance(x, bool):
        return False
    if isinstance(x, Real):
        number: Any = x  # typeshed does not let a Real be compared
        return bool(-LARGEST <= number <= LARGEST)  # false of what is no number
    # An array of a host, or a value of one that it has not computed yet.
    single = getattr(x, "shape", None) == () and "float" in str(getattr(x, "dtype", ""))
    return single and not isinstance(x, np.ma.MaskedArray)


def _is_sequence(x: Any) -> bool:
    if isinstance(x, np.ma.MaskedArray) or isinstance(x, str | bytes | Mapping):
        return False
    return isinstance(x, Sequence) or getattr(x, "ndim", 0) == 1


def _is_array(x: Any) -> bool:
    if isinstance(x, np.ma.MaskedArray):
        return False
    if isinstance(x, list | tuple):
        return True
    kind = getattr(getattr(x, "dtype", None), "kind", "f")
    return bool(getattr(x, "shape", ())) and kind not in "Oc"


SIMPLE: dict[Any, Kind] = {
    int: Kind("a whole number", _whole),
    float: Kind("a finite number", _number),
    bool: Kind("True or False", lambda x: isinstance(x, bool | np.bool_)),
    str: Kind("a text", lambda x: isinstance(x, str)),
    type(None): Kind("None", lambda x: x is None),
    os.PathLike: Kind("a path", lambda x: isinstance(x, os.PathLike)),
    np.ndarray: Kind("an array of numbers without a mask", _is_array),
}


def _brief(value: Any) -> str:
    kind = type(value).__name__
    if getattr(value, "shape", ()):
        return f"a {kind} of shape {tuple(value.shape)} and dtype {getattr(value, 'dtype', None)}"
    return f"{reprlib.repr(value)} of type {kind}"
