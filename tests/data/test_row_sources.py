"""Sources of rows: every kind gives the same batches, rows that fail are told by place, files are never read whole."""

import re
import threading
from importlib import import_module

import h5py
import numpy as np
import pytest
import zarr

from mmppl.batch import Batch, Modality
from mmppl.covariates import Covariate
from mmppl.data import RowSource, minibatches, open_rows, write_rows
from mmppl.data.reading_ahead import read_ahead
from mmppl.data.rows import Rows, rows_or_batch
from mmppl.errors import DataError, ModalityError

MODALITIES = {"a": Modality((2,)), "b": Modality((), kind="category", categories=3)}
PLACES = np.array([7, 0, 7, 3])


@pytest.fixture
def whole():
    rng = np.random.default_rng(0)
    values = {"a": rng.normal(size=(10, 2)).astype(np.float32), "b": np.arange(10) % 3}
    return Batch(values, {"a": np.arange(10) % 4 != 3}, label=np.arange(10))


class Source:
    """A source of the protocol, whose rows may be spoilt."""

    def __init__(self, batch, spoil=None):
        self.batch, self.spoil, self.number = batch, spoil, len(batch)

    def __len__(self):
        return self.number

    def __getitem__(self, places):
        found = {**self.batch[places].values, "a__present": self.batch.present["a"][places]}
        found["label"] = self.batch.label[places]
        return self.spoil(places, found) if self.spoil else found


class Items:
    """A data set of one row at a time, which leaves out what a row lacks."""

    def __init__(self, batch):
        self.batch = batch

    def __len__(self):
        return len(self.batch)

    def __getitem__(self, place):
        row = {"b": self.batch["b"][place], "label": place}
        return row | ({"a": self.batch["a"][place]} if self.batch.present["a"][place] else {})

    def __getitems__(self, places):
        return [self[place] for place in places]


def of_torch(batch):
    data = import_module("torch.utils.data")
    torch = import_module("torch")

    class Tensors(data.Dataset):
        def __len__(self):
            return len(batch)

        def __getitem__(self, place):
            return {name: torch.as_tensor(value) for name, value in Items(batch)[place].items()}

    return Tensors()


class Columns:
    """What a data set of Hugging Face does with columns, formats and lists of places."""

    def __init__(self, arrays):
        self.arrays, self.column_names = arrays, list(arrays)

    def select_columns(self, names):
        return Columns({name: self.arrays[name] for name in names})

    def with_format(self, kind):
        assert kind == "numpy"
        return self

    def __len__(self):
        return 10

    def __getitem__(self, places):
        assert isinstance(places, list)
        return {name: array[places] for name, array in self.arrays.items()}


def arrays(batch):
    return {**batch.values, "a__present": batch.present["a"], "label": batch.label}


def assert_same(found, wanted):
    for part in ("values", "present"):
        for name, value in getattr(wanted, part).items():
            assert np.array_equal(getattr(found, part)[name], value), (part, name)
            assert getattr(found, part)[name].dtype == value.dtype
    assert np.array_equal(found.label, wanted.label)


@pytest.mark.parametrize("kind", ["protocol", "batches", "torch", "getitems", "hugging face", "npy", "zarr", "h5"])
def test_every_kind_of_source_gives_the_rows_of_a_batch(whole, kind, tmp_path):
    if kind == "protocol":
        source = Source(whole)
    elif kind == "batches":
        source = Source(whole, lambda places, found: whole[places])
    elif kind == "torch":
        source = of_torch(whole)
    elif kind == "getitems":
        source = Items(whole)
    elif kind == "hugging face":
        source = Columns({**arrays(whole), "unwanted": np.zeros(10)})
    elif kind == "npy":
        source = write_rows(tmp_path, [whole[:4], whole[4:]])
    elif kind == "zarr":
        group = zarr.open_group(tmp_path / "rows.zarr", mode="w")
        for name, value in arrays(whole).items():
            group.create_array(name, data=value)
        source = open_rows(tmp_path / "rows.zarr")
    else:
        with h5py.File(tmp_path / "rows.h5", "w") as file:
            for name, value in arrays(whole).items():
                file[name] = value
        source = open_rows(tmp_path / "rows.h5")
    rows = rows_or_batch(source, MODALITIES)
    assert isinstance(rows, Rows)
    assert len(rows) == 10
    assert rows.modalities == ("a", "b")
    assert_same(rows[PLACES], whole[PLACES].validate(MODALITIES))
    assert_same(rows[2:9:3], whole[2:9:3].validate(MODALITIES))
    assert_same(rows.part(np.array([9, 4, 5])).part(np.array([2, 0]))[:], whole[[5, 9]].validate(MODALITIES))
    parts = zip(
        minibatches(rows, 3, seed=1, epoch=2, drop_last=False),
        minibatches(whole.validate(MODALITIES), 3, seed=1, epoch=2, drop_last=False),
        strict=True,
    )
    for found, wanted in parts:
        assert_same(found, wanted)


