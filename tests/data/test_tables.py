"""Data frames and tables in files: the same numbers, names and types in and out."""

import numpy as np
import pandas
import pytest

from mmppl import models
from mmppl.covariates import infer_covariates
from mmppl.data import batch_of, from_pandas, load, to_pandas
from mmppl.data.files import write_like
from mmppl.data.source import imputations
from mmppl.errors import DataError, DataWarning, MissingWarning, ModalityError, OptionError, PackageError
from mmppl.inference import fit

RNG = np.random.default_rng(0)
N = 12


@pytest.fixture
def frame():
    return pandas.DataFrame(
        {
            "species": pandas.Categorical(["b", "a", "c"] * 4, categories=["c", "b", "a", "never"], ordered=True),
            "sex": ["f", None, "m"] * 4,
            "mass": [3500.0, np.nan, 4100.0] * 4,
            "year": np.array([2007, 2008, 2009] * 4, np.int16),
            "wild": [True, False, False] * 4,
            "rna/g1": RNG.poisson(2, N),
            "rna/g2": RNG.poisson(200, N),
            "size/x": RNG.normal(size=N).astype(np.float32),
            "size/y": RNG.normal(size=N),
            "eggs": pandas.array([1, None, 2] * 4, dtype="Int64"),
            "label": ["x", "y", "x"] * 4,
        },
        index=[f"bird{i}" for i in range(N)],
    )


def test_a_frame_comes_back_as_it_was(frame):
    data = from_pandas(frame)
    found = {n: (m.kind, m.shape, m.likelihood) for n, m in data.modalities.items()}
    assert found == {
        "species": ("category", (), "categorical"),
        "sex": ("category", (), "categorical"),
        "mass": ("vector", (), "normal"),
        "year": ("vector", (), "normal"),
        "wild": ("vector", (), "bernoulli"),
        "rna": ("counts", (2,), "negative_binomial"),
        "size": ("vector", (2,), "normal"),
        "eggs": ("category", (), "categorical"),  # as without gaps
    }
    assert data.modalities["species"].names == ("c", "b", "a", "never")
    assert data.rows["species"].tolist() == [1, 2, 0] * 4
    assert data.rows["rna"].dtype == np.int64
    np.testing.assert_array_equal(data.rows["size"][:, 1], frame["size/y"])
    assert data.rows.present["mass"].tolist() == [True, False, True] * 4
    assert data.rows.label.tolist() == ["x", "y", "x"] * 4
    assert from_pandas(frame, label="year").rows.label.flags.writeable
    assert sorted([*data.train.label, *data.test.label]) == sorted(data.rows.label)
    assert (len(data.train), len(data.test)) == (10, 2)
    pandas.testing.assert_frame_equal(to_pandas(data.rows, data), frame, check_exact=True)


def test_what_is_imputed_stands_in_the_columns_of_the_frame(frame):
    data = from_pandas(frame, kinds={"eggs": "vector"})
    draws = {
        "sex": np.stack([np.zeros(N, int), np.ones(N, int), np.ones(N, int)]),
        "mass": np.stack([np.full(N, 1.0), np.full(N, 2.0), np.full(N, 6.0)]),
        "eggs": np.stack([np.full(N, 1.0), np.full(N, 2.0), np.full(N, 6.0)]),
        "rna": np.zeros((N, 2)),
    }
    made = to_pandas(draws, data, interval=0.5)
    assert made["sex"].tolist() == ["f", "m", "m"] * 4
    assert made["mass"].tolist() == [3500.0, 3.0, 4100.0] * 4
    assert tuple(made[["mass low", "mass high"]].iloc[1]) == (1.5, 4.0)
    assert tuple(made[["mass low", "mass high"]].iloc[0]) == (3500.0, 3500.0)
    assert made["eggs"].tolist() == [1, 3, 2] * 4
    assert str(made["eggs"].dtype) == "Int64"
    np.testing.assert_array_equal(made[["rna/g1", "rna/g2"]], frame[["rna/g1", "rna/g2"]])
    assert made.index.equals(frame.index)
    assert list(imputations({"mass": draws["mass"]}, data)) == ["mass"]


