"""Progress bars: widgets in a notebook that has them, lines of text anywhere else, and no warning about it."""

from importlib.util import find_spec

if find_spec("ipywidgets") is None:
    from tqdm.std import tqdm
else:
    from tqdm.auto import tqdm

__all__ = ["tqdm"]