def test_a_source_is_what_has_a_length_and_rows(whole):
    assert isinstance(Source(whole), RowSource)
    for wrong in ([1, 2], "rows", np.ones((2, 2)), iter([])):
        with pytest.raises(DataError, match="Expected a Batch, or arrays"):
            rows_or_batch(wrong, MODALITIES)
    with pytest.raises(DataError, match="Expected data with rows; got none"):
        rows_or_batch(Source(whole[:0]), MODALITIES)


def fails_at_3(places, found):
    if 3 in places:
        raise OSError("the disk is gone")
    return found


def wide_at_3(places, found):
    return found | ({"a": np.ones((len(places), 3), np.float32)} if 3 in places else {})


def short_at_3(places, found):
    return {name: x[places != 3] for name, x in found.items()}


def infinite_at_3(places, found):
    return found | {"a": np.where((places == 3)[:, None], np.float32(np.inf), found["a"]), "a__present": places >= 0}


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (fails_at_3, DataError, "Row 3 of the source, read by itself, failed. OSError: the disk is gone"),
        (wide_at_3, ModalityError, r"Row 3 of the source.* Modality 'a': expected shape \(N, 2\); got \(1, 3\)"),
        (short_at_3, DataError, "Row 3 of the source.*Expected 1 rows for as many places; the source gave 0"),
        (infinite_at_3, DataError, "Row 3 of the source.*'a'"),
        (lambda places, found: None, DataError, "Row 5 .*Expected the source to give a Batch.*got a NoneType"),
    ],
)
def test_a_row_that_fails_is_told_by_its_place(whole, spoil, kind, message):
    with pytest.raises(kind, match=message):
        Rows(Source(whole, spoil), MODALITIES)[np.array([5, 4, 3, 2])]


def test_rows_that_fail_together_alone_are_told_as_such(whole):
    def together(places, found):
        if len(places) > 1:
            raise ValueError("one at a time")
        return found

    # Halves of two fail as well, so the first row that a half fails with is looked at, which does not fail by itself.
    with pytest.raises(DataError, match="No single row, but rows 5, 4 of the source.*one at a time"):
        Rows(Source(whole, together), MODALITIES)[np.array([5, 4, 3, 2])]


def test_rows_given_one_by_one_that_differ_in_shape(whole):
    other = type("Odd", (Items,), {"__getitem__": lambda self, i: {"a": np.ones(3 if i == 4 else 2), "b": 1}})(whole)
    with pytest.raises(ModalityError, match=r"of one shape, \(2,\); got \(3,\) in row 4|Row 4 of the source"):
        Rows(other, MODALITIES)[np.arange(6)]
    tuples = type("Tuples", (Items,), {"__getitem__": lambda self, i: (1, 2)})(whole)
    with pytest.raises(DataError, match="Expected row 2 of the source to be a dictionary .*; got a tuple"):
        Rows(tuples, MODALITIES)[np.array([2])]


def test_a_source_that_changes_its_length_is_refused(whole):
    source = Source(whole)
    rows = Rows(source, MODALITIES)
    source.number = 9
    with pytest.raises(DataError, match="Expected a source of 10 rows, as many as it had; it has 9 now"):
        rows[:2]


def test_nan_in_a_source_is_missing_and_counted():
    class Gaps:
        def __len__(self):
            return 4

        def __getitem__(self, places):
            return {"a": np.array([[1, 2], [np.nan, 3], [np.nan, np.nan], [4, 5.0]])[places], "b": places % 3}

    loose = {"a": Modality((2,), partial=True), "b": MODALITIES["b"]}
    rows = Rows(Gaps(), loose)
    batch = rows[:]
    assert batch.elements["a"].tolist() == [[True, True], [False, True], [False, False], [True, True]]
    assert batch.present["a"].tolist() == [True, True, False, True]
    assert rows.gaps["a"] == 3
    with pytest.raises(ModalityError, match="Row 1 of the source.*expected whole events"):
        Rows(Gaps(), MODALITIES)[:]