def test_rows_for_a_program_have_its_kinds_and_classes(frame):
    data = from_pandas(frame)
    one = from_pandas(frame[["sex", "rna/g1", "rna/g2"]].iloc[2:3], modalities=data.modalities)
    assert len(one.test) == len(one.rows) == 1
    assert len(one.train) == 0
    assert one.rows["sex"].tolist() == [1]
    with pytest.raises(DataError, match=r"Modality 'sex': expected categories among \['f', 'm'\]; got \['x'\]"):
        from_pandas(frame[["sex"]].replace("f", "x"), modalities=data.modalities)


def test_a_table_read_anew_whose_classes_have_other_codes(ppl, frame):
    program = models.mvae(from_pandas(frame[["sex", "year"]]).modalities, ppl=ppl, latent_dim=2, hidden=4)
    males = from_pandas(frame[frame["sex"] == "m"][["sex", "year"]])  # 'm' is the class 0 here
    message = r"Modality 'sex': expected classes \('f', 'm'\), .* has \('m',\). Read it with modalities="
    with pytest.raises(ModalityError, match=message):
        fit(program, males, epochs=1, progress=False)
    with pytest.raises(ModalityError, match=message):
        fit(program, from_pandas(frame[["sex", "year"]]), validation=males, epochs=1, progress=False)


def test_views_kinds_and_labels_may_be_said(frame):
    views = {"both": ["mass", "year"], "sex": ["sex"]}
    some = frame[frame["mass"].notna()]
    data = from_pandas(some, views, label="species", kinds={"both": "vector"})
    assert {n: m.shape for n, m in data.modalities.items()} == {"both": (2,), "sex": ()}
    np.testing.assert_array_equal(data.rows["both"], some[["mass", "year"]])
    assert set(data.rows.label) == {"a", "b", "c"}.intersection(some["species"])
    levels = pandas.DataFrame(np.ones((3, 2)) / 3, columns=pandas.MultiIndex.from_tuples([("v", "a"), ("v", "b")]))
    data = from_pandas(levels)
    assert data.modalities["v"].shape == (2,)
    pandas.testing.assert_frame_equal(to_pandas(data.rows, data), levels)


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({}, {"views": {"v": ["mass", "wings"]}}, DataError, r"View 'v': expected columns among .*; got \['wings'\]"),
        (
            {},
            {"views": {"v": ["mass", "mass"]}},
            DataError,
            "each column in one view; got 'mass' twice in views",
        ),
        ({}, {"views": {"v": ["mass", "year"], "w": "year"}}, DataError, "one view; got 'year' twice in views"),
        ({}, {"views": {"v": []}}, DataError, r"View 'v': expected columns among .*; got \[\]"),
        ({}, {"views": {"v": "year"}, "covariates": ["year"]}, DataError, "not modelled; got 'year' in a view as well"),
        (
            {},
            {"views": {"v": ["year", "sex"]}},
            DataError,
            r"View 'v': expected columns of numbers; got texts in \['sex'\]",
        ),
        ({}, {"views": {"v": "sex"}, "kinds": {"v": "vector"}}, DataError, "Modality 'v': expected numbers; got texts"),
        ({}, {"views": {"v": "sex"}, "kinds": {"w": "vector"}}, OptionError, r"Expected kinds .* \['v'\]; got 'w'"),
        ({}, {"views": ["mass"]}, OptionError, r"Expected views, columns by name of modality, .*; got \['mass'\]"),
        ({}, {"label": "wings"}, DataError, "Label 'wings': expected columns among"),
        ({}, {"label": "sex"}, DataError, "Expected a label in every row; column 'sex' has none in row 1"),
        ({"rna/g1": -RNG.poisson(2, N) - 1}, {}, DataError, "Modality 'rna': expected counts"),
        (
            {"when": pandas.Timestamp("2020-01-01")},
            {"views": {"when": "when"}},
            DataError,
            "Column 'when' for 'when': expected numbers or texts; got .*. Make numbers of it, such as days",
        ),
        ({"mass": np.nan}, {}, DataError, "Modality 'mass': expected a value in some row; got none. Leave it out"),
        ({"a/b": 1.5, "a/c": "x"}, {}, DataError, r"View 'a': expected columns of numbers; got texts in \['a/c'\]"),
    ],
)
def test_frames_that_do_not_fit(frame, change, options, error, message):
    with pytest.raises(error, match=message):
        from_pandas(frame.assign(**change), **options)


