"""The notebook runs from top to bottom on both hosts, and keeps its outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "first_model.ipynb"


def test_outputs_are_kept_and_name_no_machine():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert sum(bool(cell.get("outputs")) for cell in notebook.cells if cell.cell_type == "code") >= 6
    assert str(NOTEBOOK.parents[1]) not in NOTEBOOK.read_text()


@pytest.mark.filterwarnings("default")
def test_the_notebook_runs_on_pyro_and_numpyro(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    NotebookClient(notebook, timeout=1200, kernel_name="python3").execute(cwd=str(tmp_path))
    last = notebook.cells[-1].outputs[0]["text"]
    assert last.count("is read as") == 8
