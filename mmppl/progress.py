"""Progress bars: widgets in a notebook that has them, a line of text in a terminal, and nothing in a log."""

import os
import shutil
import sys
from importlib.util import find_spec
from typing import Any

if find_spec("ipywidgets") is None:
    from tqdm.std import tqdm as _Bar
else:
    from tqdm.auto import tqdm as _Bar

__all__ = ["tqdm"]


class tqdm(_Bar):
    """A progress bar of the package tqdm, which is not drawn where its lines would go into a log."""

    def __init__(self, *args: Any, disable: bool = False, **options: Any) -> None:
        terminal = sys.stderr.isatty()
        if terminal and _has_no_size():
            options["ncols"], options["nrows"] = shutil.get_terminal_size()
        super().__init__(*args, disable=disable or not (terminal or "ipykernel" in sys.modules), **options)


def _has_no_size() -> bool:
    """Tells whether the terminal says that it is 0 wide, as of containers, in which bars would be blank."""
    try:
        return 0 in os.get_terminal_size(sys.stderr.fileno())
    except OSError:
        return False