def test_cells_that_are_missing_are_elements_of_their_view(frame):
    with pytest.warns(MissingWarning, match=r"Modality 'v': 4 of 24 values \(16.7%\) are NaN"):
        data = from_pandas(frame, {"v": ["mass", "year"]})
    assert data.modalities["v"].partial
    np.testing.assert_array_equal(data.rows.there("v")[:, 0], ~frame["mass"].isna())
    assert data.rows.there("v")[:, 1].all()
    pandas.testing.assert_frame_equal(to_pandas(data.rows, data), frame[["mass", "year", "label"]])
    draws = np.full((3, N, 2), 7.0) + np.arange(3.0)[:, None, None]
    made = to_pandas({"v": draws}, data, interval=0.5)
    gone = frame["mass"].isna()
    assert (made["mass"][gone] == 8.0).all()
    assert (made["mass"][~gone] == frame["mass"][~gone]).all()
    assert (made["mass low"][gone] == 7.5).all()


def test_other_bad_input(frame):
    with pytest.raises(DataError, match="Expected columns of different names; got 'sex' twice"):
        from_pandas(pandas.concat([frame, frame[["sex"]]], axis=1))
    with pytest.raises(DataError, match="Expected a pandas.DataFrame; got a dict"):
        from_pandas({"a": [1.0]})
    data = from_pandas(frame)
    with pytest.raises(DataError, match="which values go back to; 'linear_gaussian' are of none"):
        to_pandas({}, load("linear_gaussian"))
    with pytest.raises(OptionError, match=r"Expected the level of an interval in \(0, 1\); got 80"):
        to_pandas(data.rows, data, interval=80)
    with pytest.raises(ModalityError, match=r"Expected values of modalities among .*; got \['wings'\]"):
        to_pandas({"wings": np.ones(N)}, data)
    with pytest.raises(ModalityError, match=r"Modality 'mass': expected values \(12,\).*; got \(3,\)"):
        to_pandas({"mass": np.ones(3)}, data)
    with pytest.raises(ModalityError, match=r"values \(12, 2\) or draws \(K, 12, 2\), of all rows of the data"):
        to_pandas({"rna": np.ones((3, 4, 2))}, data)
    with pytest.raises(DataError, match=r"Expected a batch, or values or draws by name of modality.*; got a list"):
        to_pandas([1.0], data)
    with pytest.raises(DataError, match="got 1. Rows for a fitted program are read without a split"):
        from_pandas(frame.head(1))
    assert len(from_pandas(frame.head(1), modalities=data.modalities).rows) == 1
    some = from_pandas(frame[["mass"]], modalities=data.modalities)
    wider = type(some)(some.name, data.modalities, some.train, some.test, rows=some.rows, source=some.source)
    with pytest.raises(
        ModalityError, match=r"what the data were read with, \['mass'\]; got \['sex'\]. Add empty columns"
    ):
        to_pandas({"sex": np.ones(N, int)}, wider)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_tables_in_files(tmp_path, frame, ending):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(tmp_path / "birds.parquet")
    else:
        frame.to_csv(tmp_path / "birds.csv", index=False)
    path = tmp_path / f"birds{ending}"
    data = load(path)
    assert data.name == "birds"
    assert data.modalities["rna"].kind == "counts"
    assert load(path, kinds={"year": "category"}).modalities["year"].categories == 2010
    out = write_like(tmp_path / f"out{ending}", path, data.rows, data)
    read = getattr(pandas, f"read_{ending[1:]}")
    pandas.testing.assert_frame_equal(read(out), read(path), check_exact=True)
    filled = write_like(tmp_path / "new.csv", path, {"mass": np.full(N, 7.5)}, data)
    assert pandas.read_csv(filled)["mass"].tolist() == [3500.0, 7.5, 4100.0] * 4
    ends = pandas.read_csv(write_like(tmp_path / "ends.csv", path, {"mass": np.full((9, N), 7.5)}, data, interval=0.8))
    own = [c for c in ends if c in frame]
    assert own == list(frame)
    assert list(ends)[list(ends).index("mass") :][:3] == ["mass", "mass low", "mass high"]
    (tmp_path / "ends.csv").unlink()
    with pytest.raises(OptionError, match=f"Expected a file that ends in {ending}, as the one given does"):
        write_like(tmp_path / "out.h5ad", path, data.rows, data)
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted([f"birds{ending}", f"out{ending}", "new.csv"])


