"""Run folders written by ``fit(out=)`` and ``Fitted.save``, read back by ``mmppl.load``."""

import copy
import json
import pickle

import numpy as np
import pytest

import mmppl
from mmppl import Batch, models
from mmppl.data import load
from mmppl.errors import OptionError, RunError
from mmppl.inference import Fitted, Program, fit, generate
from mmppl.inference.training.checksums import of_json

LINEAR = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=64, num_test=5)
SETTINGS = {"epochs": 2, "batch_size": 32, "progress": False}


def small(ppl, **options):
    return models.mvae(LINEAR.modalities, ppl=ppl, latent_dim=2, hidden=4, **options)


@pytest.mark.parametrize("how", ["fit", "save"])
def test_what_is_read_back_draws_the_same(ppl, tmp_path, how):
    program = small(ppl, scale={"a": 0.5}, weight={"b": 2.0})
    fitted = fit(program, LINEAR.train, out=tmp_path / "run" if how == "fit" else None, seed=3, **SETTINGS)
    if how == "save":
        fitted.save(tmp_path / "run")
    again = mmppl.load(tmp_path / "run")
    assert again.history == fitted.history
    assert again.program.modalities == fitted.program.modalities
    for name, value in fitted.weights.items():
        np.testing.assert_array_equal(again.weights[name], value)
    one, two = (generate(each, LINEAR.test.only("a"), 2, seed=1) for each in (fitted, again))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_label_is_kept(ppl, tmp_path):
    """iVAE reads a label, whose form its parameters depend on."""
    label = np.arange(64) % 3
    train = Batch(LINEAR.train.values, label=label)
    fitted = fit(small(ppl), train, out=tmp_path / "run", **SETTINGS)
    fitted.save(tmp_path / "saved")
    for folder in ("run", "saved"):
        np.testing.assert_array_equal(mmppl.load(tmp_path / folder).label, label[:1])


def test_a_program_of_ones_own_is_passed(ppl, tmp_path):
    own = small(ppl)
    own = Program(own.model, own.guide, own.objective, ppl, LINEAR.modalities)
    fitted = fit(own, LINEAR.train, **SETTINGS)
    fitted.save(tmp_path / "run")
    with pytest.raises(RunError, match=r"holds a user-defined program. Pass it: load\(path, program=...\)"):
        mmppl.load(tmp_path / "run")
    again = mmppl.load(tmp_path / "run", own)
    assert again.weights.keys() == fitted.weights.keys()
    with pytest.raises(RunError, match="do not fit its run.json: Expected '"):
        mmppl.load(tmp_path / "run", models.mvae(LINEAR.modalities, ppl=ppl, latent_dim=3, hidden=4))


def test_what_is_there_is_not_lost(ppl, tmp_path):
    fitted = Fitted(small(ppl), {})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="exists already"):
        fitted.save(tmp_path / "run")
    with pytest.raises(RunError, match="is not a run folder"):
        fitted.save(tmp_path / "run", force=True)
    coders = {name: (lambda x: x, lambda z: z) for name in "ab"}
    mld = models.mld(LINEAR.modalities, ppl=ppl, latent_dim=2, coders=coders)
    with pytest.raises(OptionError, match=r"got functions for \['coders'\]"):
        Fitted(mld, {}).save(tmp_path / "mld")


@pytest.mark.parametrize("keep", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_fit_is_neither_copied_nor_pickled(ppl, keep):
    with pytest.raises(OptionError, match=r"Expected Fitted.save\(path\) and mmppl.load\(path\).*; got copy or pickle"):
        keep(Fitted(small(ppl), {}))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("modalities", None, "cannot be loaded: expected 'modalities' to be an object of objects; got None"),
        ("backend", "tensorflow", "Unknown backend"),
        ("options", {"x": 1}, "another version: Unknown options"),
        ("options", {"latent_dim": "two"}, "is a run of another version"),
        ("options", {"latent_dim": 3, "hidden": 4}, r"do not fit its run.json: Expected 'a\.\w+coder.* to have shape"),
    ],
)
def test_an_edited_folder_is_refused(ppl, tmp_path, key, value, message):
    """Also where the one who edited it has made its checksum anew."""
    fit(small(ppl), LINEAR.train, out=tmp_path / "run", **SETTINGS)
    file = tmp_path / "run" / "run.json"
    edited = {**json.loads(file.read_text()), key: value}
    file.write_text(json.dumps(edited))
    with pytest.raises(RunError, match="has been changed since it was written|expected 'modalities'"):
        mmppl.load(tmp_path / "run")
    edited["checksum"] = of_json({k: v for k, v in edited.items() if k != "checksum"})
    file.write_text(json.dumps(edited))
    with pytest.raises((RunError, OptionError), match=message):
        mmppl.load(tmp_path / "run")


def test_what_is_no_run_says_what_writes_one(tmp_path):
    with pytest.raises(RunError, match=r"Expected a run folder, as fit\(.*got '.*nowhere', which has no run.json.$"):
        mmppl.load(tmp_path / "nowhere")
    (tmp_path / "rows.npz").write_bytes(b"")
    with pytest.raises(RunError, match=r"which has no run.json. Data are read by mmppl.data.load."):
        mmppl.load(tmp_path / "rows.npz")
