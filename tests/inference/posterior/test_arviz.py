"""The ArviZ bridge: groups, dimensions, values; the same assertions for ArviZ 0.23 and 1.x."""

import json
import tracemalloc
import warnings

import arviz as az
import matplotlib.pyplot
import numpy as np
import pytest

from mmppl.batch import Batch
from mmppl.errors import ModalityError, OptionError
from mmppl.inference import infer, to_arviz
from mmppl.inference.posterior.to_arviz import _pointwise

GROUPS = {"posterior", "posterior_predictive", "log_likelihood", "observed_data", "constant_data"}
GROUPS |= {"prior", "prior_predictive"}
ROWS = ("abc", "a", "bc")
SIZES = {"num_chains": 3, "num_samples": 300, "num_warmup": 150, "num_predictive": 10}


@pytest.fixture
def data(truth):
    batch = truth.sample(len(ROWS), seed=5)
    return batch.with_present({m: np.array([m in row for row in ROWS]) for m in batch.modalities})


def groups(idata):
    found = idata.groups() if callable(idata.groups) else idata.groups
    return {name.strip("/") for name in found} - {""}


def dims(group):
    return {name: tuple(array.dims) for name, array in group.data_vars.items()}


def test_chains(linear, truth, data):
    idata = to_arviz(linear(), data, **SIZES)
    assert groups(idata) == GROUPS | {"sample_stats"}
    assert dims(idata["posterior"]) == {"z": ("chain", "draw", "datum", "z_latent")}
    assert idata["posterior"]["z"].shape == (3, 300, 3, 2)
    each = {m: ("chain", "draw", f"{m}_observation") for m in data.modalities}
    assert dims(idata["log_likelihood"]) == {"joint": ("chain", "draw", "observation"), **each}
    assert dims(idata["prior"]) == dims(idata["posterior"])
    assert dims(idata["prior_predictive"]) == dims(idata["posterior_predictive"])
    assert idata["prior"]["z"].shape == (1, 100, 3, 2)
    assert dims(idata["posterior_predictive"])["a"] == ("chain", "draw", "datum", "a_dim_0")
    assert idata["posterior_predictive"]["a"].shape == (3, 10, 3, 3)
    assert dims(idata["observed_data"])["b"] == ("datum", "b_dim_0")
    assert idata["posterior"].attrs["sampler"] == "hmc"
    assert idata["posterior"].attrs["independent_draws"] == 0
    assert {"lp", "acceptance_rate", "step_size"} <= set(idata["sample_stats"].data_vars)
    assert {"energy", "diverging"} <= set(idata["sample_stats"].data_vars)
    assert idata["posterior"].attrs["seed"] == "0"
    assert json.loads(idata["posterior"].attrs["settings"])["num_warmup"] == 150
    assert "version_mmppl" in idata["posterior"].attrs
    assert idata["sample_stats"]["acceptance_rate"].shape == (3, 300, 3)  # every datum accepts for itself

    # The values: exact posterior means, log likelihoods of the very draws, data and masks as given.
    draws = idata["posterior"]["z"].values
    mean, cov = truth.posterior(data)
    ess = az.ess(idata)
    ess = (ess["posterior"] if "posterior" in getattr(ess, "children", {}) else ess)["z"].values
    assert ess.min() > 30
    wrong = draws.mean((0, 1)) - mean
    assert np.all(np.abs(wrong) < 4 * np.sqrt(np.diagonal(cov, axis1=1, axis2=2) / ess))
    for m in data.modalities:
        residual = (data[m] - truth.bias[m] - draws @ truth.weight[m].T) / truth.noise[m]
        exact = -0.5 * (residual**2 + np.log(2 * np.pi * truth.noise[m] ** 2)).sum(-1)
        own = idata["log_likelihood"][m]
        np.testing.assert_array_equal(own[f"{m}_observation"].values, np.flatnonzero(data.present[m]))
        np.testing.assert_allclose(own.values, exact[..., data.present[m]], rtol=1e-9, atol=1e-9)
        pointwise = idata["log_likelihood"]["joint"]
        mine = pointwise["modality"].values == m
        np.testing.assert_array_equal(pointwise["datum"].values[mine], np.flatnonzero(data.present[m]))
        np.testing.assert_allclose(pointwise.values[..., mine], exact[..., data.present[m]], rtol=1e-9, atol=1e-9)
        seen = idata["observed_data"][m].values
        np.testing.assert_array_equal(seen[data.present[m]], data[m][data.present[m]])
        assert np.isnan(seen[~data.present[m]]).all()
        np.testing.assert_array_equal(idata["constant_data"]["present"].sel(modality=m), data.present[m])

    # The joint log density is that of the draws.
    pointwise = idata["log_likelihood"]["joint"]
    lp = np.stack([pointwise.values[..., pointwise["datum"].values == n].sum(-1) for n in range(3)], -1)
    lp = lp - 0.5 * (draws**2 + np.log(2 * np.pi)).sum(-1)
    np.testing.assert_allclose(idata["sample_stats"]["lp"].values, lp, rtol=1e-6)

    summary = az.summary(idata, var_names=["z"])
    assert len(summary) == 6
    assert summary["r_hat"].astype(float).max() < 1.1


