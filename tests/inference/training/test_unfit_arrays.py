"""Weights and states that do not fit a program: told before a host is handed them, never broadcast or trained on."""

import re

import numpy as np
import pytest

import mmppl
from mmppl import models
from mmppl.data import load
from mmppl.errors import RunError, TrainingError
from mmppl.inference import Run, fit, generate

LINEAR = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=64, num_test=5)
SETTINGS = {"epochs": 2, "batch_size": 32, "progress": False}


def small(ppl, **options):
    return models.mvae(LINEAR.modalities, ppl=ppl, latent_dim=2, hidden=4, **options)


@pytest.fixture
def folder(ppl, tmp_path):
    fit(small(ppl), LINEAR.train, out=tmp_path / "run", **SETTINGS)
    return tmp_path / "run"


def spoilt(arrays, name, how):
    value = arrays[name]
    changed = {
        "shape": np.zeros((*value.shape, 2), value.dtype),
        "broadcast": value[:1] if value.ndim else value[None],
        "kind": value.astype(np.int32),
        "nan": np.full_like(value, np.nan),
    }
    return {n: x for n, x in arrays.items() if n != name} if how == "gone" else {**arrays, name: changed[how]}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("shape", r"Expected '.*' of the weights of 'mvae' to have shape \(4, 3\); got \(4, 3, 2\)"),
        ("broadcast", r"to have shape \(4, 3\); got \(1, 3\)"),
        ("kind", "to be of type float32; got int32"),
        ("nan", "to be finite; got 12 values that are NaN or infinite"),
        ("gone", r"got 1 missing, \['a\.encoder"),
    ],
)
def test_weights_are_checked_before_they_are_bound(ppl, folder, how, message):
    run = Run(folder)
    weights, (_, progress) = run.weights(), run.state()
    run.go_back(progress)
    name = next(name for name, value in weights.items() if value.shape == (4, 3))
    run.save_weights(spoilt(weights, name, how), progress.epoch)
    with pytest.raises(RunError, match=message):
        mmppl.load(folder)


@pytest.mark.parametrize("how", ["shape", "broadcast", "kind", "nan", "gone"])
def test_a_state_is_checked_before_it_is_restored(ppl, folder, how):
    """On Pyro a moment of another shape was a segmentation fault."""
    run = Run(folder)
    weights, (state, progress) = run.weights(), run.state()
    floats = [n for n, x in state.items() if x.dtype.kind == "f" and x.ndim == 2]
    names = {next(n for n in floats if "exp_avg" in n), floats[0]} if ppl.host.NAME == "pyro" else set(floats[-3:])
    for name in names:
        run.go_back(progress)
        run.save(weights, spoilt(state, name, how), progress.epoch)
        with pytest.raises(RunError, match=f"The state in .* does not fit the program: Expected .*{re.escape(name)}"):
            fit(small(ppl), LINEAR.train, out=folder, resume=True, **SETTINGS)


def test_a_step_that_leaves_the_range_of_numbers_is_not_taken(ppl, tmp_path):
    """Weights of 1e30 are numbers still; what they lead to is not, and they are never more than that."""
    with pytest.raises(TrainingError, match="not finite in epoch 1, step 2") as told:
        fit(small(ppl), LINEAR.train, out=tmp_path / "run", **{**SETTINGS, "learning_rate": 1e30})
    assert all(np.isfinite(value).all() for value in told.value.fitted.weights.values())
    assert not (tmp_path / "run" / "params.safetensors").exists()


def test_what_is_read_back_is_bound(ppl, folder):
    assert generate(mmppl.load(folder), LINEAR.test.only("a"), 2)["b"].shape == (2, 5, 2)