def test_the_index_of_a_table_in_a_file_is_no_modality(tmp_path, frame):
    path = tmp_path / "birds.csv"
    frame.to_csv(path)  # as pandas does by default: a first column without a name
    data = load(path)
    assert list(data.modalities) == list(from_pandas(frame).modalities)
    assert data.source.index.tolist() == frame.index.tolist()
    out = write_like(tmp_path / "out.csv", path, data.rows, data)
    assert out.read_text().splitlines()[0] == path.read_text().splitlines()[0]
    pandas.testing.assert_frame_equal(pandas.read_csv(out), pandas.read_csv(path), check_exact=True)


def test_a_view_of_one_column_whose_name_is_a_number():
    data = from_pandas(pandas.DataFrame({0: [0.5, 1.5, 2.5], 1: [3.0, 4.0, 5.5]}), {"x": 0, "y": [1]})
    assert data.rows["x"].tolist() == [0.5, 1.5, 2.5]
    assert to_pandas(data.rows, data)[1].tolist() == [3.0, 4.0, 5.5]


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="Expected a file; got .*none.csv', which is not there"):
        load(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match="Expected a .csv file; got .*, which cannot be read .EmptyDataError"):
        load(tmp_path / "empty.csv")
    (tmp_path / "x.parquet").write_text("hello")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(PackageError, match=r"Expected the package 'pyarrow', .* pip install 'mmppl\[tables\]'"):
        load(tmp_path / "x.parquet")


def test_latents_and_covariates_stand_beside_what_comes_back():
    frame = pandas.DataFrame(
        {
            "x": [0.5, None, 2.5],
            "site": pandas.Categorical(["n", "s", "n"], categories=["s", "n"]),
            "age": pandas.array([3, 4, 5], dtype="Int64"),
        },
        index=pandas.Index(["r1", "r2", "r3"], name="row"),
    )
    data = from_pandas(frame, covariates=["site", "age"])
    pandas.testing.assert_frame_equal(to_pandas(data.rows, data), frame)
    draws = np.random.default_rng(0).normal(size=(2, 50, 3, 2))
    made = to_pandas({"x": np.zeros((4, 3))}, data, latents={"z": draws, "w": draws[..., 0]}, interval=0.5)
    assert made.columns.tolist() == ["x", "x low", "x high", "site", "age", "z 0", "z 1", "w 0"]
    np.testing.assert_allclose(made[["z 0", "z 1"]].to_numpy(), draws.mean((0, 1)))
    np.testing.assert_allclose(made["w 0"], draws.mean((0, 1))[:, 0])
    assert made.index.equals(frame.index)
    again = from_pandas(to_pandas(data.rows, data), covariates=["site", "age"])
    assert again.covariates == data.covariates
    np.testing.assert_array_equal(again.rows["x"], data.rows["x"])
    with pytest.raises(DataError, match=r"Latent 'z': expected an array \(..., 3, D\).*Leave out"):
        to_pandas({}, data, latents={"z": np.ones((2, 5))})
    clash = from_pandas(frame.rename(columns={"x": "z 0"}))
    with pytest.raises(DataError, match="Expected latents that no column is called as; got 'z 0'"):
        to_pandas(clash.rows, clash, latents={"z": np.ones((3, 1))})


