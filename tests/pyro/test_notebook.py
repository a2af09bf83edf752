"""Notebooks keep their outputs, name no machine, and call what there is; two are run from top to bottom."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
# Numbers that say how long a notebook runs, and shorter ones.
SHORTER = {
    "first_model": {
        "digits.train[:4000]": "digits.train[:512]",
        "epochs=20": "epochs=4",
        "draw_steps=200": "draw_steps=20",
        "num=500": "num=100",
        "num_samples=400, num_warmup=400": "num_samples=50, num_warmup=50",
    },
    "your_own_data": {"EPOCHS = 200": "EPOCHS = 2", "num=200": "num=20", "num=100": "num=20"},
}


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_outputs_are_kept_and_name_no_machine(path):
    notebook, text = nbformat.read(path, as_version=4), path.read_text()
    assert sum(bool(cell.get("outputs")) for cell in notebook.cells if cell.cell_type == "code") >= 6
    assert len(text) < 1_000_000
    assert str(path.parents[1]) not in text
    assert "site-packages" not in text
    assert '"stderr"' not in text
    assert all(cell.get("execution_count") for cell in notebook.cells if cell.cell_type == "code")


def calls(tree: ast.AST) -> Iterator[tuple[object, ast.Call | None]]:
    """What of mmppl a notebook imports, names or calls, and the call; names that are not there are errors."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name.startswith("mmppl"):
                    known[name.asname or name.name] = importlib.import_module(name.name)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mmppl"):
            module = importlib.import_module(node.module)
            for name in node.names:
                found = getattr(module, name.name, None) or importlib.import_module(f"{node.module}.{name.name}")
                known[name.asname or name.name] = found
                yield found, None
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and inspect.ismodule(known.get(node.value.id))
        ):
            yield getattr(known[node.value.id], node.attr), None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in known:
            yield known[node.func.id], node
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = known.get(node.func.value.id) if isinstance(node.func.value, ast.Name) else None
            if inspect.ismodule(owner):
                yield getattr(owner, node.func.attr), node


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_names_and_options_are_those_of_today(path):
    """Most notebooks are not run here: their code is held to the package as it is, and their outputs have no error."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert not [out for cell in cells for out in cell.outputs if out.output_type == "error"]
    code = "\n".join(cell.source for cell in cells)
    found = list(calls(ast.parse(code)))
    assert len(found) > 5
    for thing, call in found:
        if call is None:
            continue
        takes = inspect.signature(thing).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
            given = {keyword.arg for keyword in call.keywords if keyword.arg}
            assert given <= set(takes), f"{thing.__name__} does not take {given - set(takes)}"


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", SHORTER)
def test_a_notebook_runs(name, tmp_path):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for long, short in SHORTER[name].items():
        assert any(long in cell.source for cell in notebook.cells), long
        for cell in notebook.cells:
            cell.source = cell.source.replace(long, short)
    NotebookClient(notebook, timeout=1200, kernel_name="python3").execute(cwd=str(tmp_path))
    if name == "first_model":
        assert notebook.cells[-1].outputs[0]["text"].count("is read as") == 8
