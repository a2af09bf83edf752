"""Names and units of coordinates: where they come from, where they go, and what is refused."""

import importlib
import json

import numpy as np
import pandas
import pytest
import xarray

import mmppl
from mmppl import Batch, Modality, models
from mmppl.coordinates import names_of_columns
from mmppl.data import batch_of, from_pandas, from_xarray, load, open_rows, read_npz, to_pandas, write_npz, write_rows
from mmppl.data.dataset import Dataset
from mmppl.data.npz import load_npz
from mmppl.diagnostics.report.pictures import rows_of
from mmppl.display import number
from mmppl.errors import ModalityError, OptionError, RunError
from mmppl.inference import fit, generate, to_arviz
from mmppl.inference.training.checksums import of_json

BILL = Modality((2,), coordinates=("length", "depth"), units="mm")
BODY = Modality((2,), coordinates=("wing", "mass"), units=("mm", "g"))
MASS = Modality((), units="g")
REFUSED = [
    ({"coordinates": ("a",)}, "Expected 2 names of coordinates, texts that are not empty; got 1"),
    ({"coordinates": ("a", "b", "c")}, "Expected 2 names of coordinates, .*; got 3"),
    ({"coordinates": ("a", "a")}, "Expected coordinates of different names; got 'a' twice"),
    ({"coordinates": ("a", "")}, "Expected 2 names of coordinates, texts that are not empty"),
    ({"coordinates": ("a", 1)}, "Expected 2 names of coordinates, texts"),
    ({"coordinates": "ab"}, "Expected 2 names of coordinates, texts"),
    ({"coordinates": {"a"}}, "Expected 2 names of coordinates, texts"),
    ({"shape": (), "coordinates": ()}, r"a vector, or of counts, with one axis; got kind 'vector' of shape \(\)"),
    ({"shape": (2, 2), "coordinates": ("a", "b")}, r"with one axis; got kind 'vector' of shape \(2, 2\)"),
    ({"kind": "tokens", "vocabulary": 3, "coordinates": ("a", "b")}, "with one axis; got kind 'tokens'"),
    ({"units": ("mm",)}, "Expected units to be a text, or 2 of them"),
    ({"units": ""}, "Expected units to be a text, or 2 of them"),
    ({"units": 3}, "Expected units to be a text, or 2 of them"),
    ({"shape": (), "units": ("g",)}, r"Expected units to be a text; got \('g',\) for shape \(\)"),
    ({"kind": "tokens", "vocabulary": 3, "units": "mm"}, "Expected units of a vector or of counts; got kind 'tokens'"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda x: str(x)[:50])
def test_what_is_no_name_of_a_coordinate_is_refused(options, message):
    with pytest.raises(ModalityError, match=message):
        Modality(**{"shape": (2,), **options})


def test_they_are_a_part_of_the_modality_as_plain_texts():
    one = Modality((2,), coordinates=np.array(["length", "depth"]), units=["mm", ""])
    assert Modality(**json.loads(json.dumps(one.as_dict()))) == one != Modality((2,))
    assert type(one.coordinates[0]) is str
    assert one.units == ("mm", "")
    assert hash(one) == hash(Modality((2,), coordinates=("length", "depth"), units=("mm", "")))


FRAME = pandas.DataFrame(
    {
        "sex": ["f", "m", None, "f", "m", "f"],
        "bill/length": [39.1, 38.2, 40.0, np.nan, 37.7, 36.6],
        "bill/depth": [18.7, 17.4, 18.0, 19.1, 20.0, 18.2],
        "mass": [3750.0, 3800.0, 3250.0, 3450.0, 3650.0, np.nan],
    }
)


def frame_data(**options):
    with pytest.warns(UserWarning, match="are NaN"):
        return from_pandas(FRAME, units={"bill/length": "mm", "bill/depth": "mm", "mass": "g"}, **options)


def test_a_frame_names_them_by_its_columns():
    data = frame_data()
    bill = data.modalities["bill"]
    assert (bill.coordinates, bill.units) == (("length", "depth"), ("mm", "mm"))
    assert (data.modalities["mass"].coordinates, data.modalities["mass"].units) == (None, "g")
    # Systems still score a vector with gaps, whose likelihood nobody said, by noise in common.
    assert all(m.unsaid for m in data.modalities.values())
    program = models.mvae(data.modalities, ppl=importlib.import_module("mmppl.numpyro"))
    assert program.modalities["bill"].likelihood == "low_rank_normal"
    assert "length (mm), depth (mm)" in repr(data)
    assert "length (mm), depth (mm)" in data._repr_html_()
    assert to_pandas(data.rows, data)[["bill/length", "mass"]].equals(FRAME[["bill/length", "mass"]])
    with pytest.raises(OptionError, match=r"of columns among \['mass'\]; got {'wing': 'mm'}"):
        from_pandas(FRAME, {"mass": "mass"}, units={"wing": "mm"})
    assert from_pandas(pandas.DataFrame(np.eye(3)), {"x": [0, 1, 2]}).modalities["x"].coordinates is None


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (["a", "b"], ("a", "b")),
        (["x/a", "x/b"], ("a", "b")),
        (["x/a", "b"], ("x/a", "b")),
        ([("x", "a"), ("x", "b")], ("a", "b")),
        ([0, 1], None),
        (["1", 1], None),
        ([("x", "a", "c"), ("x", "b", "c")], ("a/c", "b/c")),
    ],
)
def test_names_of_columns(columns, names):
    assert names_of_columns(columns, "x") == names


