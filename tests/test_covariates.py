"""Covariates of rows: in a batch, out of tables, as programs take them, and what is refused."""

import numpy as np
import pandas
import pytest

from mmppl.batch import Batch
from mmppl.covariates import Covariate, as_known, check_covariates, infer_covariates, to_codes
from mmppl.data import from_pandas, load, minibatches, write_npz
from mmppl.errors import DataError, ModalityError, OptionError

SITE = Covariate("category", names=("north", "south"))
ROWS = Batch(
    {"a": np.arange(6.0).reshape(3, 2), "b": np.ones((3, 1))},
    label=np.arange(3),
    covariates={"age": [30.0, 40.0, 50.0], "site": ["south", "north", "south"]},
)


def test_covariates_go_where_the_rows_go():
    def ages(batch):
        return batch.covariates["age"].tolist()

    assert ages(ROWS[1:]) == [40.0, 50.0]
    assert ages(ROWS[[2, 0]]) == [50.0, 30.0]
    assert ROWS[[2, 0]].covariates["site"].tolist() == ["south", "south"]
    same = (ROWS.only("a"), ROWS.without("a"), ROWS.select("b"), ROWS.scoring("a"), ROWS.with_label(None))
    for batch in (*same, ROWS.with_present({"a": np.eye(3, 2) > 0})):
        assert ages(batch) == [30.0, 40.0, 50.0]
    rows = next(minibatches(ROWS, 2, seed=0, epoch=0))
    assert ages(rows) == [30.0 + 10 * i for i in rows.label]
    assert "covariates age, site" in repr(ROWS)


def test_codes_are_told_from_names():
    codes = to_codes("site", ROWS.covariates["site"], SITE)
    np.testing.assert_array_equal(codes, [[0, 1], [1, 0], [0, 1]])
    assert to_codes("site", codes, SITE) is codes
    known = as_known(ROWS, {"site": SITE})
    assert list(known.covariates) == ["site"]
    assert as_known(known, {"site": SITE}).covariates["site"] is known.covariates["site"]
    # Classes that are numbers are known by how they are written, never by their places.
    plot = Covariate("category", names=("1", "2", "10"))
    for given in (np.array([2, 10]), np.array([2.0, 10.0]), np.array(["2", "10"])):
        np.testing.assert_array_equal(to_codes("plot", given, plot), [[0, 1, 0], [0, 0, 1]])


def test_kinds_are_inferred_and_can_be_said():
    arrays = {"t": np.array([True, False]), "n": np.array([3, 4]), "s": np.array(["b", "a"]), "size": np.array([2, 1])}
    values, known = infer_covariates(arrays, {"n": None, "size": "size_factor"})
    assert {name: what.kind for name, what in known.items()} == {
        "t": "category",
        "n": "number",
        "s": "category",
        "size": "size_factor",
    }
    assert known["t"].names == ("False", "True")
    assert known["s"].names == ("a", "b")
    assert values["n"].tolist() == [3, 4]


def test_a_frame_keeps_covariates_apart():
    frame = pandas.DataFrame({"x": [0.5, 1.5, 2.5, 3.5], "site": ["n", "s", "n", "s"], "age": [3, 4, 5, 6]})
    data = from_pandas(frame, covariates=["site", "age"])
    assert list(data.modalities) == ["x"]
    assert {n: (c.kind, c.names) for n, c in data.covariates.items()} == {
        "site": ("category", ("n", "s")),
        "age": ("number", None),
    }
    assert data.rows.covariates["age"].tolist() == [3, 4, 5, 6]
    order = [frame["x"].tolist().index(x) for x in data.train["x"]]
    assert data.train.covariates["site"].tolist() == frame["site"][order].tolist()
    assert "covariate site: category of n, s" in repr(data)
    coded = from_pandas(frame, covariates={"age": "category"})
    assert coded.covariates["age"].names == ("3", "4", "5", "6")
    assert list(coded.modalities) == ["x", "site"]
    later = from_pandas(frame.iloc[:2], modalities=data.modalities, covariates=data.covariates)
    np.testing.assert_array_equal(as_known(later.test, data.covariates).covariates["site"], [[1, 0], [0, 1]])