def test_predictive_draws_come_from_the_posterior_draws(linear, truth, data):
    """What is predicted for a missing modality has its exact conditional's mean; noise is included."""
    idata = to_arviz(linear(), data, kernel=None, num_samples=3000, num_predictive=3000)
    predicted = idata["posterior_predictive"]["c"].values[0, :, 1]
    mean, cov = truth.conditional(data[1:2], ["c"])["c"]
    assert np.abs(predicted.mean(0) - mean[0]) < 4 * np.sqrt(cov[0, 0] / 3000)
    assert np.abs(predicted.var() - cov[0, 0, 0]) < 4 * cov[0, 0, 0] * np.sqrt(2 / 3000)


def test_independent_draws_say_so(linear, data):
    idata = to_arviz(linear(), data, kernel=None, num_samples=20)
    assert groups(idata) == GROUPS
    assert idata["posterior"]["z"].shape == (1, 20, 3, 2)
    assert idata["posterior"].attrs["independent_draws"] == 1
    assert "R-hat and ESS do not apply" in idata["posterior"].attrs["note"]


def test_netcdf_round_trip(linear, data, tmp_path):
    idata = to_arviz(linear(), data, kernel=None, num_samples=5)
    idata.to_netcdf(tmp_path / "posterior.nc")
    again = az.from_netcdf(tmp_path / "posterior.nc")
    assert groups(again) == groups(idata)
    for group in GROUPS:
        for name, array in idata[group].data_vars.items():
            np.testing.assert_array_equal(again[group][name].values, array.values)
            assert again[group][name].dims == array.dims
            assert set(again[group][name].coords) == set(array.coords)
    assert again["posterior"].attrs["sampler"] == "guide"


def test_what_is_drawn_is_not_copied(linear, data):
    posterior = infer(linear(), data, method="guide", num_samples=20, num_chains=1)
    idata = posterior.to_arviz(num_predictive=5, num_prior=0)
    assert np.shares_memory(idata["posterior"]["z"].values, posterior["z"])


def test_log_likelihoods_are_copied_once():
    """At most as much memory is taken as their table has, beside indices of rows."""
    number, rows = 400, 500
    values = {name: np.random.default_rng(0).standard_normal((number, rows)) for name in "ab"}
    batch = Batch(
        dict.fromkeys("ab", np.zeros((rows, 1))), {"a": np.arange(rows) % 3 > 0, "b": np.arange(rows) % 2 > 0}
    )
    _pointwise(values, batch, (4, number // 4))
    tracemalloc.start()
    table = _pointwise(values, batch, (4, number // 4))["joint"].values
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table.nbytes < peak < 1.2 * table.nbytes
    seen = np.flatnonzero(np.arange(rows) % 3 > 0)
    assert np.array_equal(table.reshape(number, -1)[:, : len(seen)], values["a"][:, seen])


def test_options_reach_the_kernel(linear, data):
    idata = to_arviz(
        linear(), data[:3], num_chains=1, num_samples=5, num_warmup=5, step_size=0.2, adapt_step_size=False
    )
    np.testing.assert_allclose(idata["sample_stats"]["step_size"], 0.2, rtol=1e-6)
    assert json.loads(idata["posterior"].attrs["settings"])["step_size"] == 0.2
    with pytest.raises(OptionError, match=r"Unknown options \['steps'\] of method 'hmc'"):
        to_arviz(linear(), data[:3], steps=3)


def test_same_seed_same_object(linear, data):
    few = {"num_chains": 2, "num_samples": 40, "num_warmup": 40, "num_predictive": 2}
    first, again, other = (to_arviz(linear(), data, seed=seed, **few)["posterior"]["z"].values for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.any(first[:, -1] == other[:, -1])


def newer():
    return not az.__version__.startswith("0.")


def test_arvizs_own_functions_take_it_as_it_is(linear, data, tmp_path):
    """Summary, plots, LOO and comparison, after a round trip through netCDF, with rows in which much is missing."""
    matplotlib.use("agg")
    sizes = {"num_chains": 2, "num_samples": 100, "num_warmup": 100}
    found = {}
    for name, fitted in (("right", linear()), ("tilted", linear(tilt=(3.0, 3.0)))):
        to_arviz(fitted, data, kernel="hmc", **sizes).to_netcdf(tmp_path / f"{name}.nc")
        found[name] = az.from_netcdf(tmp_path / f"{name}.nc")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few draws, and ArviZ's own deprecations
        idata = found["right"]
        assert len(az.summary(idata)) == 6
        if newer():
            az.plot_trace(idata, var_names=["z"])
            az.plot_forest(idata, var_names=["z"])
            az.plot_ppc_dist(idata, var_names=["a"])
            loo = az.loo(idata, var_name="joint")
            assert np.isfinite(loo.elpd)
        else:
            az.plot_trace(idata, var_names=["z"])
            az.plot_forest(idata, var_names=["z"])
            az.plot_ppc(idata, var_names=["a"], num_pp_samples=5)
            loo = az.loo(idata, var_name="joint")
            assert np.isfinite(loo.elpd_loo)
        assert loo.n_data_points == sum(map(len, ROWS))
        assert az.loo(idata, var_name="a").n_data_points == int(data.present["a"].sum())
        table = az.compare(found, var_name="joint")
    matplotlib.pyplot.close("all")
    assert list(table.index) == ["right", "tilted"]


def test_bad_input(linear, data):
    with pytest.raises(OptionError, match="Unknown method 'gibbs'; expected one of guide"):
        to_arviz(linear(), data, kernel="gibbs")
    with pytest.raises(ModalityError, match="Modality 'b' is missing"):
        to_arviz(linear(), data.select("a"))