def test_columns_whose_names_no_modality_can_have_and_names_of_rows():
    """A table as it comes: names with commas, numbers of patients, a column called as the plate."""
    frame = pandas.DataFrame(
        {
            "Patient ID": [f"P{i}" for i in range(20)],
            "glucose, fasting": np.linspace(4.0, 6.0, 20),
            "No.": np.linspace(0.5, 1.5, 20),
            "batch": ["a", "b"] * 10,
        }
    )
    message = (
        r"Columns \['Patient ID'\] have another text in each row and are left out.*kinds={'Patient ID': 'category'}"
    )
    with pytest.warns(DataWarning, match=message):
        data = from_pandas(frame)
    assert {n: m.kind for n, m in data.modalities.items()} == {
        "glucose fasting": "vector",
        "No": "vector",
        "batch column": "category",
    }
    pandas.testing.assert_frame_equal(to_pandas(data.rows, data), frame)
    few = from_pandas(frame[:3], modalities=data.modalities)
    assert to_pandas(few.rows, few)["Patient ID"].tolist() == ["P0", "P1", "P2"]
    with pytest.raises(
        DataError, match="Modality 'id': expected texts that are classes.* or say that they are, kind 'c"
    ):
        from_pandas(frame, {"id": "Patient ID"})
    named = from_pandas(frame, {"id": "Patient ID"}, kinds={"id": "category"}).modalities
    assert {n: m.categories for n, m in named.items()} == {"id": 20}
    assert from_pandas(frame, kinds={"Patient ID": "category"}).modalities["Patient ID"].categories == 20
    twice = frame.assign(**{"Patient ID": [f"P{max(i, 1)}" for i in range(20)]})
    with pytest.raises(DataError, match="Modality 'Patient ID': .*got 19 different ones in 20 rows, such as 'P1'"):
        from_pandas(twice)
    assert "Patient ID" in from_pandas(frame[:19]).modalities  # of so few rows nobody knows
    with pytest.raises(DataError, match="Expected columns that can be told apart as modalities; got .a,b. and .a b."):
        from_pandas(pandas.DataFrame({"a,b": [0.5, 1.0], "a+b": [0.5, 1.0]}).rename(columns={"a+b": "a b"}))


def test_whole_numbers_with_gaps_are_what_they_are_without():
    whole = pandas.DataFrame({"n/a": [0, 3, 1, 2], "n/b": [5, 4, 1, 2], "year": [2007, 2009, 2007, 2008]})
    whole["few"] = [1, 2, 2, 1]
    gaps = whole.astype("Int64")
    gaps.loc[1, ["n/a", "year", "few"]] = pandas.NA
    with pytest.warns(MissingWarning, match="Modality 'n': 1 of 8 values"):
        kinds = [{n: m.kind for n, m in from_pandas(f).modalities.items()} for f in (whole, gaps)]
    assert kinds[0] == kinds[1] == {"n": "counts", "year": "vector", "few": "category"}
    with pytest.warns(MissingWarning):
        data = from_pandas(gaps)
    assert data.rows.elements["n"].tolist() == [[True, True], [False, True], [True, True], [True, True]]
    pandas.testing.assert_frame_equal(to_pandas(data.rows, data)[gaps.columns], gaps)
    below = gaps[["few"]].assign(**{"n/b": [-1, 2, 3, 0], "n/a": gaps["n/a"]})
    with pytest.warns(MissingWarning):
        found = from_pandas(below, kinds={"few": "vector"}).modalities
    assert [found[n].kind for n in ("few", "n")] == ["vector", "vector"]  # what is below 0 is no count


