"""The card of a run: what is measured stands there, what is not is said, and what mmppl did not write is kept."""

import json

import numpy as np
import pytest

import mmppl.numpyro as mm
from mmppl import Modality, models
from mmppl.diagnostics import card
from mmppl.errors import RunError
from mmppl.inference import Fitted, History

COVERED = {"levels": [0.5, 0.8, 0.95], "miss": 0.125, "subsets": {"": {"share": {"a|b": [0.4, 0.6, 0.9]}}}}


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
    parts = dict.fromkeys(("coherence", "cross_coherence", "frechet", "prediction"))
    found = {"epochs": epochs, "split": "test", "log_likelihood": likelihood, **parts}
    (run / "evaluation.json").write_text(json.dumps(found))
    told = {"epochs": epochs, "coverage_by_subset": COVERED, "warnings": ["The energy is wrong."]}
    (run / "diagnosis.json").write_text(json.dumps(told))


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
    assert "- The energy is wrong." in text
    assert "@misc{wu2018multimodal," in text


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