def test_files_are_opened_by_what_they_are(whole, tmp_path):
    with pytest.raises(DataError, match="'.*none' is not there"):
        open_rows(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"Expected arrays \(N, ...\) in '.*empty'; got none"):
        open_rows(tmp_path / "empty")
    (tmp_path / "text.txt").write_text("no rows")
    with pytest.raises(DataError, match="a .zarr folder or a .h5 file; got '.*text.txt'"):
        open_rows(tmp_path / "text.txt")
    (tmp_path / "bad.h5").write_text("no rows")
    with pytest.raises(DataError, match="bad.h5' cannot be read as arrays"):
        open_rows(tmp_path / "bad.h5")
    np.save(tmp_path / "empty" / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"a.npy' cannot be read as an array: ValueError. Expected a file that np.save"):
        open_rows(tmp_path / "empty")
    np.save(tmp_path / "empty" / "a.npy", np.ones((4, 2)))
    assert repr(open_rows(tmp_path / "empty")).endswith("empty': 4 rows of a (2,)")
    np.save(tmp_path / "empty" / "b.npy", np.ones(3))
    with pytest.raises(DataError, match=r"Expected as many rows in 'b' as in 'a' of '.*', 4; got shape \(3,\)"):
        open_rows(tmp_path / "empty")


def test_covariates_are_written_and_found(tmp_path):
    known = {"age": Covariate(), "site": Covariate("category", names=("n", "s"))}
    batch = Batch({"x": np.arange(6.0)[:, None]}).with_covariates(
        {"age": np.arange(6.0), "site": np.array(["n", "s"] * 3, object)}
    )
    files = write_rows(tmp_path / "rows", [batch[:4], batch[4:]])
    assert (list(files.modalities), files.covariates) == (["x"], known)
    again = open_rows(tmp_path / "rows", covariates={"site": known["site"], "age": None})
    assert (list(again.modalities), again.covariates) == (["x"], known)
    with pytest.raises(DataError, match=r"Expected covariates among the arrays \['age', 'site', .*; got \['sex'\]"):
        open_rows(tmp_path / "rows", covariates=["sex"])
    rows = Rows(files, {"x": Modality((1,))}, known)
    np.testing.assert_array_equal(rows[:].covariates["age"], np.arange(6.0))
    np.testing.assert_array_equal(rows[:].covariates["site"], np.eye(2)[[0, 1] * 3])


def test_what_is_written_is_what_numpy_reads(whole, tmp_path):
    rows = write_rows(tmp_path / "rows", (whole[i : i + 3] for i in range(0, 10, 3)))
    assert len(rows) == 10
    assert list(rows.modalities) == ["a", "b"]
    assert rows.modalities["b"].kind == "category"
    assert np.array_equal(np.load(tmp_path / "rows" / "a.npy"), whole["a"])
    assert np.load(tmp_path / "rows" / "a__present.npy").dtype == bool
    with pytest.raises(DataError, match="Expected a folder without .npy files"):
        write_rows(tmp_path / "rows", [whole])
    with pytest.raises(DataError, match=re.escape("Expected rows of shape (2,) and type float32")):
        write_rows(tmp_path / "odd", [whole, Batch({"a": np.ones((2, 3)), "b": np.ones(2, int)}, label=np.ones(2))])
    with pytest.raises(DataError, match="Expected batches of .*'label'.*in batch 1"):
        write_rows(tmp_path / "fewer", [whole, Batch(whole.values)])


def test_items_are_read_ahead_in_a_thread_that_ends_with_the_iterator():
    made, threads = [], set()

    def items():
        for i in range(100):
            threads.add(threading.current_thread())
            made.append(i)
            yield i

    found = read_ahead(items(), ahead=2)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    found.close()
    assert len(made) <= 7
    assert threading.current_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)

    def broken():
        yield 1
        raise KeyError("row")

    found = read_ahead(broken())
    assert next(found) == 1
    with pytest.raises(KeyError, match="row"):
        next(found)