def test_whole_numbers_and_truth_values_with_gaps_stay_so_in_a_csv(tmp_path):
    text = "eggs,mass,ill\n0,3.0,True\n,4.0,\n2,,False\n1,3.0,True\n"
    (tmp_path / "birds.csv").write_text(text)
    data = load(tmp_path / "birds.csv")
    assert {n: (m.kind, m.likelihood) for n, m in data.modalities.items()} == {
        "eggs": ("category", "categorical"),
        "mass": ("vector", "normal"),
        "ill": ("vector", "bernoulli"),
    }
    drawn = {"eggs": np.array([0, 2, 2, 1]), "mass": np.full(4, 3.5), "ill": np.array([1.0, 0.3, 0.0, 1.0])}
    out = write_like(tmp_path / "out.csv", tmp_path / "birds.csv", drawn, data)
    assert out.read_text() == "eggs,mass,ill\n0,3.0,True\n2,4.0,False\n2,3.5,False\n1,3.0,True\n"


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%y", None])
def test_dates_are_left_out_with_advice_and_come_back(form):
    days = pandas.Series(pandas.date_range("2021-01-04", periods=30))
    shown = (days if form is None else days.dt.strftime(form)).where(np.arange(30) != 3, None)
    frame = pandas.DataFrame({"day": shown, "x": np.linspace(0.5, 1.5, 30)})
    with pytest.warns(
        DataWarning, match=r"Columns \['day'\] hold dates and are left out.*such as days since the first"
    ):
        data = from_pandas(frame)
    assert list(data.modalities) == ["x"]
    pandas.testing.assert_frame_equal(to_pandas(data.rows, data), frame)
    later = from_pandas(frame[:2], modalities=data.modalities)
    pandas.testing.assert_frame_equal(to_pandas(later.rows, later), frame[:2])


def test_few_dates_and_numbers_with_dots_are_no_dates_to_leave_out():
    frame = pandas.DataFrame(
        {"wave": ["2021-01-04", "2021-05-02"] * 30, "code": [f"{i % 25}.{i % 5}" for i in range(60)]}
    )
    assert {n: m.kind for n, m in from_pandas(frame).modalities.items()} == {"wave": "category", "code": "category"}


def test_columns_by_name_have_their_gaps():
    """What is missing is none of the numbers and texts, whatever sign pandas has for it."""
    columns = {
        "eggs": [1, None, 0] * 4,
        "ill": pandas.array([True, None, False] * 4, dtype="boolean"),
        "sex": pandas.array(["f", None, "m"] * 4, dtype="string"),
        "mass": [3.5, None, 4.25] * 4,
    }
    batch, found = batch_of(columns)
    assert {n: (m.kind, m.likelihood) for n, m in found.items()} == {
        "eggs": ("category", "categorical"),
        "ill": ("vector", "bernoulli"),
        "sex": ("category", "categorical"),
        "mass": ("vector", "normal"),
    }
    for name, first in {"eggs": 1, "ill": 1.0, "sex": 0, "mass": 3.5}.items():
        assert batch.present[name].tolist() == [True, False, True] * 4
        assert batch[name][0] == first
    assert batch["mass"][2] == 4.25
    with pytest.raises(DataError, match="Covariate 'sex': expected a value in every row; got none in rows 1, 4"):
        batch.with_covariates({"sex": np.asarray(columns["sex"])})
    with pytest.raises(DataError, match="Covariate 'sex': expected a class in every row; got none in row 1"):
        infer_covariates({"sex": np.asarray(columns["sex"], object)}, {})
    with pytest.raises(DataError, match=r"got dtype object and shape \(12, 1\). Make floats of it, with NaN for what"):
        batch_of({"eggs": np.array([columns["eggs"]], object).T})
