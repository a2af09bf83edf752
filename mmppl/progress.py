"""Progress bars: widgets in a notebook that has them, a line of text in a terminal, and nothing in a log."""

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
        seen = sys.stderr.isatty() or "ipykernel" in sys.modules
        super().__init__(*args, disable=disable or not seen, **options)
