"""Files that others wrote: arrays that go back as columns, and tables that are parted or coded otherwise."""

import numpy as np
import pandas
import pytest

from mmppl.data import from_pandas, load, to_pandas
from mmppl.errors import DataError, DataWarning, MissingWarning, ModalityError


def test_arrays_of_a_file_go_back_as_columns(tmp_path):
    """Draws of rows of a `.npz` are a frame with names of coordinates, which reads as the same views."""
    arrays = {
        "body": np.array([[170.5, np.nan], [160.0, 50.0], [np.nan, 71.5], [181.0, 80.5]] * 5),
        "body__coordinates": np.array(["height", "mass"]),
        "spikes": np.arange(40).reshape(20, 2),
        "spikes__present": np.arange(20) != 1,
        "sex": np.array(["f", "m"] * 10),
        "eggs": np.arange(20) % 4,
        "age": np.linspace(20.5, 40.5, 20),
        "scan": np.zeros((20, 1, 4, 4), np.uint8),
        "site": np.array(["north", "south"] * 10),
        "label": np.arange(20),
    }
    np.savez(tmp_path / "rows.npz", **arrays)
    with pytest.warns(MissingWarning):
        data = load(tmp_path / "rows.npz", covariates=["site"])
    tables = ("body", "spikes", "sex", "eggs", "age")
    draws = {name: np.stack([np.asarray(data.rows[name])] * 3) for name in tables}
    draws["body"] = np.stack([np.full((20, 2), x) for x in (1.0, 2.0, 6.0)])
    made = to_pandas(draws, data, interval=0.5)
    beside = [
        f"{c}{end}" for c in ("body/height", "body/mass", "spikes/0", "spikes/1") for end in ("", " low", " high")
    ]
    assert list(made) == [*beside, "sex", "eggs", "age", "age low", "age high", "site", "label"]
    assert made["body/height"].tolist()[:4] == [170.5, 160.0, 3.0, 181.0]
    assert made["body/height low"].tolist()[:4] == [170.5, 160.0, 1.5, 181.0]
    assert made["sex"].tolist() == arrays["sex"].tolist()
    assert made["site"].tolist() == arrays["site"].tolist()
    plain = to_pandas(data.rows.select(*tables), data)
    assert plain["spikes/1"].isna().tolist() == (np.arange(20) == 1).tolist()
    with pytest.warns(MissingWarning):
        again = from_pandas(plain, covariates=["site"])
    assert again.modalities["body"].coordinates == ("height", "mass")
    assert {n: again.modalities[n].kind for n in tables} == {n: data.modalities[n].kind for n in tables}
    np.testing.assert_array_equal(again.rows["age"], data.rows["age"])
    with pytest.raises(DataError, match="Expected the data set that the rows are of as data.*got a dict"):
        to_pandas(data, draws)
    with pytest.raises(ModalityError, match=r"got \['scan'\].*keep it as an array"):
        to_pandas(data.rows, data)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a;b\n1,5;2\n2,5;3\n", "parted by commas; got one column, 'a;b'. Read it by"),
        (b"a\tb\n1\t2\n2\t3\n", r"parted by commas; got one column, 'a\\tb'"),
        ("Höhe,b\n1.5,2\n2.5,3\n".encode("latin-1"), "UnicodeDecodeError.*Save it as UTF-8"),
    ],
)
def test_tables_that_are_written_otherwise(tmp_path, content, message):
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "rows.csv")


def test_dates_of_different_days_are_told_as_dates():
    frame = pandas.DataFrame({"day": pandas.date_range("2021-01-04", periods=30).strftime("%Y-%m-%d")})
    frame["x"] = np.linspace(0.5, 1.5, 30)
    with pytest.warns(DataWarning) as said:
        from_pandas(frame)
    assert [str(w.message)[:40] for w in said] == ["Columns ['day'] hold dates and are left "]
