"""The command line on folders of `.npy` files, whose rows stay on the disk."""

import json

import numpy as np
import pytest

from mmppl.cli import main
from mmppl.data import load
from mmppl.diagnostics.loading import load_data
from mmppl.errors import DataError, OptionError, RunError

HOSTS = pytest.mark.parametrize("host", ["numpyro", "pyro"])
SMALL = ["--epochs", "2", "--set", "latent_dim=2", "--set", "hidden=8", "--set", "batch_size=20"]


def command(*args):
    return main([str(a) for a in args])


@pytest.fixture
def folder(tmp_path):
    """A folder of numbers and of a class that lacks in some rows."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(100, 2))
    arrays = {"x": z @ rng.normal(size=(2, 4)), "c": (z[:, 0] > 0).astype(int), "c__present": rng.random(100) < 0.8}
    (tmp_path / "rows").mkdir()
    for name, array in arrays.items():
        np.save(tmp_path / "rows" / f"{name}.npy", array)
    return tmp_path / "rows"


@HOSTS
def test_a_folder_is_fitted_to_judged_and_drawn_for(folder, tmp_path, capsys, host):
    run, out = tmp_path / "run", tmp_path / "drawn"
    more = ["--precision", "bf16-mixed", *SMALL]
    assert command("fit", "--model", "mvae", "--data", folder, "--backend", host, "--out", run, *more) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in said[1:3]] == [["c", "category"], ["x", "vector"]]
    about = json.loads((run / "run.json").read_text())
    assert (about["data"], about["precision"], about["data_digest"]["rows"]) == (str(folder), "bf16-mixed", 80)
    data = load_data(run)
    assert (len(data.train), len(data.test)) == (80, 20)
    assert command("generate", run, "--given", folder, "--num", 3, "--want", "c", "--out", out) == 0
    drawn, held = np.load(out / "c.npy"), np.load(folder / "c.npy")
    there = np.load(folder / "c__present.npy")
    assert drawn.shape == (3, 100)
    assert (drawn[:, there] == held[there]).all()
    capsys.readouterr()
    assert command("generate", run, "--out", out) == 2
    assert "drawn' is a folder" in capsys.readouterr().err
    x = np.load(folder / "x.npy")
    x[:60] += 1.0
    np.save(folder / "x.npy", x)
    with pytest.raises(RunError, match="are not those that the run was fitted to: other values of modality 'x'"):
        load_data(run)


def test_a_folder_is_split_as_a_file_is(folder):
    data = load(folder)
    assert [len(data.train), len(data.test), len(data.rows)] == [80, 20, 100]
    x, train = np.load(folder / "x.npy"), data.train[np.arange(80)]["x"]
    both = np.concatenate([train, data.test["x"]])
    np.testing.assert_array_equal(np.sort(both[:, 0]), np.sort(x[:, 0]))
    (folder / "c__present.npy").unlink()
    beside = load(folder, covariates=["c"])
    assert (list(beside.modalities), list(beside.covariates)) == (["x"], ["c"])
    places = [int(np.flatnonzero(np.isclose(x, row).all(1))[0]) for row in beside.test["x"]]
    np.testing.assert_array_equal(beside.test.covariates["c"], np.load(folder / "c.npy")[places])
    with pytest.raises(OptionError, match="Expected no root"):
        load(folder, root=folder)


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({}, "Expected a folder of <name>.npy files, one for each modality; .*rows' has none"),
        ({"x": np.zeros((5, 2)), "y": np.zeros((4, 2))}, "Expected as many rows in 'y' as in 'x' .* 5; got"),
        ({"x": np.array([{}, 1], object)}, "x.npy' cannot be read as an array: ValueError"),
        ({"x": np.zeros((1, 2))}, "Expected at least 2 rows, to split them into train and test; got 1"),
    ],
)
def test_what_is_no_folder_of_rows_is_refused(tmp_path, capsys, files, match):
    (tmp_path / "rows").mkdir()
    for name, array in files.items():
        np.save(tmp_path / "rows" / f"{name}.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=match):
        load(tmp_path / "rows")
    more = ["--backend", "numpyro", "--out", tmp_path / "run"]
    assert command("fit", "--model", "mvae", "--data", tmp_path / "rows", *more) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "run").exists()
