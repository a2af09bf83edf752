"""Pages: examples run as they stand, and those that follow from the code are as the code says."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"(?:<!-- test: (numpyro|pyro) -->\n)?```python\n(.*?)```", re.DOTALL)
# Blocks of one page and host go on from each other.
PARTS = {
    (page.name, host): [source for said, source in BLOCK.findall(page.read_text()) if said == host]
    for page in PAGES
    for host in ("numpyro", "pyro")
}
PARTS = {key: blocks for key, blocks in PARTS.items() if blocks}


def made(path="make_pages.py"):
    """A module of the folder of pages: the one that makes them."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / "docs" / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_hosts_have_an_example():
    assert {host for _, host in PARTS} == {"numpyro", "pyro"}


def test_every_example_of_a_page_is_run():
    for page in PAGES:
        assert all(host for host, _ in BLOCK.findall(page.read_text())), page.name


def test_the_readme_is_short_and_begins_with_an_example():
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 600
    first = BLOCK.search(text)[2].strip().splitlines()
    assert len(first) <= 15


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("page", "host"), PARTS, ids=[f"{page}-{host}" for page, host in PARTS])
def test_an_example_runs(page, host, request):
    if page == "README.md":
        request.getfixturevalue("fast_to_run")  # its chains take longer than to compile them
    names = {"__name__": "example"}
    for source in PARTS[page, host]:
        exec(compile(source, f"{page}, {host}", "exec"), names)
    if "mcmc" in names:
        assert names["mcmc"].get_samples()["z"].shape == (50, 4, 16)
    if "filled" in names:
        assert names["filled"]["sex"].isin(["f", "m"]).all()
        assert (names["filled"]["mass"] == names["birds"]["mass"]).all()
        assert names["filled"]["eggs"].dtype == names["birds"]["eggs"].dtype
    if "images" in names:
        assert names["images"]["ink"].shape == (4, 8, 1, 16, 16)
    if "slower" in names:
        assert names["slower"]["word"].shape == (4, 5)
    if "evidence" in names:
        assert names["evidence"].value.shape == (8,)
        assert names["idata"]["posterior"]["z"].shape == (4, 250, 4, 16)
        assert not names["posterior"].problems()
    if page == "extend.md":
        assert repr(names["objective"]) == "EachAlone(particles=2)"
        assert names["posterior"]["z"].shape == (4, 100, 4, 2)


def test_pages_made_of_the_code_are_as_it_says():
    for path, text in made().pages().items():
        assert path.read_text() == text, f"{path.name} is old: run python docs/make_pages.py"


def test_numbers_stay_on_a_line_with_their_errors_and_options_are_no_dashes():
    kept = made("_ext/no_breaks.py").kept_together
    for text in ("0.55 ± 0.003", "-2.493 (not trusted)", "7.66e-06 (3e-06)"):
        assert kept(text)["classes"] == ["kept"]
    assert kept("holds (-0.028 ± 0.016)").astext() == "holds (-0.028\xa0±\xa0" + "0.016)"
    assert kept("3 of the 40 rows that were held out").astext() == "3 of the 40 rows that were held out"
    text = (ROOT / "docs" / "command_line.md").read_text()
    assert "`--given`" in text
    assert not re.search(r"--[a-z]", re.sub(r"`[^`]*`", "", text))


def test_the_list_of_public_modules_is_whole():
    """A package with public names, of which users are told, is on the pages of the API."""
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))
    try:
        from public_names import MODULES
    finally:
        sys.path.pop(0)
    import mmppl

    packages = {f"mmppl.{p.parent.name}" for p in (ROOT / "mmppl").glob("*/__init__.py")} | {
        "mmppl.inference",
        "mmppl.models",
    }
    own = {"mmppl._backend", "mmppl.cli", "mmppl.likelihoods", "mmppl.mcmc"}
    assert packages - own <= set(MODULES)
    assert set(mmppl.__all__) >= {"Batch", "Modality", "citation", "load"}