def test_columns_in_another_order_than_the_program_s_are_refused():
    known = frame_data().modalities
    turned = FRAME[["sex", "bill/depth", "bill/length", "mass"]]
    with (
        pytest.warns(UserWarning, match="are NaN"),
        pytest.raises(ModalityError, match="'bill': expected its coordinates .* got 'depth' in place of 'length'"),
    ):
        from_pandas(turned, modalities=known)
    with pytest.warns(UserWarning, match="are NaN"):
        other = from_pandas(turned)
    program = models.mvae(known, ppl=importlib.import_module("mmppl.numpyro"), latent_dim=1, hidden=4)
    with pytest.raises(ModalityError, match=r"'bill': expected coordinates \('length', 'depth'\), as the program has"):
        fit(program, other, epochs=1, progress=False)


def test_arrays_and_files_say_them(tmp_path):
    arrays = {"bill": np.ones((4, 2)), "bill__coordinates": np.array(["length", "depth"]), "mass": np.arange(4.5)[:4]}
    arrays |= {"bill__units": np.array("mm"), "mass__units": np.array("g")}
    _, found = batch_of(arrays)
    assert (found["bill"].coordinates, found["bill"].units, found["mass"].units) == (("length", "depth"), "mm", "g")
    for wrong, message in (
        ({"bill__coordinates": np.array(["length"])}, "'bill': Expected 2 names of coordinates"),
        ({"mass__coordinates": np.array(["a"])}, "'mass': Expected coordinates of a vector"),
        ({"bill__units": np.array(["mm", "g", "s"])}, "'bill': Expected units to be a text"),
    ):
        with pytest.raises(ModalityError, match=message):
            batch_of(arrays | wrong)
    with pytest.raises(ModalityError, match="got 'length' in place of 'depth'"):
        batch_of(arrays, modalities={"bill": Modality((2,), coordinates=("depth", "length")), "mass": MASS})
    batch = Batch({"bill": np.ones((4, 2)), "body": np.zeros((4, 2)), "mass": np.ones(4)})
    file = write_npz(tmp_path / "a.npz", batch, modalities={"bill": BILL, "body": BODY, "mass": MASS})
    assert list(read_npz(file)) == ["bill", "body", "mass"]
    again = load_npz(file, 0).modalities
    assert (again["bill"].coordinates, again["bill"].units) == (BILL.coordinates, "mm")
    assert (again["body"].units, again["mass"].units) == (("mm", "g"), "g")
    write_rows(tmp_path / "rows", [batch])
    np.save(tmp_path / "rows" / "bill__coordinates.npy", np.array(BILL.coordinates))
    rows = open_rows(tmp_path / "rows")
    assert rows.modalities["bill"].coordinates == BILL.coordinates
    assert sorted(rows[np.array([0])]) == ["bill", "bill__present", "body", "body__present", "mass", "mass__present"]


