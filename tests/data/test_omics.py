"""AnnData and MuData: the same numbers, names and types in and out."""

import numpy as np
import pandas
import pytest
import scipy.sparse

from mmppl.data import from_anndata, from_mudata, load, to_anndata, to_mudata
from mmppl.data.files import load_file, texts_as_objects, write_like
from mmppl.data.optional import need
from mmppl.errors import DataError, OptionError, PackageError

RNG = np.random.default_rng(0)
N = 9
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


def needed(package):
    """A package of the extra "omics", which the development set holds, imported without what it warns of itself."""
    return need(package, "omics")


def cells(names, genes=("g1", "g2", "g3"), dtype=np.float32):
    anndata = needed("anndata")
    num = len(names)
    counts = np.minimum(RNG.poisson(1, (num, len(genes))), 7)
    counts[0, 0] = 0
    obs = pandas.DataFrame({"type": pandas.Categorical(["b", "a", "b"] * 3)[:num], "depth": np.arange(num) + 0.5})
    adata = anndata.AnnData(
        scipy.sparse.csr_matrix(counts.astype(dtype)),
        obs=obs.set_index(pandas.Index(names, dtype=object)),
        var=pandas.DataFrame(index=pandas.Index(genes, dtype=object)),
    )
    adata.layers["raw"] = scipy.sparse.csc_matrix((2 * counts + 2).astype(np.int32))
    adata.obsm["protein"] = RNG.normal(size=(num, 2))
    return adata


@pytest.fixture
def adata():
    return cells([f"cell{i}" for i in range(N)])


VIEWS = {"rna": "X", "raw": "layers/raw", "protein": "obsm/protein", "type": "obs/type", "depth": "obs/depth"}


def test_anndata_comes_back_as_it_was(adata):
    before = adata.X.toarray()
    data = from_anndata(adata, VIEWS, label="type")
    assert {n: (m.kind, m.shape) for n, m in data.modalities.items()} == {
        "rna": ("counts", (3,)),
        "raw": ("counts", (3,)),
        "protein": ("vector", (2,)),
        "type": ("category", ()),
        "depth": ("vector", ()),
    }
    assert data.modalities["type"].names == ("a", "b")
    assert data.rows.label.tolist() == ["b", "a", "b"] * 3
    np.testing.assert_array_equal(data.rows["rna"], before)
    assert data.rows["rna"].dtype == np.float32
    z = RNG.normal(size=(1, 5, N, 4))
    made = to_anndata(data.rows, data, adata, latents={"z": z})
    assert made is adata
    np.testing.assert_array_equal(made.X.toarray(), before)
    for now, then in (
        (made.layers["mmppl"], before),
        (made.layers["raw_mmppl"], adata.layers["raw"].toarray()),
        (made.obsm["protein_mmppl"], adata.obsm["protein"]),
        (made.obs["depth_mmppl"].to_numpy(), adata.obs["depth"].to_numpy()),
    ):
        np.testing.assert_array_equal(now, then)
        assert now.dtype == then.dtype
    assert made.obs["type_mmppl"].tolist() == made.obs["type"].tolist()
    np.testing.assert_allclose(made.obsm["mmppl_z"], z.mean((0, 1)))


def test_what_is_imputed_goes_to_layers(adata):
    adata.X = adata.X.toarray()
    adata.X[2] = np.nan
    data = from_anndata(adata, {"rna": "X"}, kinds={"rna": "vector"})
    assert np.flatnonzero(~data.rows.present["rna"]).tolist() == [2]
    draws = np.stack([np.full((N, 3), x) for x in (1.0, 2.0, 6.0)])
    made = to_anndata({"rna": draws}, data, adata, interval=0.5)
    assert made.layers["mmppl"][2].tolist() == [3.0] * 3
    assert made.layers["mmppl_low"][2].tolist() == [1.5] * 3
    np.testing.assert_array_equal(made.layers["mmppl"][:2], adata.X[:2])
    assert np.isnan(adata.X[2]).all()


