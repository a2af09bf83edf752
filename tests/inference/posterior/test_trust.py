"""Diagnostics that tell a right guide from a wrong one, and exact joint tests of the kernels."""

import warnings

import numpy as np
import pytest

from mmppl.diagnostics import calibrate, coverage, energy_health, gaps, guide_k, simulate
from mmppl.errors import OptionError, PosteriorWarning
from mmppl.inference import infer

TILT = (0.8, -0.5)
KERNELS = {
    "mala": {},
    "random_walk": {},
    "hmc": {"num_steps": 3},
    "underdamped": {},
    "annealed": {},
    "tempered": {"replicas": 2, "hottest": 3.0},
    "nuts": {},
}


@pytest.fixture
def data(truth):
    return truth.sample(40, seed=7)


def draw(options):
    """Chains as they come: too short for R-hat."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)
        return infer(**options)["z"]


@pytest.mark.parametrize("method", KERNELS)
def test_kernels_leave_the_joint_of_an_energy_prior_as_it_is(linear, truth, method):
    """Geweke's test: z from the prior, x given z, then steps on z given x: z must again be from the prior.

    Tilted by f(z) = t z, the prior is N(t, I).
    """
    num = 400 if method != "nuts" else 150
    batch, z = truth.sample_with_latent(num, seed=3)
    moved = {m: batch[m] + np.asarray(TILT) @ truth.weight[m].T for m in batch.modalities}
    start = z + np.array(TILT)
    rows = type(batch)(moved).with_present({"a": np.arange(num) % 2 == 0, "b": np.arange(num) % 3 > 0})
    sizes = {"num_chains": 1, "num_samples": 12, "num_warmup": 0, "init": {"z": start}, "step_size": 0.4}
    options = {"adapt_step_size": False} if method != "annealed" else {}
    found = draw({"program": linear(tilt=TILT), "data": rows, "method": method, **sizes, **options, **KERNELS[method]})
    last = found[0, -1] - np.array(TILT)
    assert np.mean(last != start - np.array(TILT)) > 0.8
    assert np.abs(last.mean(0)).max() < 4 / np.sqrt(num)
    assert np.abs(last.T @ last / num - np.eye(2)).max() < 4 * np.sqrt(2 / num)
    # Together with the data: the residual of x is still noise, apart from z.
    noise = moved["a"] - truth.bias["a"] - found[0, -1] @ truth.weight["a"].T
    seen = rows.present["a"]
    both = noise[seen].T @ last[seen] / seen.sum()
    assert np.abs(both).max() < 4 * truth.noise["a"] / np.sqrt(seen.sum())


@pytest.mark.parametrize("method", ["mala", "hmc", "nuts", "psis"])
def test_calibration_on_simulated_data(linear, method):
    # Ranks are uniform where draws are all but independent.
    sizes = {"draws": 11, "thin": 6 if method in ("mala", "hmc") else 2, "num_warmup": 100}
    sizes["num"] = 60 if method == "nuts" else 300
    assert calibrate(linear(widen=1.3), method=method, seed=5, **sizes).worst > 0.01


def test_ranks_tell_a_guide_that_is_wrong(linear):
    right = calibrate(linear(), method="guide", num=200, draws=19)
    assert right.ranks["z"].shape == (200, 2)
    assert right.worst > 0.01
    for spoiled in ({"widen": 0.2}, {"widen": 5.0}, {"shift": 0.5}):
        assert calibrate(linear(**spoiled), method="guide", num=200, draws=19).worst < 1e-4
    narrow = calibrate(linear(widen=0.2), method="guide", num=200, draws=19).ranks["z"]
    assert np.isin(narrow, (0, 19)).mean() > 0.2


def test_simulated_data_are_the_programs(linear, truth):
    batch, hidden = simulate(linear(), 2000, seed=1)
    assert batch.observed().all()
    assert all(0.4 < m.mean() < 0.8 for m in batch.present.values())
    seen = batch.present["a"]
    noise = (batch["a"] - truth.bias["a"] - hidden["z"] @ truth.weight["a"].T)[seen]
    assert noise.std() == pytest.approx(truth.noise["a"], rel=0.05)
    assert np.abs(hidden["z"].mean(0)).max() < 4 / np.sqrt(2000)


def test_k_by_subset_tells_where_the_guide_lies(linear, data):
    few = data[:4].with_present({"c": np.array([True, False, True, True])})
    right = guide_k(linear(widen=1.2), few)
    assert len(right) == 7
    assert np.isnan(right[("c",)][1])
    assert np.isfinite(right[("a", "b")]).all()
    assert np.nanmax(list(right.values())) < 0.7
    wrong = np.array(list(guide_k(linear(widen=0.02), few, num=2000).values()))
    assert np.mean(wrong[~np.isnan(wrong)] > 0.7) > 0.7


def test_coverage_of_what_is_held_out(linear, data):
    right = coverage(linear(), data, num=100)
    assert set(right.share) == set("abc")
    assert right.off() == []
    assert max(right.calibration_error.values()) < 0.15
    wrong = coverage(linear(shift=2.0), data, num=100)
    assert wrong.off()
    assert max(wrong.calibration_error.values()) > 0.2


def test_gaps_are_those_of_a_normal_posterior(linear, truth, data):
    """Exact: the best diagonal normal has precision diag(P), and the guide that widens it costs what a KL says."""
    few = data[:6]
    found = gaps(linear(widen=1.5), few, num=400, steps=300)
    _, cov = truth.posterior(few)
    precision = np.linalg.inv(cov)
    diagonal = np.diagonal(precision, axis1=1, axis2=2)
    approximation = 0.5 * (np.log(diagonal).sum(-1) - np.linalg.slogdet(precision)[1])
    np.testing.assert_allclose(found.best, truth.evidence(few) - approximation, atol=0.05)
    guide = truth.evidence(few) - 0.5 * 2 * (1.5 - 1.0 - np.log(1.5))
    np.testing.assert_allclose(found.guide, guide, atol=0.2)
    np.testing.assert_allclose(found.evidence, truth.evidence(few), atol=0.1)
    np.testing.assert_allclose(found.amortisation + found.approximation, found.evidence - found.guide)


def test_health_of_an_energy(linear, data):
    assert energy_health(linear(), data) == {}
    found = energy_health(linear(tilt=TILT), data, num_samples=100, num_warmup=100)["z"]
    # E_p f = |t|^2 under N(t, I), and data drawn without the tilt have E_q f between 0 and that.
    assert -1.5 < found.gap < 0.5
    assert found.r_hat < 1.2
    assert abs(found.log_z - 0.445) < 4 * found.log_z_error + 1e-3


def test_too_few_data_for_a_test_are_refused(linear):
    with pytest.raises(OptionError, match="Expected num >= 100 data for 19 draws; got 50"):
        calibrate(linear(), num=50)
