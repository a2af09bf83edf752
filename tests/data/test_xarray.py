"""Data sets of xarray, in memory and in files: the same numbers, names and types in and out."""

import numpy as np
import pytest
import xarray

from mmppl.batch import Batch
from mmppl.data import from_xarray, load, to_xarray
from mmppl.data.files import load_file, write_like
from mmppl.errors import DataError

RNG = np.random.default_rng(0)
N = 12


@pytest.fixture
def grid():
    return xarray.Dataset(
        {
            "ink": (("y", "x", "row"), RNG.integers(0, 256, (4, 5, N), np.uint8), {"units": "grey"}),
            "rna": (("row", "gene"), RNG.poisson(3, (N, 3)).astype(np.int32)),
            "mass": ("row", np.where(np.arange(N) % 3 == 1, np.nan, 1.5).astype(np.float32)),
            "sex": ("row", np.array(["f", "m"] * 6)),
        },
        coords={"gene": ["a", "b", "c"], "row": np.arange(N) + 100, "label": ("row", np.arange(N) % 2)},
        attrs={"title": "birds"},
    )


def test_a_grid_comes_back_as_it_was(grid):
    data = from_xarray(grid)
    assert {n: (m.kind, m.shape) for n, m in data.modalities.items()} == {
        "ink": ("image", (1, 4, 5)),
        "rna": ("counts", (3,)),
        "mass": ("vector", ()),
        "sex": ("category", ()),
    }
    np.testing.assert_allclose(data.rows["ink"][:, 0], grid["ink"].transpose("row", ...) / 255, rtol=1e-6)
    assert data.rows.label.tolist() == [0, 1] * 6
    back = to_xarray(data.rows, data)
    assert back.identical(grid)
    assert {n: back[n].dtype for n in back} == {n: grid[n].dtype for n in grid}
    filled = to_xarray({"mass": np.full((3, N), 7.0)}, data, interval=0.8)
    assert filled["mass"].to_numpy().tolist() == [1.5, 7.0, 1.5] * 4
    assert filled["mass_high"].dims == ("row",)
    assert filled["mass"].dtype == np.float32


def test_a_grid_with_missing_rows_of_integers_says_which(grid):
    there = np.arange(N) % 2 == 0
    data = from_xarray(grid.assign(rna__present=("row", there), rna__kind="counts"))
    assert data.rows.present["rna"].tolist() == there.tolist()
    back = to_xarray(data.rows, data)
    assert back["rna__present"].to_numpy().tolist() == there.tolist()
    np.testing.assert_array_equal(back["rna"][there], grid["rna"][there])


def test_names_of_coordinates_that_stand_twice_are_refused(grid):
    with pytest.raises(DataError, match=r"different names in dimension 'gene'; got 'a' twice\. .* assign_coords"):
        from_xarray(grid.assign_coords(gene=["a", "b", "a"]))
    assert from_xarray(grid.drop_vars("gene")).modalities["rna"].coordinates is None


def test_grids_that_do_not_fit(grid):
    with pytest.raises(
        DataError, match="Expected one dimension that all variables have, that of the rows; got .* dim="
    ):
        from_xarray(grid.assign(scale=("gene", [1.0, 2.0, 3.0])))
    with pytest.raises(DataError, match=r"Variable 'scale': expected the dimension 'row' of the rows; got \('gene',\)"):
        from_xarray(grid.assign(scale=("gene", [1.0, 2.0, 3.0])), dim="row")
    with pytest.raises(DataError, match="Expected an xarray.Dataset; got a DataArray"):
        from_xarray(grid["rna"])
    with pytest.raises(DataError, match="Expected a label among the variables .*; got 'wings'"):
        from_xarray(grid, label="wings")


@pytest.mark.filterwarnings("ignore:The data type:UserWarning", "ignore::FutureWarning")
def test_a_grid_in_zarr(tmp_path, grid):
    pytest.importorskip("zarr")
    path = tmp_path / "birds.zarr"
    grid.to_zarr(path, consolidated=False)
    data = load(path)
    assert data.modalities["ink"].kind == "image"
    assert to_xarray(data.rows, data).identical(grid)
    out = write_like(tmp_path / "out.zarr", path, {"mass": np.full(N, 7.0)}, data)
    back = load_file(out)
    assert isinstance(back.rows, Batch)
    assert back.rows["mass"].tolist() == [1.5, 7.0, 1.5] * 4
    np.testing.assert_array_equal(back.rows["ink"], data.rows["ink"])


def test_latents_are_variables_of_xarray():
    grid = xarray.Dataset({"age": ("row", [3.5, 4.5])}, coords={"row": ["a", "b"]})
    data = from_xarray(grid)
    z = np.random.default_rng(0).normal(size=(5, 2, 3))
    made = to_xarray(data.rows, data, latents={"z": z})
    np.testing.assert_allclose(made["mmppl_z"], z.mean(0))
    assert made["mmppl_z"].dims == ("row", "mmppl_z_latent")
    assert made["row"].values.tolist() == ["a", "b"]


def test_variables_and_coordinates_of_xarray_are_covariates(tmp_path):
    grid = xarray.Dataset(
        {"age": ("row", [3.5, 4.5, 2.5]), "x": (("row", "at"), np.arange(6.0).reshape(3, 2) + 0.5)},
        coords={"site": ("row", ["n", "s", "n"]), "at": [1, 2]},
    )
    data = from_xarray(grid, dim="row", covariates={"age": None, "site": "category"})
    assert list(data.modalities) == ["x"]
    assert {n: c.names for n, c in data.covariates.items()} == {"age": None, "site": ("n", "s")}
    assert data.rows.covariates["site"].tolist() == ["n", "s", "n"]
    assert to_xarray(data.rows, data).identical(grid)
    again = from_xarray(grid, dim="row", modalities=data.modalities, covariates=data.covariates)
    assert again.covariates == data.covariates
    plain = grid.drop_vars("site").assign(y=("row", [1.5, 2.5, 3.5]))  # texts are not all zarr's
    plain.to_zarr(tmp_path / "grid.zarr", consolidated=False)
    assert load(tmp_path / "grid.zarr", covariates=["age"]).rows.covariates["age"].tolist() == [3.5, 4.5, 2.5]
    with pytest.raises(DataError, match=r"Expected covariates among the variables .*; got \['wings'\]"):
        from_xarray(grid, covariates=["wings"])
    with pytest.raises(DataError, match="Covariate 'x': expected the dimension 'row' of the rows alone; got"):
        from_xarray(grid, dim="row", covariates=["x"])