def test_a_file_of_arrays_keeps_them_apart(tmp_path):
    arrays = {"x": np.random.default_rng(0).normal(size=(8, 2)), "site": np.array(["n", "s"] * 4)}
    path = write_npz(tmp_path / "a.npz", arrays | {"size": np.arange(1.0, 9.0)})
    data = load(path, covariates={"site": None, "size": "size_factor"})
    assert list(data.modalities) == ["x"]
    assert data.covariates["size"].kind == "size_factor"
    assert data.rows.covariates["site"].tolist() == ["n", "s"] * 4
    with pytest.raises(DataError, match="Expected covariates among the arrays .*; got \\['age'\\]"):
        load(path, covariates=["age"])


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (DataError, "Covariate 'age': expected an array \\(3,\\)", lambda: ROWS.with_covariates({"age": [1.0, 2.0]})),
        (
            DataError,
            "Covariate 'age': expected a value in every row; got none in rows 1. Fill",
            lambda: ROWS.with_covariates({"age": [1.0, np.nan, 2.0]}),
        ),
        (
            DataError,
            "Covariate 'site': expected a value in every row; got none in rows 0",
            lambda: ROWS.with_covariates({"site": np.array([None, "a", "b"], object)}),
        ),
        (ModalityError, "Expected covariates to be arrays by name; got a list", lambda: ROWS.with_covariates([1])),
        (ModalityError, "Expected names of covariates to be", lambda: ROWS.with_covariates({"a/b": [1, 2, 3]})),
        (
            DataError,
            "Covariate 'site': expected a class among north, south; got 'west', in row 1",
            lambda: to_codes("site", np.array(["north", "west"]), SITE),
        ),
        (DataError, "expected classes \\(N,\\) or codes", lambda: to_codes("site", np.ones((2, 3)), SITE)),
        (DataError, "Covariate 'age': expected numbers", lambda: to_codes("age", np.array(["x"]), Covariate())),
        (
            DataError,
            "expected size factors above 0; got 0.0 in row 1",
            lambda: to_codes("s", np.array([1.0, 0.0]), Covariate("size_factor")),
        ),
        (DataError, "the rows lack \\['dose'\\]", lambda: as_known(ROWS, {"dose": Covariate()})),
        (OptionError, "Expected the kind of a covariate among", lambda: Covariate("real")),
        (OptionError, "Expected names= of the classes of a category", lambda: Covariate("category")),
        (OptionError, "Expected names= of the classes", lambda: Covariate("category", names=("a", "a"))),
        (OptionError, "Expected names= of the classes", lambda: Covariate("number", names=("a", "b"))),
        (OptionError, "Expected modality= of a size factor alone", lambda: Covariate(modality="a")),
        (OptionError, "Expected covariates, a mapping", lambda: check_covariates(["age"], ["a"])),
        (OptionError, "Expected covariate 'age' to be a Covariate", lambda: check_covariates({"age": 3}, ["a"])),
        (ModalityError, "covariates that are no modalities; got \\['a'\\]", lambda: check_covariates({"a": {}}, ["a"])),
        (
            ModalityError,
            "size factors of modalities among \\['a'\\]; got one of 'b'",
            lambda: check_covariates({"s": Covariate("size_factor", modality="b")}, ["a"]),
        ),
        (
            OptionError,
            "Expected covariates to be a list of names",
            lambda: from_pandas(pandas.DataFrame({"x": [1.5, 2.5], "s": [1, 2]}), covariates="s"),
        ),
        (
            DataError,
            "Covariate 'age': expected columns among",
            lambda: from_pandas(pandas.DataFrame({"x": [1.5, 2.5]}), covariates=["age"]),
        ),
        (
            DataError,
            "Covariate 's': expected a class in every row; got none in row 1",
            lambda: from_pandas(pandas.DataFrame({"x": [1.5, 2.5], "s": ["a", None]}), covariates=["s"]),
        ),
        (
            DataError,
            "Covariate 's': expected numbers",
            lambda: from_pandas(pandas.DataFrame({"x": [1.5, 2.5], "s": ["a", "b"]}), covariates={"s": "size_factor"}),
        ),
        (
            DataError,
            "Covariate 's': expected size factors above 0; got 0 in row 1",
            lambda: from_pandas(pandas.DataFrame({"x": [1.5, 2.5], "s": [1, 0]}), covariates={"s": "size_factor"}),
        ),
    ],
)
def test_what_is_wrong_is_refused(error, message, call):
    with pytest.raises(error, match=message):
        call()
