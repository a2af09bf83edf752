"""The README's examples run as they stand."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"<!-- test: (numpyro|pyro) -->\n```python\n(.*?)```", re.DOTALL)
BLOCKS = BLOCK.findall(README.read_text())


def test_both_hosts_have_an_example():
    assert {host for host, _ in BLOCKS} == {"numpyro", "pyro"}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("host", "source"), BLOCKS, ids=[f"{host}-{i}" for i, (host, _) in enumerate(BLOCKS)])
def test_an_example_runs(host, source):
    names = {"__name__": "example"}
    exec(compile(source, f"README.md, {host}", "exec"), names)
    if "mcmc" in names:
        assert names["mcmc"].get_samples()["z"].shape == (50, 4, 16)
    elif "filled" in names:
        assert names["filled"]["sex"].isin(["f", "m"]).all()
        assert (names["filled"]["mass"] == names["birds"]["mass"]).all()
        assert names["filled"]["eggs"].dtype == names["birds"]["eggs"].dtype
    else:
        assert names["images"]["ink"].shape == (4, 8, 1, 16, 16)
        if "evidence" in names:
            assert names["evidence"].value.shape == (8,)
            assert names["idata"]["posterior"]["z"].shape == (4, 50, 4, 16)
        else:
            assert names["slower"]["word"].shape == (4, 5)