def test_anndata_that_does_not_fit(adata):
    with pytest.raises(
        DataError, match=r"View 'v': expected a place among \['X', 'layers/raw'\] .*; got 'layers/norm'"
    ):
        from_anndata(adata, {"v": "layers/norm"})
    with pytest.raises(DataError, match="View 'v': expected a place 'X', 'layers/<name>'.*; got 'Y'"):
        from_anndata(adata, {"v": "Y"})
    with pytest.raises(DataError, match="View 'v': expected a place among .*'obs/type', 'obs/depth'.* got 'obs/size'"):
        from_anndata(adata, {"v": "obs/size"})
    with pytest.raises(DataError, match="Expected a label among the columns .* of obs; got 'sort'"):
        from_anndata(adata, label="sort")
    for views in (["X"], {"rna": 3}):
        with pytest.raises(OptionError, match=r"Expected views, places by name of modality, such as {'X': 'X'}; got"):
            from_anndata(adata, views)
    with pytest.raises(DataError, match="Expected an anndata.AnnData; got a DataFrame"):
        from_anndata(adata.obs)
    data = from_anndata(adata)
    with pytest.raises(DataError, match="Expected the observations that the data were read from, in their order"):
        to_anndata(data.rows, data, adata[::-1].copy())
    with pytest.raises(DataError, match=r"Latent 'z': expected an array \(..., 9, D\)"):
        to_anndata({}, data, adata, latents={"z": np.ones((8, 2))})
    adata.var_names = ["g1", "g2", "g1"]
    with pytest.raises(
        DataError, match="variables of view 'X' of different names; got 'g1' twice. Call var_names_make"
    ):
        from_anndata(adata)
    adata.obs_names = ["cell"] * N
    with pytest.raises(DataError, match="Expected observations of different names; got 'cell' twice. Call obs_names_m"):
        from_anndata(adata)


def test_columns_of_obs_come_back_in_their_types(adata, mdata):
    adata.obs["sick"] = [True, False, True] * 3
    adata.obs["age"] = pandas.array([3, None, 7] * 3, dtype="Int64")
    adata.obs["order"] = pandas.Categorical(["b", None, "a"] * 3, categories=["b", "a", "never"], ordered=True)
    names = ["type", "sick", "age", "order", "depth"]
    data = from_anndata(adata, {name: f"obs/{name}" for name in names})
    made = to_anndata(data.rows, data, adata).obs
    for name in names:
        pandas.testing.assert_series_equal(made[f"{name}_mmppl"], made[name], check_names=False)
    data = from_mudata(mdata, {"site": "obs/batch", "type": "atac/obs/type", "rna": "rna/X"})
    made = to_mudata(data.rows, data, mdata).obs
    pandas.testing.assert_series_equal(made["site_mmppl"], made["batch"], check_names=False)
    assert made["type_mmppl"].dtype == mdata["atac"].obs["type"].dtype
    there = made.index.isin(mdata["atac"].obs_names)
    assert made["type_mmppl"][there].tolist() == mdata["atac"].obs["type"][made.index[there]].tolist()
    assert made["type_mmppl"][~there].isna().all()


@pytest.fixture
def mdata():
    mudata = needed("mudata")
    names = [f"cell{i}" for i in range(N)]
    parts = {"rna": cells(names[:7]), "atac": cells(names[2:], ("p1", "p2"), np.int32)}
    made = mudata.MuData(parts)
    made.obs["batch"] = pandas.Categorical(["x", "y", "z"] * 3)
    return made


def test_mudata_is_the_union_of_observations(mdata):
    data = from_mudata(mdata, label="batch")
    assert {n: (m.kind, m.shape) for n, m in data.modalities.items()} == {
        "rna": ("counts", (3,)),
        "atac": ("counts", (2,)),
    }
    at = mdata.obs_names.get_indexer(mdata["atac"].obs_names)
    assert data.rows.present["atac"].sum() == 7
    np.testing.assert_array_equal(data.rows["atac"][at], mdata["atac"].X.toarray())
    assert data.rows.label.tolist() == mdata.obs["batch"].tolist()
    draws = np.full((4, N, 2), 3)
    made = to_mudata({"atac": draws}, data, mdata, latents={"z": np.ones((N, 2))})
    frame = made.obsm["atac_mmppl"]
    assert list(frame.columns) == ["p1", "p2"]
    assert (frame[~data.rows.present["atac"]] == 3).all().all()
    np.testing.assert_array_equal(frame.iloc[at], mdata["atac"].X.toarray())
    assert set(frame.dtypes) == {np.dtype(np.int32)}
    assert made.obsm["mmppl_z"].shape == (N, 2)
    places = {"rna": "rna/layers/raw", "type": "atac/obs/type", "site": "obs/batch"}
    some = from_mudata(mdata, places)
    assert some.modalities["type"].names == ("a", "b")
    assert some.rows.present["type"].sum() == 7
    assert some.rows.present["site"].all()
    to_mudata(some.rows, some, mdata)
    assert mdata.obs["site_mmppl"].tolist() == mdata.obs["batch"].tolist()
    assert mdata.obs["type_mmppl"].isna().sum() == 2
    np.testing.assert_array_equal(
        mdata.obsm["rna_mmppl"][some.rows.present["rna"]].astype(int),
        mdata["rna"][mdata.obs_names[some.rows.present["rna"]]].layers["raw"].toarray(),
    )


