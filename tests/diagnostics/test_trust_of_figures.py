"""No error stands beside a figure whose own diagnosis fails: in types, in JSON and in text."""

import json

import numpy as np
import pytest

from mmppl.diagnostics.diagnosis import warnings_of
from mmppl.diagnostics.report.tables import diagnosis_text, energy_texts, evaluation_table, likelihood_text
from mmppl.errors import DataError
from mmppl.inference.posterior.evidence import Estimates
from mmppl.inference.posterior.likelihood import _pack
from mmppl.inference.posterior.trust import share_above, trusted_k
from mmppl.metrics import Estimate, likelihood_gap
from mmppl.priors.energy.normalizer import summarise

RNG = np.random.default_rng(0)
NONE = dict.fromkeys(("coherence", "cross_coherence", "leave_one_out_coherence", "frechet", "latent_probe"))


def test_one_datum_in_twenty_may_fail():
    k = np.full(100, 0.3)
    for number, told in ((0, True), (5, True), (6, False), (96, False)):
        k[:number] = 0.71
        assert trusted_k(share_above(k)) is told
    assert trusted_k(share_above(np.full(3, 0.7)))
    for unknown in (np.nan, np.inf):
        assert share_above(np.array([0.1, unknown])) == 0.5


def test_errors_of_data_and_of_their_mean():
    """The mean's is the root of the squares over N, and of log Z's, which all share."""
    value, error, k = RNG.normal(size=40), RNG.uniform(0.1, 0.2, 40), np.full(40, -np.inf)
    k[:2] = 0.8
    method = np.full(40, "importance", object)
    found = _pack(Estimates(value, error, k, method), 0.3)
    np.testing.assert_allclose(found.error[2:], np.sqrt(error[2:] ** 2 + 0.09))
    assert np.isnan(found.error[:2]).all()
    assert found.mean_error == pytest.approx(np.sqrt((error**2).sum() / 1600 + 0.09))
    k[:3] = 0.8
    assert np.isnan(_pack(Estimates(value, error, k, method), 0.3).mean_error)
    assert _pack(Estimates(value, error, k, method), 0.3).mean == pytest.approx(value.mean())
    without = _pack(Estimates(value, error, np.full(40, 0.1), method), np.nan)  # log Z has no error
    assert np.isnan(without.error).all()
    assert np.isnan(without.mean_error)
    assert without.trusted


def test_log_z_of_few_effective_weights_has_no_error():
    log_weight = RNG.normal(size=400)
    weight = np.exp(log_weight)
    found = summarise(log_weight)
    assert found.error == pytest.approx(weight.std(ddof=1) / 20.0 / weight.mean())
    assert found.ess == pytest.approx(weight.sum() ** 2 / (weight**2).sum())
    log_weight[0] = 12.0
    rough = summarise(log_weight)
    assert rough.ess < 2.0
    assert np.isnan(rough.error)
    assert rough.value == pytest.approx(np.log(np.exp(log_weight).mean()))


def test_a_gap_of_estimates_that_are_not_to_be_trusted_has_no_error():
    truth, error = RNG.normal(size=40), np.full(40, 0.4)
    error[:2] = np.nan
    over_data = Estimate.of(truth + 0.5 * np.arange(40) / 40 - truth).error
    gap = likelihood_gap(truth - 0.5 * np.arange(40) / 40, truth, error)
    assert gap.nats.error == pytest.approx(np.hypot(over_data, 0.4 / np.sqrt(40)))
    error[2] = np.nan
    gap = likelihood_gap(truth - 0.5, truth, error)
    assert gap.nats.value == pytest.approx(0.5)
    assert np.isnan([gap.nats.error, gap.relative.error]).all()
    with pytest.raises(DataError, match="Expected finite errors, or NaN"):
        likelihood_gap(truth, truth, np.inf)


def test_an_estimate_without_an_error_is_printed_without_one():
    assert str(Estimate(1.0, float("nan"), 3)) == "1.000"
    assert str(Estimate(1.0, 0.25, 3)) == "1.000 +- 0.250"


@pytest.mark.parametrize(
    ("share", "error", "text", "why"),
    [
        (0.96, 0.06, "-415.15", "not trusted"),
        (0.96, None, "-415.15", "not trusted"),
        (0.051, 0.06, "-415.15", "not trusted"),
        (0.05, 0.06, "-415.15 ± 0.06", ""),
        (0.0, None, "-415.15", "no error, as log Z has none"),
    ],
)
def test_a_table_tells_an_error_where_it_is_to_be_trusted(share, error, text, why):
    """Also of evaluations by an earlier version, which hold errors that are not."""
    value = {"value": -415.15, "error": error, "num": 200, "particles": 100, "share_k_above_0.7": share}
    assert likelihood_text(value) == (text, why)
    table = evaluation_table({"split": "test", "skipped": None, **NONE, "log_likelihood": value})
    assert f"Log likelihood: {text} nats a tuple (200 tuples{why and ': ' + why})" in table
    assert ("±" in table) == ("±" in text)
    assert f"PSIS k above 0.7 for {100 * share:.0f}%" in table


def health(**more):
    usual = {"gap": 0.1, "gap_error": 0.05, "spread": 2.0, "r_hat": 1.01}
    return {**usual, "log_z": 1.5, "log_z_error": 0.02, "log_z_ess": 300.0, **more}


@pytest.mark.parametrize(
    ("more", "texts", "said"),
    [
        ({}, ("0.10 ± 0.05", "1.010", "1.50 ± 0.02"), None),
        ({"r_hat": 1.4}, ("0.10", "1.400", "1.50 ± 0.02"), "do not mix (R-hat 1.40)"),
        ({"r_hat": 1.4, "gap_error": None}, ("0.10", "1.400", "1.50 ± 0.02"), "do not mix (R-hat 1.40)"),
        ({"r_hat": None, "gap_error": None}, ("0.10", "–", "1.50 ± 0.02"), "do not mix (R-hat not known)"),
        ({"log_z_ess": 3.0, "log_z_error": None}, ("0.10 ± 0.05", "1.010", "1.50"), "rests on 3 effective weights"),
        ({"log_z_ess": 3.0}, ("0.10 ± 0.05", "1.010", "1.50"), None),
        ({"gap": 1.2, "gap_error": None, "r_hat": 1.4}, ("1.20", "1.400", "1.50 ± 0.02"), "differs by 1.20"),
    ],
)
def test_an_energy_has_errors_where_chains_mix_and_weights_are_many(more, texts, said):
    found = {
        "energy": {"z": health(**more)},
        **dict.fromkeys(("guide_k", "gaps", "coverage", "coverage_by_subset", "calibration")),
    }
    assert energy_texts(found["energy"]["z"]) == texts
    warned = warnings_of(found)
    assert (said is None) == (warned == [])
    assert said is None or any(said in text for text in warned)
    assert texts[2] in diagnosis_text({**found, "warnings": warned}, [])
    json.dumps(found, allow_nan=False)
