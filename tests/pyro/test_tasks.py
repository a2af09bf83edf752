"""Draws by several processes on Pyro: those of one, with its errors; and one that is ended ends all."""

import os
import signal

import numpy as np
import psutil
import pytest

import mmppl.pyro as mm
from mmppl import models
from mmppl.batch import Batch, Modality
from mmppl.errors import InferenceError, OptionError
from mmppl.inference import Fitted, generate, infer
from mmppl.pyro.host import on_devices

MODALITIES = {"a": Modality((3,)), "b": Modality((2,))}


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)


@pytest.fixture(scope="module")
def fitted():
    program = models.mvae(MODALITIES, ppl=mm, latent_dim=2, hidden=4)
    return Fitted(
        program,
        program.ppl.host.Trainer(program, _rows()[:8], seed=0, learning_rate=1e-3, clip=None, ema=0.0).weights(),
    )


def _rows():
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=(150, *m.shape)).astype(np.float32) for name, m in MODALITIES.items()}
    return Batch(values, {"a": np.arange(150) % 3 > 0, "b": np.arange(150) % 3 < 2})


@pytest.mark.parametrize("number", [2, 3])
def test_draws_are_those_of_one_process(fitted, number, tmp_path):
    for given, num in ((_rows(), 2), (None, 90)):
        one = generate(fitted, given, num, chunk=40)
        for more in ({}, {"out": tmp_path / str(num)}):
            found = generate(fitted, given, num, chunk=40, devices=number, **more)
            assert all(np.array_equal(found[name], x) for name, x in one.items())


@pytest.mark.parametrize("method", ["mala", "psis"])
def test_a_posterior_is_that_of_one_process(fitted, method):
    how = {"method": method, "num_samples": 6, "num_warmup": 4, "num_chains": 2}
    start = {"z": np.random.default_rng(1).normal(size=(2, 150, 2)).astype(np.float32)}
    for more in ({"seed": 3}, {"seed": list(range(150)) if method == "mala" else 4}):
        own = {"init": start} if method == "mala" else {}
        with pytest.warns():  # of so few draws
            one, two = (infer(fitted, _rows(), devices=n, **how, **own, **more) for n in (1, 2))
        assert all(np.array_equal(two.draws[n], z) for n, z in one.draws.items())
        assert all(np.array_equal(two.stats[n], x) for n, x in one.stats.items())
        assert two.pareto_k is one.pareto_k or np.array_equal(two.pareto_k, one.pareto_k)


@pytest.mark.parametrize("method", ["mala", "psis"])
def test_blocks_of_the_same_rows_have_draws_of_their_own(fitted, method):
    twice = _rows()[np.tile(np.arange(64), 2)]
    with pytest.warns():
        z = infer(fitted, twice, method=method, num_samples=6, num_warmup=4, num_chains=2, seed=3, devices=1).draws["z"]
    first, second = z[:, :, :64], z[:, :, 64:]
    assert (np.abs(first - second) > 1e-4).mean() > 0.9


def test_an_error_is_that_of_one_process(fitted):
    rows = _rows()
    rows.values["a"][100] = 3e38
    with pytest.raises(InferenceError, match="NaN"):
        generate(fitted, rows, chunk=40, devices=2)


def test_one_that_is_ended_ends_all():
    here, before = os.getpid(), psutil.Process().children()

    def task():
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"x": np.zeros(1)}

    with pytest.raises(InferenceError, match="Process 2 of 2 was ended by SIGKILL, and the others with it"):
        list(on_devices(2, [task, task]))
    assert psutil.Process().children() == before  # none is left


def test_who_stops_early_leaves_no_process():
    before = psutil.Process().children()
    done = on_devices(2, [lambda: {"x": np.ones(2)}] * 6)
    assert next(done)["x"].tolist() == [1.0, 1.0]
    done.close()
    assert psutil.Process().children() == before


def test_what_cannot_be_divided_is_refused(fitted, monkeypatch):
    with pytest.raises(OptionError, match="Expected devices .* of at most 4, the cores of this machine; got 5"):
        generate(fitted, num=3, devices=5)
    with pytest.raises(OptionError, match="Expected devices=None with method='nuts', .* got devices=2"):
        infer(fitted, _rows(), method="nuts", devices=2)
    with pytest.raises(OptionError, match="Expected one seed, or one for each of 150 data; got 2"):
        infer(fitted, _rows(), method="mala", seed=[1, 2], devices=2)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for call in (lambda: generate(fitted, num=3, devices=2), lambda: infer(fitted, _rows(), method="mala", devices=2)):
        with pytest.raises(OptionError, match="Expected one process; this is rank 0 of 2"):
            call()
