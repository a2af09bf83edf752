"""The command line on data of one's own: what a file is taken for, and what comes back."""

import json

import numpy as np
import pandas
import pytest

from mmppl.cli import main
from mmppl.data import load, write_npz
from mmppl.diagnostics import load_run
from mmppl.errors import MMPPLError

RNG = np.random.default_rng(0)
HOSTS = pytest.mark.parametrize("host", ["numpyro", "pyro"])
SMALL = ["--epochs", "2", "--set", "latent_dim=2", "--set", "hidden=8", "--set", "batch_size=20"]


def command(*args):
    return main([str(a) for a in args])


def fit(folder, data, host, *more):
    return command("fit", "--model", "mvae", "--data", data, "--backend", host, "--out", folder / "run", *SMALL, *more)


@HOSTS
def test_integers_are_counts_and_a_table_says_so(tmp_path, capsys, host):
    counts = RNG.poisson(0.5, (60, 5)) * 400
    path = write_npz(tmp_path / "c.npz", {"rna": counts.astype("i4"), "age": RNG.normal(size=60)})
    assert fit(tmp_path, path, host) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["modality", "kind", "shape", "likelihood", "scale", "present"]
    assert said[1].split() == ["rna", "counts", "5", "negative_binomial", "learned", "100%"]
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["modalities"]["rna"]["kind"], run["modalities"]["rna"]["vocabulary"]) == ("counts", None)
    assert command("generate", tmp_path / "run", "--num", 4, "--out", tmp_path / "drawn.npz") == 0
    drawn = np.load(tmp_path / "drawn.npz")
    assert drawn["rna"].shape == (4, 5)
    assert drawn["rna"].dtype == np.int64
    more = ["--force", "--set", "kind=rna:tokens,age:vector", "--set", "scale=learned"]
    assert fit(tmp_path, path, host, *more) == 0
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["modalities"]["rna"]["vocabulary"] == counts.max() + 1
    assert run["modalities"]["age"]["scale"] == "learned"
    # The run knows what its data were said to be.
    assert load_run(tmp_path / "run")[1].modalities["rna"].kind == "tokens"


def test_draws_have_names_and_units_of_the_file_that_was_fitted_to(tmp_path):
    body = {"body": RNG.normal(size=(30, 2)), "body__coordinates": ["height", "mass"], "body__units": ["cm", "kg"]}
    data = write_npz(tmp_path / "rows.npz", body | {"age": RNG.normal(size=30)})
    assert fit(tmp_path, data, "pyro") == 0
    for given in ([], ["--given", data]):
        assert command("generate", tmp_path / "run", *given, "--out", tmp_path / "drawn.npz", "--force") == 0
        drawn = np.load(tmp_path / "drawn.npz")
        assert sorted(drawn) == ["age", "body", "body__coordinates", "body__units"]
        assert drawn["body__coordinates"].tolist() == ["height", "mass"]
        assert drawn["body__units"].tolist() == ["cm", "kg"]
    table = ["generate", tmp_path / "run", "--given", data, "--num", 3]
    assert command(*table, "--out", tmp_path / "drawn.csv") == 0
    frame = pandas.read_csv(tmp_path / "drawn.csv")
    assert list(frame)[:4] == ["body/height", "body/height low", "body/height high", "body/mass"]
    np.testing.assert_allclose(frame["body/mass"], body["body"][:, 1])
    assert command(*table, "--out", tmp_path / "drawn.zarr") == 2


def test_columns_of_a_file_stand_in_the_order_that_was_fitted_to(tmp_path, capsys, birds):
    assert fit(tmp_path, birds, "pyro") == 0
    frame = pandas.read_csv(birds)
    frame[["sex", "rna/b", "mass", "rna/a", "label"]].to_csv(tmp_path / "swapped.csv", index=False)
    given = ["generate", tmp_path / "run", "--out", tmp_path / "out.csv", "--given"]
    capsys.readouterr()
    assert command(*given, tmp_path / "swapped.csv") != 0
    said = capsys.readouterr().err
    assert "Modality 'rna': expected its coordinates in their order; got 'b' in place of 'a'" in said
    frame[["rna/a", "mass", "rna/b"]].to_csv(tmp_path / "moved.csv", index=False)
    assert command(*given, tmp_path / "moved.csv") == 0


@pytest.fixture
def birds(tmp_path):
    sex = np.array(["f", "m"])[RNG.integers(2, size=60)].astype(object)
    mass = np.where(sex == "f", 3.5, 4.5) + 0.1 * RNG.normal(size=60)
    frame = pandas.DataFrame({"sex": sex, "mass": mass, "rna/a": RNG.poisson(3, 60), "rna/b": RNG.poisson(3, 60)})
    frame.loc[3, "sex"] = None
    frame.loc[5, "mass"] = np.nan
    frame["label"] = np.arange(60) % 2
    frame.to_csv(tmp_path / "birds.csv", index=False)
    return tmp_path / "birds.csv"


