"""The card of a run: what is measured stands there, what is not is said, and what mmppl did not write is kept."""

import json

import numpy as np
import pytest
import xarray as xr

import mmppl.numpyro as mm
from mmppl import Modality, models
from mmppl.diagnostics import card
from mmppl.diagnostics.report.records import readable
from mmppl.errors import DataError, RunError
from mmppl.inference import Fitted, History

COVERED = {"levels": [0.5, 0.8, 0.95], "miss": 0.125, "subsets": {"": {"share": {"a|b": [0.4, 0.6, 0.9]}}}}
COVERED |= {"worst": [["", "a|b", -0.2]]}
NO_LABELS = "The data have no labels."


@pytest.fixture
def run(tmp_path):
    """A saved program of one epoch, with nothing measured."""
    modalities = {"a|b": Modality((2,)), "c": Modality((), kind="category", categories=3)}
    program = models.mvae(modalities, ppl=mm, latent_dim=2, hidden=4)
    Fitted(program, {"w": np.zeros(1)}, History([{"epoch": 1, "loss": 1.0}])).save(tmp_path / "run")
    return tmp_path / "run"


def write(run, epochs):
    likelihood = {"value": -3.5, "error": 0.25, "num": 9, "share_k_above_0.7": 0.0, "trusted": True, "density": -3.5}
    likelihood |= {"methods": {"normal": 9}, "untrusted": 0}
    parts = dict.fromkeys(("coherence", "cross_coherence", "frechet", "prediction", "no_likelihood"))
    parts |= {"skipped": NO_LABELS, "two_sample": {"draws": {"a|b": {"value": 0.75, "error": 0.02}, "c": None}}}
    found = {"epochs": epochs, "split": "test", "log_likelihood": likelihood, **parts}
    (run / "evaluation.json").write_text(json.dumps(found))
    told = {"epochs": epochs, "coverage_by_subset": COVERED, "calibration": {"p_value": 1e-9}, "energy": {}}
    told |= {"guide_k": {"c": [0.9] * 4}, "gaps": None}
    (run / "diagnosis.json").write_text(json.dumps(told))
    z = np.stack([np.zeros((50, 1)), np.ones((50, 1))]) + np.random.default_rng(0).normal(size=(2, 50, 1)) / 9
    present = xr.Dataset({"present": (("modality", "datum"), np.ones((2, 1), bool))}, {"modality": ["a|b", "c"]})
    groups = {"posterior": xr.Dataset({"z": (("chain", "draw", "datum"), z)}), "constant_data": present}
    xr.DataTree.from_dict(groups).to_netcdf(run / "posterior.nc", engine="h5netcdf")


def test_a_card_says_what_is_measured(run):
    write(run, 1)
    text = card(run).read_text()
    front = dict(line.split(": ", 1) for line in text.split("---\n")[1].splitlines())
    assert front["library_name"] == "mmppl"
    assert json.loads(front["tags"]) == ["mmppl", "numpyro", "multimodal", "mvae"]
    assert json.loads(front["model-index"])[0]["results"][0]["metrics"][0]["value"] == -3.5
    assert "| a\\|b | vector | 2 | normal, scale learned |" in text
    assert "| c | category | one of 3 | categorical |" in text
    assert "| log likelihood, nats a tuple | -3.50 ± 0.25 |" in text
    assert "| a\\|b | nothing | 0.40 | 0.60 | 0.90 |" in text
    assert NO_LABELS in text
    assert "| classifier two-sample test of a\\|b, accuracy (0.5 as data) | 0.750 ± 0.020 |" in text
    assert "put text of your own" in text
    assert "@misc{wu2018multimodal," in text


def test_a_card_ranks_what_is_wrong_as_the_report_does(run):
    write(run, 1)
    found = [line for line in card(run).read_text().splitlines() if line.startswith("- **")]
    wrong = ("mixing of the chains", "calibration of the guide", "coverage of held-out data", "weights of the guide")
    assert [line.startswith(f"- **Wrong: {what}") for line, what in zip(found, wrong, strict=False)] == [True] * 4
    assert found[4:] == ["- **Not asked:** energy of the prior, answers of the encoder."]
    (run / "posterior.nc").unlink()
    assert "**Not asked:** mixing of the chains" in card(run).read_text()


def test_a_program_of_one_modality_has_no_coverage(tmp_path):
    program = models.mvae({"a": Modality((2,))}, ppl=mm, latent_dim=2, hidden=4)
    Fitted(program, {"w": np.zeros(1)}, History([{"epoch": 1, "loss": 1.0}])).save(tmp_path / "run")
    text = card(tmp_path / "run").read_text()
    assert "Not asked: it is of a modality given others, and the program has one." in text


@pytest.mark.parametrize("name", ["evaluation.json", "diagnosis.json"])
def test_a_record_of_another_version_is_told(run, name):
    (run / name).write_text(json.dumps({"epochs": 1}))
    with pytest.raises(RunError, match=f"{name}' does not hold what this version writes there"):
        card(run)


def test_a_refusal_within_a_read_stays_as_it_is(tmp_path):
    with pytest.raises(DataError, match="^a full disk$"), readable(tmp_path / "posterior.nc"):
        raise DataError("a full disk")


def test_a_card_says_what_is_not_measured(run):
    assert card(run).read_text().count("has not been run on this state of the run") == 3
    write(run, 7)  # of another epoch
    assert card(run).read_text().count("has not been run on this state of the run") == 3


def test_a_readme_of_the_users_is_kept(run):
    card(run)
    program = models.mvae({"a": Modality((2,))}, ppl=mm, latent_dim=2, hidden=4)
    Fitted(program, {}).save(run, force=True)
    assert not (run / "README.md").exists()
    (run / "README.md").write_text("# Mine")
    with pytest.raises(RunError, match="but a card of mmppl's; got another. Move it elsewhere"):
        card(run)
    with pytest.raises(RunError, match="holds what mmppl did not write, README.md"):
        Fitted(program, {}).save(run, force=True)
    assert (run / "README.md").read_text() == "# Mine"
