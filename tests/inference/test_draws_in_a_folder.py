"""Draws written block by block: the arrays of memory, for rows of any source, in the memory of a block."""

import tracemalloc

import numpy as np
import pytest

from mmppl.batch import Batch
from mmppl.data import write_rows
from mmppl.errors import DataError, InferenceError
from mmppl.inference import Fitted, generate


@pytest.fixture
def rows(truth):
    batch = truth.sample(50, seed=0)
    return Batch(batch.values, {"a": np.arange(50) % 3 > 0, "b": np.arange(50) % 4 > 0, "c": np.arange(50) % 5 > 0})


@pytest.mark.parametrize("of_prior", [True, False])
def test_a_folder_has_the_arrays_of_memory(linear, rows, tmp_path, of_prior):
    given, num = (None, 50) if of_prior else (rows, 3)
    wanted = generate(linear(), given, num, chunk=30)
    found = generate(linear(), given, num, chunk=30, out=tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a.npy", "b.npy", "c.npy"]
    for name, array in wanted.items():
        assert isinstance(found[name], np.memmap)
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(np.load(tmp_path / "out" / f"{name}.npy"), array)
        assert found[name].dtype == array.dtype
    assert repr(found) == repr(wanted)


def test_a_source_gives_what_a_batch_of_its_rows_does(linear, rows, tmp_path):
    source = write_rows(tmp_path / "rows", [rows[:20], rows[20:]])
    fitted = linear()
    for more in ({}, {"out": tmp_path / "out"}):
        found = generate(fitted, source, 2, chunk=30, **more)
        for name, array in generate(fitted, rows, 2, chunk=30).items():
            np.testing.assert_array_equal(found[name], array)
    part = write_rows(tmp_path / "part", [Batch({"a": rows.values["a"]})])
    assert generate(fitted, part, 1)["b"].shape == (1, 50, 2)


def test_memory_is_that_of_a_block(linear, tmp_path):
    fitted, peaks = linear(), []
    for number in (2_000, 40_000):
        generate(fitted, num=1_000, chunk=1_000)  # what is compiled and kept
        tracemalloc.start()
        generate(fitted, num=number, chunk=1_000, out=tmp_path / str(number))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 0.5 * 40_000 * 6 * 8  # half of what is written


def test_what_cannot_be_written_is_refused_and_leaves_nothing(linear, truth, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(DataError, match="Expected out= .* to be a new folder; .*there' is there. Choose another"):
        generate(linear(), num=3, out=tmp_path / "there")
    with pytest.raises(DataError, match="Expected out= .* in a folder that exists; got .*no.*Make the folder first"):
        generate(linear(), num=3, out=tmp_path / "no" / "out")
    far = Batch({"a": np.full((3, 3), 1e307), "b": np.zeros((3, 2)), "c": np.zeros((3, 1))})
    spoiled = Fitted(linear().program, {})
    with pytest.raises(InferenceError, match="NaN"), np.errstate(all="ignore"):
        generate(spoiled, Batch({**far.values, "a": far.values["a"] * 10}), out=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
