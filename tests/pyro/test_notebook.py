"""The notebook runs from top to bottom on both hosts, and keeps its outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "first_model.ipynb"
# Numbers that say how long the notebook runs, and shorter ones.
SHORTER = {
    "digits.train[:4000]": "digits.train[:512]",
    "epochs=20": "epochs=4",
    "draw_steps=200": "draw_steps=20",
    "num=500": "num=100",
    "num_samples=400, num_warmup=400": "num_samples=50, num_warmup=50",
}


def test_outputs_are_kept_and_name_no_machine():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert sum(bool(cell.get("outputs")) for cell in notebook.cells if cell.cell_type == "code") >= 6
    assert str(NOTEBOOK.parents[1]) not in NOTEBOOK.read_text()


@pytest.mark.filterwarnings("default")
def test_the_notebook_runs_on_pyro_and_numpyro(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for long, short in SHORTER.items():
        assert any(long in cell.source for cell in notebook.cells), long
        for cell in notebook.cells:
            cell.source = cell.source.replace(long, short)
    NotebookClient(notebook, timeout=1200, kernel_name="python3").execute(cwd=str(tmp_path))
    last = notebook.cells[-1].outputs[0]["text"]
    assert last.count("is read as") == 8
