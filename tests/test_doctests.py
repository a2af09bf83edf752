"""The examples in docstrings, run as they stand, with seeded random numbers.

Modules are imported by their installed names (``mmppl.models``, never ``models``), which pytest's own collector of
doctests, going by folders, cannot do.
"""

import doctest
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"mmppl": ROOT / "mmppl", "mmppl.models": ROOT / "models", "mmppl.inference": ROOT / "inference"}


def modules():
    """Module names of every file that has an example."""
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            if ">>> " in path.read_text():
                name = ".".join((package, *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
                needs_torch = "torch" in name.split(".") or "pyro" in name.split(".")
                yield pytest.param(name, marks=[pytest.mark.pyro] if needs_torch else [])


@pytest.mark.parametrize("name", list(modules()))
def test_examples(name):
    module = importlib.import_module(name)
    np.random.seed(0)  # noqa: NPY002 (examples may use what a reader would)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0