@HOSTS
def test_a_table_is_fitted_and_its_gaps_are_filled(tmp_path, birds, host):
    assert fit(tmp_path, birds, host) == 0
    run, frame = tmp_path / "run", pandas.read_csv(birds)
    assert command("generate", run, "--given", birds, "--num", 20, "--out", tmp_path / "full.csv") == 0
    full = pandas.read_csv(tmp_path / "full.csv")
    assert full.loc[3, "sex"] in ("f", "m")
    assert full.loc[5, "mass low"] < full.loc[5, "mass"] < full.loc[5, "mass high"]
    rest = frame.index.difference([3, 5])
    pandas.testing.assert_frame_equal(full.loc[rest, frame.columns], frame.loc[rest], check_dtype=False)
    assert command("generate", run, "--given", birds, "--num", 2, "--out", tmp_path / "drawn.npz") == 0
    assert set(np.load(tmp_path / "drawn.npz")["sex"].ravel()) <= {"f", "m"}
    data = load(birds)
    assert load_run(run)[1].modalities == data.modalities


def test_what_does_not_fit_is_one_line(tmp_path, birds, capsys):
    assert fit(tmp_path, birds, "numpyro") == 0
    other = tmp_path / "other.csv"
    pandas.read_csv(birds).assign(sex="x").to_csv(other, index=False)
    run, make = tmp_path / "run", ("fit", "--model", "mvae", "--backend", "numpyro", "--out", "x", "--data")
    cases = {
        "expected categories among ['f', 'm']; got ['x']": ("generate", run, "--given", other, "--out", "a.npz"),
        "ends in .csv, as the one given does": ("generate", run, "--given", birds, "--out", "a.zarr"),
        "ends in .npz, without --given; got a.csv": ("generate", run, "--out", "a.csv"),
        "Expected kinds of modalities among": (*make, birds, "--set", "kind=wing:counts"),
        "Expected a kind of 'sex' among": (*make, birds, "--set", "kind=sex:text"),
        "as modality:kind,modality:kind; got 'counts'": (*make, birds, "--set", "kind=counts"),
        "which is not there": (*make, "none.parquet"),
    }
    for message, args in cases.items():
        capsys.readouterr()
        assert command(*args) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    with pytest.raises(MMPPLError, match="Expected no options with a .csv file"):
        load(birds, size=3)


@HOSTS
def test_covariates_of_a_table_are_conditioned_on(tmp_path, birds, host, capsys):
    frame = pandas.read_csv(birds).assign(site=["n", "s"] * 30, year=np.arange(60) % 7 + 2000)
    frame.to_csv(birds, index=False)
    capsys.readouterr()
    assert fit(tmp_path, birds, host, "--covariates", "site,year:number") == 0
    assert "covariate site: category of n, s\ncovariate year: number\n" in capsys.readouterr().out
    run, out = tmp_path / "run", tmp_path / "drawn.npz"
    saved = json.loads((run / "run.json").read_text())
    assert "site" not in saved["modalities"]
    assert saved["options"]["covariates"]["site"] == {"kind": "category", "names": ["n", "s"], "modality": None}
    fitted, data = load_run(run)
    assert list(data.covariates) == ["site", "year"]
    assert fitted.program.covariates == data.covariates
    assert command("generate", run, "--covariates", "site=s,year=2003", "--num", 5, "--out", out) == 0
    assert np.load(out)["mass"].shape == (5,)
    more = ("--num", 2, "--force", "--out", out)
    assert command("generate", run, "--given", birds, *more) == 0
    kept = np.load(out)["mass"]
    here = frame["mass"].notna()
    np.testing.assert_array_equal(kept[0][here], frame["mass"][here])
    assert command("generate", run, "--given", birds, "--covariates", "site=n", *more) == 0
    assert (np.load(out)["mass"][0] != kept[0]).all()  # drawn, what is observed too
    assert command("generate", run, "--given", birds, "--num", 3, "--out", tmp_path / "full.csv") == 0
    assert pandas.read_csv(tmp_path / "full.csv")["site"].tolist() == frame["site"].tolist()
    cases = {
        "Expected covariates ['site', 'year'], which the program conditions on": ("generate", run, *more),
        "expected a class among n, s; got 'w'": ("generate", run, "--covariates", "site=w,year=1", *more),
        "Expected covariates among ['site', 'year'], values by name": ("generate", run, "--covariates", "a=1", *more),
        "Expected a number for covariate 'year'; got 'x'": ("generate", run, "--covariates", "site=n,year=x", *more),
        "Expected --covariates as name=value": ("generate", run, "--covariates", "site", *more),
        "ends in .npz with --covariates": (
            *("generate", run, "--given", birds, "--covariates", "site=n", "--out", tmp_path / "b.csv"),
        ),
    }
    for message, args in cases.items():
        capsys.readouterr()
        assert command(*args) == 2
        assert message in capsys.readouterr().err
    make = ("fit", "--model", "mvae", "--backend", host, "--out", tmp_path / "x", "--data", birds)
    for message, options in {
        "expected columns among": ["--covariates", "wing"],
        "Expected the kind of a covariate among": ["--covariates", "year:real"],
        "Expected --covariates as name,name:kind": ["--covariates", "site,site"],
        "Expected covariates by --covariates": ["--set", "covariates=site"],
        "Unknown options ['covariates'] of 'mt_diffusion'": ["--covariates", "site", "--model", "mt_diffusion"],
    }.items():
        capsys.readouterr()
        assert command(*make, *options) == 2
        assert message in capsys.readouterr().err
