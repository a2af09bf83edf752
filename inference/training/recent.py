"""A memory of the last few things that were made."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

__all__ = ["Recent"]


class Recent:
    """Things by what they were made of: made once, and forgotten when enough others have been used since.

    Arguments:
        number: How many are kept.

    Example:
        >>> squares = Recent(2)
        >>> [squares.get(n, lambda n=n: print(n) or n * n) for n in (3, 3)]
        3
        [9, 9]
    """

    def __init__(self, number: int):
        self.number = number
        self.made: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Value that was made for the key, or else what ``make()`` makes."""
        try:
            found = self.made[key]
        except KeyError:
            found = self.made.setdefault(key, make())
        # Another thread may forget something meanwhile.
        with suppress(KeyError):
            self.made.move_to_end(key)
            while len(self.made) > self.number:
                self.made.popitem(last=False)
        return found

    def forget(self, key: Hashable) -> None:
        """Forgets what was made for the key."""
        self.made.pop(key, None)
