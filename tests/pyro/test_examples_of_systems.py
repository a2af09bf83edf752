"""The example on the page of each system, run as it stands but for numbers that say how long it runs.

They are run on Pyro, which compiles nothing; ``tests/models/test_models.py`` fits every system on both hosts.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from mmppl import data, models

PAGES = Path(__file__).parents[2] / "docs" / "systems"
SMALLER = {
    "mmppl.numpyro": "mmppl.pyro",
    "ppl=mm)": "ppl=mm, **small)",
    ".train, epochs=30)": ".train[:16], epochs=2, batch_size=8, progress=False)",
    "num=16": "num=2",
}
FURTHER = {
    ".train.select": ".train[:16].select",
    "epochs=20, batch_size=64": "epochs=1, batch_size=8, progress=False",
    "width=128": "width=16",
    "steps=30": "steps=2",
}


def test_every_system_has_a_page():
    assert {path.stem for path in PAGES.glob("*.md")} == {*models.SYSTEMS, "index"}


@pytest.fixture(scope="module")
def digits():
    return data.load("polydigits")


@pytest.mark.parametrize("name", sorted(models.SYSTEMS))
def test_an_example_of_a_system_runs(name, sizes, digits, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (PAGES / f"{name}.md").read_text(), re.DOTALL)
    source, further = blocks[0], blocks[1:]
    for long, short in SMALLER.items():
        assert long in source
        source = source.replace(long, short)
    if 'load("polydigits")' in source:
        monkeypatch.setattr(data, "load", {"polydigits": digits}.__getitem__)  # made once
    names = {"small": {"latent_dim": 2, "hidden": 8, **sizes.get(name, {})}}
    exec(compile(source, f"{name}.md", "exec"), names)
    fitted, draws = names["fitted"], names["draws"]
    assert fitted.program.name == name
    assert {m: x.shape for m, x in draws.items()} == {m: (2, *x.shape) for m, x in fitted.program.modalities.items()}
    assert all(np.isfinite(x).all() for x in draws.values())
    for source in further:
        for long, short in FURTHER.items():
            assert long in source
            source = source.replace(long, short)
        exec(compile(source, f"{name}.md", "exec"), names)