def test_xarray_names_them_by_its_coordinates():
    genes = ("row", "gene"), np.array([[0, 3], [2, 1], [5, 0]]), {"units": "reads"}
    grid = xarray.Dataset({"rna": genes, "age": ("row", [3.5, 4.5, 5.5])}, coords={"gene": ["CD3", "CD19"]})
    found = from_xarray(grid).modalities
    assert (found["rna"].coordinates, found["rna"].units) == (("CD3", "CD19"), "reads")
    assert (found["age"].coordinates, found["age"].units) == (None, None)
    with pytest.raises(ModalityError, match="'rna': expected its coordinates in their order; got 'CD19' in place"):
        from_xarray(grid.isel(gene=[1, 0]), modalities=found)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on NumPyro of named modalities, and its data."""
    rng = np.random.default_rng(0)
    rows = Batch({"bill": rng.normal(size=(12, 2)), "body": rng.normal(size=(12, 2)), "mass": rng.normal(size=12)})
    data = Dataset("birds", {"bill": BILL, "body": BODY, "mass": MASS}, rows[:8], rows[8:])
    program = models.mvae(data.modalities, ppl=importlib.import_module("mmppl.numpyro"), latent_dim=1, hidden=4)
    folder = tmp_path_factory.mktemp("named") / "run"
    fit(program, data, epochs=2, batch_size=4, seed=0, out=folder, progress=False)
    return folder, program, data


@pytest.mark.parametrize("host", ["numpyro", "pyro"])
def test_a_run_keeps_them_and_arviz_has_them(run, host):
    folder, _, data = run
    fitted = mmppl.load(folder, ppl=importlib.import_module(f"mmppl.{host}"))
    assert fitted.program.modalities == data.modalities
    idata = to_arviz(
        fitted, data.test.select("bill", "body", "mass")[:2], kernel=None, num_samples=4, num_predictive=2, num_prior=2
    )
    for group in ("posterior_predictive", "prior_predictive", "observed_data"):
        found = idata[group]
        assert found["bill"].coords["bill_dim_0"].to_numpy().tolist() == ["length", "depth"]
        assert found["bill"].attrs["units"] == "mm"
        assert found["body"].coords["body_dim_0_units"].to_numpy().tolist() == ["mm", "g"]
        assert found["mass"].attrs["units"] == "g"
    np.testing.assert_array_equal(idata["observed_data"]["bill"].sel(bill_dim_0="depth"), data.test["bill"][:2, 1])
    draws = generate(fitted, data.test.only("bill"), num=3)
    ticks = [[t.get_text() for t in place.get_xticklabels()] for place in draws.show(rows=1).axes]
    ends = [f"{number(x.min())} to {number(x.max())}" for x in np.moveaxis(draws["body"][:, 0], -1, 0)]
    assert ticks == [["length (mm)", "depth (mm)"], [f"wing (mm): {ends[0]}", f"mass (g): {ends[1]}"], ["(g)"]]


def edited(folder, to, change):
    """A copy of a run whose run.json is another, with its checksum."""
    import shutil

    shutil.copytree(folder, to)
    content = json.loads((to / "run.json").read_text())
    change(content["modalities"])
    content["checksum"] = of_json({k: v for k, v in content.items() if k != "checksum"})
    (to / "run.json").write_text(json.dumps(content))
    return to


def without(modalities):
    for fields in modalities.values():
        del fields["coordinates"], fields["units"]


def turned(modalities):
    modalities["bill"]["coordinates"] = ["depth", "length"]


def test_a_run_of_before_loads_and_goes_on(run, tmp_path):
    folder, program, data = run
    old = edited(folder, tmp_path / "old", without)
    assert mmppl.load(old).program.modalities["bill"] == Modality((2,))
    fit(program, data, epochs=2, batch_size=4, seed=0, out=old, resume=True, progress=False)
    other = edited(folder, tmp_path / "other", turned)
    with pytest.raises(RunError, match="The run has modalities=.*resume it with the same settings"):
        fit(program, data, epochs=2, batch_size=4, seed=0, out=other, resume=True, progress=False)


def test_the_report_writes_numbers_out_under_their_names_with_the_truth(run):
    data = run[2]
    rows = data.test.with_present({"bill": np.array([[True, False], [True, True], [True, True], [False, False]])})
    found = rows_of(data, "bill", np.full((4, 2), 4207.3), "drawn", rows=rows)
    assert [head for head, _, _ in found] == ["bill: length (mm)", "bill: depth (mm)"]
    assert ">4207<br><small>" in found[0][1][0]
    assert ">4207<br><small>–</small>" in found[1][1][0]
    assert ">4207<br><small>–</small>" in found[0][1][3]
    (given,) = rows_of(data, "mass", None, "given", rows=data.test, given=True)
    assert (given[0], given[2]) == ("given mass (g)", True)
    assert f"{data.test['mass'][0]:.4g}" in given[1][0]
    wide = load("linear_gaussian", latent_dim=2, dims={"a": 9, "b": 1}, num_train=10, num_test=5)
    heads = [head for head, _, _ in rows_of(wide, "a", wide.test["a"], "drawn", rows=wide.test)]
    assert heads == ["a", "a, truth", *(f"a[{i}]" for i in range(6))]