def test_mudata_that_does_not_fit(mdata, adata):
    mudata = needed("mudata")
    apart = mudata.MuData({"a": cells(["x1", "x2", "x3"]), "b": cells(["y1", "y2", "y3"])})
    with pytest.raises(
        DataError, match=r"observations that two of the parts \['a', 'b'\] share; got none. .*\['x1', 'y1'\]"
    ):
        from_mudata(apart)
    for place in ("dna/X", "rna"):
        message = rf"View 'v': expected a place in \['rna', 'atac'\], such as 'rna/X', or in obs; got '{place}'"
        with pytest.raises(DataError, match=message):
            from_mudata(mdata, {"v": place})
    with pytest.raises(DataError, match="Expected a mudata.MuData; got a AnnData"):
        from_mudata(adata)


@pytest.fixture(autouse=True)
def as_objects():
    with texts_as_objects():
        yield


@pytest.mark.parametrize("ending", [".h5ad", ".h5mu", ".zarr"])
def test_files(tmp_path, adata, mdata, ending):
    path = tmp_path / f"cells{ending}"
    if ending == ".h5mu":
        mdata.write(path)
    elif ending == ".zarr":
        needed("zarr")
        adata.write_zarr(path)
    else:
        adata.write_h5ad(path)
    data = load(path)
    assert {n: m.kind for n, m in data.modalities.items()} == (
        {"rna": "counts", "atac": "counts"} if ending == ".h5mu" else {"X": "counts"}
    )
    first = next(iter(data.modalities))
    out = write_like(tmp_path / f"out{ending}", path, data.rows.select(first), data)
    again = load_file(out, modalities=data.modalities)
    for name in data.rows:
        np.testing.assert_array_equal(again.rows[name], data.rows[name])
        np.testing.assert_array_equal(again.rows.present[name], data.rows.present[name])
    if ending == ".h5mu":
        frame = needed("mudata").read_h5mu(out).obsm["rna_mmppl"]
        assert list(frame.columns) == ["g1", "g2", "g3"]
    else:
        back = needed("anndata").read_h5ad(out) if ending == ".h5ad" else needed("anndata").read_zarr(out)
        np.testing.assert_array_equal(back.layers["mmppl"], data.rows["X"])


def test_an_absent_package_is_named(tmp_path, monkeypatch):
    for package, make in (("anndata", from_anndata), ("mudata", from_mudata)):
        monkeypatch.setitem(__import__("sys").modules, package, None)
        with pytest.raises(PackageError, match=rf"Expected the package '{package}', .* pip install 'mmppl\[omics\]'"):
            make(None)


def test_columns_of_obs_are_covariates(adata):
    data = from_anndata(adata, {"rna": "X"}, covariates={"type": None, "depth": "size_factor"})
    assert {n: (c.kind, c.names) for n, c in data.covariates.items()} == {
        "type": ("category", ("a", "b")),
        "depth": ("size_factor", None),
    }
    assert data.rows.covariates["type"].tolist() == ["b", "a", "b"] * 3
    np.testing.assert_array_equal(data.rows.covariates["depth"], np.arange(N) + 0.5)
    again = from_anndata(adata, {"rna": "X"}, modalities=data.modalities, covariates=data.covariates)
    assert again.covariates == data.covariates
    with pytest.raises(DataError, match="Expected covariates among the columns .* of obs; got \\['batch'\\]"):
        from_anndata(adata, covariates=["batch"])


def test_columns_of_the_whole_are_covariates_of_mudata():
    mudata = needed("mudata")
    first, second = cells(["c0", "c1", "c2"]), cells(["c1", "c2", "c3"])
    mdata = mudata.MuData({"rna": first, "adt": second})
    mdata.obs["donor"] = ["p", "q", "p", "q"]
    data = from_mudata(mdata, covariates=["donor"])
    assert data.covariates["donor"].names == ("p", "q")
    order = mdata.obs_names.tolist()
    assert data.rows.covariates["donor"].tolist() == mdata.obs["donor"].tolist()
    assert len(order) == len(data.rows)
    mdata.obs["donor"] = ["p", None, "p", "q"]
    with pytest.raises(DataError, match="Covariate 'donor': expected a (value|class) in every row"):
        from_mudata(mdata, covariates=["donor"])
