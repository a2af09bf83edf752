"""The ArviZ bridge: groups, dimensions, values; the same assertions for ArviZ 0.23 and 1.x."""

import arviz as az
import numpy as np
import pytest

from mmppl.errors import ModalityError, OptionError
from mmppl.inference import to_arviz

GROUPS = {"posterior", "posterior_predictive", "log_likelihood", "observed_data", "constant_data"}
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
    assert dims(idata["posterior"]) == {"z": ("chain", "draw", "datum", "z_dim_0")}
    assert idata["posterior"]["z"].shape == (3, 300, 3, 2)
    assert dims(idata["log_likelihood"]) == dict.fromkeys("abc", ("chain", "draw", "datum"))
    assert dims(idata["posterior_predictive"])["a"] == ("chain", "draw", "datum", "a_dim_0")
    assert idata["posterior_predictive"]["a"].shape == (3, 10, 3, 3)
    assert dims(idata["observed_data"])["b"] == ("datum", "b_dim_0")
    assert idata["posterior"].attrs["sampler"] == "mala"
    assert idata["posterior"].attrs["independent_draws"] == 0
    assert {"lp", "acceptance_rate", "step_size"} <= set(idata["sample_stats"].data_vars)
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
        found = idata["log_likelihood"][m].values
        np.testing.assert_allclose(found, np.where(data.present[m], exact, 0.0), rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(idata["observed_data"][m].values, data[m])
        np.testing.assert_array_equal(idata["constant_data"][f"{m}__present"].values, data.present[m])

    # The joint log density is that of the draws.
    lp = sum(idata["log_likelihood"][m].values for m in data.modalities)
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
    assert again["posterior"].attrs["sampler"] == "guide"


def test_same_seed_same_object(linear, data):
    first, again, other = (to_arviz(linear(), data, seed=seed, **SIZES)["posterior"]["z"].values for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.any(first[:, -1] == other[:, -1])


def test_bad_input(linear, data):
    with pytest.raises(OptionError, match=r"Unknown kernel 'nuts'; expected one of \['mala', 'ula'\] or None"):
        to_arviz(linear(), data, kernel="nuts")
    with pytest.raises(ModalityError, match="Modality 'b' is missing"):
        to_arviz(linear(), data.select("a"))
