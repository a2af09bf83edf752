"""Progress: bars in a notebook and a terminal, and in a log a line of text now and then."""

import io
import os
import shutil
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

if find_spec("ipywidgets") is None:
    from tqdm.std import tqdm as _Bar
else:
    from tqdm.auto import tqdm as _Bar

__all__ = ["tqdm"]

# Seconds between two lines in a log: at least so many, and at least this share of those so far, so that days have few.
EVERY, SHARE = 30.0, 0.05


class tqdm(_Bar):
    """A progress bar of the package tqdm; where it would go into a log, what it shows is a line now and then.

    In a notebook without ipywidgets each bar is an output of its own, so that several side by side stay a line each.
    """

    def __init__(self, *args: Any, disable: bool = False, unit: str = "it", initial: int = 0, **options: Any) -> None:
        terminal = sys.stderr.isatty()
        seen = terminal or "ipykernel" in sys.modules
        if terminal and _has_no_size():
            options["ncols"], options["nrows"] = shutil.get_terminal_size()
        self.output = None if terminal or disable else _output()
        if self.output is not None:
            options |= {"file": io.StringIO(), "ascii": False}
        super().__init__(*args, disable=disable or not seen, unit=unit, initial=initial, **options)
        self.in_log = not (disable or seen)
        if self.in_log:
            self.began = self.told = time.monotonic()
            self.done: float = initial
            self.unit_in_log, self.desc = unit, options.get("desc") or ""

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            yield item
            if self.in_log:
                self.update()

    def display(self, msg: str | None = None, pos: int | None = None, **options: Any) -> Any:
        """Shows the bar, or a message in its place."""
        if self.output is None:
            return super().display(msg, pos, **options)
        self.output.update({"text/plain": str(self) if msg is None else msg}, raw=True)
        return True

    def update(self, n: float | None = 1) -> bool | None:
        """Moves the bar by ``n``, or writes a line where the last is long ago."""
        if not self.in_log:
            return super().update(n)
        self.done += 1 if n is None else n
        now = time.monotonic()
        if now - self.told >= max(EVERY, SHARE * (now - self.began)):
            self.told = now
            print(self._line(now - self.began), file=sys.stderr, flush=True)
        return None

    def _line(self, seconds: float) -> str:
        of = "" if self.total is None else f" of {self.total:g}"
        unit = "" if self.unit_in_log == "it" else f" {self.unit_in_log}{'' if self.done == 1 else 's'}"
        parts = [f"{self.done:g}{of}{unit} in {self.format_interval(seconds)}", getattr(self, "postfix", None)]
        said = str(self.desc).removesuffix(": ")
        return (f"{said}: " if said else "") + ", ".join(part for part in parts if part)


def _output() -> Any:
    """An output of a notebook's cell that can be changed, where no widgets are installed; None elsewhere."""
    shell = sys.modules["IPython"].get_ipython() if "ipykernel" in sys.modules else None
    if getattr(shell, "kernel", None) is None or find_spec("ipywidgets") is not None:
        return None
    from IPython.display import display

    return display({"text/plain": ""}, raw=True, display_id=True)


def _has_no_size() -> bool:
    """Tells whether the terminal says that it is 0 wide, as of containers, in which bars would be blank."""
    try:
        return 0 in os.get_terminal_size(sys.stderr.fileno())
    except OSError:
        return False
