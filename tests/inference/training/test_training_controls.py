"""Held-out bounds, early stopping, optimizers and schedules of the hosts, callbacks: by values, over a pause, on both.

The program: z ~ N(0, 1), x ~ N(z + c + d, 1) with the exact posterior as its guide, so that the bound is the evidence
N(x; c + d, 2), without noise, and the gradient of the loss by c is (c + d - mean x) / 2.
"""

import importlib
import json
import sys
from functools import partial

import numpy as np
import pytest
from scipy import stats

from mmppl.batch import Batch, Modality
from mmppl.data import load
from mmppl.errors import OptionError, RunError, TrainingWarning
from mmppl.inference import Callback, EarlyStopping, Program, Run, fit

STEADY = {"batch_size": 8, "schedule": "constant", "progress": False}


def rows(mean, num=8):
    x = np.linspace(-1.0, 1.0, num)[:, None] + mean
    return Batch({"x": x.astype(np.float32)})


@pytest.fixture
def program(ppl):
    host = ppl.host

    def shift():
        return host.param("c", host.zeros(1)) + host.param("d", host.zeros(1))

    def model(batch):
        c = shift()
        with ppl.plate(batch):
            z = host.sample("z", host.dist.Normal(host.zeros(1), 1.0).to_event(1))
            ppl.observe("x", host.dist.Normal(z + c, 1.0).to_event(1), batch)

    def guide(batch):
        c = shift()
        with ppl.plate(batch):
            host.sample("z", host.dist.Normal((batch["x"] - c) / 2, 0.5**0.5).to_event(1))

    return Program(model, guide, ppl.ELBO(), ppl, {"x": Modality((1,), scale=1.0)})


def sgd(ppl, rate):
    if ppl.host.NAME == "numpyro":
        return importlib.import_module("optax").sgd(rate)
    return partial(importlib.import_module("torch").optim.SGD, lr=rate)


def adam(ppl, schedule=None):
    """An Adam of the host's with a learning rate that halves."""
    if ppl.host.NAME == "numpyro":
        optax = importlib.import_module("optax")
        return {"optimizer": optax.adamw(optax.exponential_decay(0.1, 1, 0.5))}
    optim = importlib.import_module("torch").optim
    return {
        "optimizer": partial(optim.AdamW, lr=0.1),
        "schedule": partial(optim.lr_scheduler.ExponentialLR, gamma=0.5),
    }


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[n], second[n]) for n in first)


def test_the_held_out_bound_is_the_evidence_of_rows_that_nothing_is_learned_from(program):
    held = rows(2.0, 11)
    fitted = fit(program, rows(0.0), validation=held, epochs=2, learning_rate=1e-30, **STEADY)
    exact = -stats.norm(0.0, 2**0.5).logpdf(held["x"]).mean()
    np.testing.assert_allclose(fitted.history.table()["validation.loss"], exact, rtol=1e-5)
    other = fit(program, rows(0.0), epochs=2, learning_rate=1e-30, **STEADY)
    assert same(fitted.weights, other.weights)
    assert "validation.loss" not in other.history.table()
    share = fit(program, rows(0.0, 20), validation=0.25, epochs=1, batch_size=4, progress=False)
    assert share.history[0]["steps"] == 15 // 4


def test_a_fit_with_validation_takes_the_same_steps(small):
    data = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=64, num_test=40)
    program = small("mvae", data.modalities)
    settings = {"epochs": 2, "batch_size": 32, "ema": 0.5, "progress": False}
    plain = fit(program, data.train, **settings)
    judged = fit(program, data.train, validation=data, **settings)
    assert same(plain.weights, judged.weights)
    assert {"validation.loss", "validation.kl", "validation.log_lik.a"} <= set(judged.history[0])
    if program.ppl.host.NAME == "numpyro":  # nothing is compiled again from epoch to epoch, nor in the next fit
        fit(program, data.train, validation=data, **settings)
        made = program.fresh(0).compiled.made
        kept = [f for key, f in made.items() if key[0] == "held out"]
        assert len(kept) == 2  # the objective, and bounds of each modality given the others


def test_early_stopping_goes_back_to_the_best_weights(program):
    """c climbs by a tenth an epoch towards 1, past the mean of the held-out rows."""
    settings = {"validation": rows(0.3), "learning_rate": 0.1, **STEADY}
    stopped = fit(program, rows(1.0), epochs=20, early_stopping=2, **settings)
    assert len(stopped.history) == 5 or len(stopped.history) == 4
    best = int(stopped.history.table()["validation.loss"].argmin())
    assert same(stopped.weights, fit(program, rows(1.0), epochs=best + 1, **settings).weights)
    assert float(stopped.weights["c"][0] + stopped.weights["d"][0]) == pytest.approx(0.3, abs=0.11)
    # A stage whose own epochs end goes back as well.
    short = fit(program, rows(1.0), epochs=3, early_stopping=9, **settings)
    assert same(short.weights, stopped.weights)


class Counter(Callback):
    """Counts, with numbers and arrays for its state."""

    def __init__(self):
        self.seen, self.steps, self.losses = [], 0, np.zeros(0)

    def on_step(self, event):
        self.steps += 1
        assert event.step == self.steps

    def on_epoch(self, event):
        self.seen.append(event.epoch)
        self.losses = np.append(self.losses, event.record["loss"])

    def state_dict(self):
        return {"seen": self.seen, "steps": self.steps, "losses": self.losses}

    def load_state_dict(self, state):
        self.seen, self.steps, self.losses = state["seen"], state["steps"], state["losses"]


class Stop(BaseException):
    pass


@pytest.mark.parametrize("at", [2, 5])
@pytest.mark.parametrize("kind", ["adam", "host"])
def test_resuming_keeps_schedule_early_stopping_and_callbacks_bit_for_bit(program, tmp_path, monkeypatch, kind, at):
    own = adam(program.ppl) if kind == "host" else {"learning_rate": 0.1}
    settings = {"validation": rows(0.12), "early_stopping": 3, "epochs": 9, "batch_size": 4, "progress": False, **own}
    counters = [Counter(), Counter()]
    whole = fit(program, rows(1.0), out=tmp_path / "whole", callbacks=[counters[0]], **settings)
    assert 4 <= len(whole.history) < 9
    original, calls = Run.save, []

    def save(self, *args):
        original(self, *args)
        calls.append(1)
        if len(calls) == min(at, len(whole.history)):
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", save)
        with pytest.raises(Stop):
            fit(program, rows(1.0), out=tmp_path / "run", callbacks=[Counter()], **settings)
    with pytest.raises(RunError, match=r"state of callbacks \['Counter'\], not of \[\] at the same places"):
        fit(program, rows(1.0), out=tmp_path / "run", resume=True, **settings)
    for other, message in (({"early_stopping": 2}, "has early_stopping="), ({"validation": 0.5}, "other validation")):
        with pytest.raises(RunError, match=message):
            fit(program, rows(1.0), out=tmp_path / "run", resume=True, **{**settings, **other})
    resumed = fit(program, rows(1.0), out=tmp_path / "run", resume=True, callbacks=[counters[1]], **settings)
    assert same(resumed.weights, whole.weights)
    assert same(Run(tmp_path / "run").state()[0], Run(tmp_path / "whole").state()[0])
    lines = [[{k: v for k, v in r.items() if k != "seconds"} for r in f.history] for f in (whole, resumed)]
    assert lines[0] == lines[1]
    assert counters[0].seen == counters[1].seen
    assert counters[0].steps == counters[1].steps
    assert np.array_equal(counters[0].losses, counters[1].losses)


def test_an_optimizer_of_the_host_takes_its_own_steps(ppl, program):
    fitted = fit(program, rows(1.0), optimizer={"c": sgd(ppl, 0.1), "": sgd(ppl, 0.0)}, epochs=3, **STEADY)
    assert float(fitted.weights["c"][0]) == pytest.approx(1 - 0.95**3, rel=1e-5)
    assert float(fitted.weights["d"][0]) == 0.0
    # An optimizer that is given is not annealed.
    again = fit(program, rows(1.0), optimizer=sgd(ppl, 0.1), epochs=3, batch_size=8, progress=False)
    assert float(again.weights["c"][0] + again.weights["d"][0]) == pytest.approx(1 - 0.9**3, rel=1e-5)


def test_a_schedule_of_the_host(ppl, program):
    """Adam's steps are its learning rate where the gradient stays what it is."""
    if ppl.host.NAME == "numpyro":
        own = {"schedule": importlib.import_module("optax").exponential_decay(0.2, 1, 0.5)}
    else:
        scheduler = importlib.import_module("torch").optim.lr_scheduler.ExponentialLR
        own = {"schedule": partial(scheduler, gamma=0.5), "learning_rate": 0.2}
    fitted = fit(program, rows(1e5), epochs=3, batch_size=8, progress=False, **own)
    assert float(fitted.weights["c"][0]) == pytest.approx(0.2 + 0.1 + 0.05, rel=1e-3)


def test_what_is_no_optimizer_or_schedule_is_refused(ppl, program, tmp_path):
    numpyro = ppl.host.NAME == "numpyro"
    kind = "transformation of optax" if numpyro else "optimizer of torch"
    cases = [
        ({"optimizer": "adam"}, kind),
        ({"optimizer": lambda *args: 3}, kind),
        ({"optimizer": {"e": sgd(ppl, 0.1)}}, r"none for \['c', 'd'\]\. Add one for ''"),
        ({"optimizer": {"": sgd(ppl, 0.1), "e": sgd(ppl, 0.1)}}, r"got \['e'\], which none has"),
        ({"optimizer": sgd(ppl, 0.1), "learning_rate": 0.1}, "learning rate within optimizer="),
        ({"schedule": lambda step: "no"}, "function of the step" if numpyro else "gives a scheduler of torch"),
    ]
    if numpyro:
        cases += [
            ({"optimizer": importlib.import_module("numpyro").optim.Adam(1e-3)}, kind),  # keeps parameters as its state
            ({"schedule": lambda step: step, "learning_rate": 0.1}, "give the learning rate"),
            ({"schedule": lambda step: step, "optimizer": sgd(ppl, 0.1)}, "a schedule of its own"),
        ]
    else:
        torch = importlib.import_module("torch")
        made = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau
        cases += [
            ({"optimizer": made}, "has parameters already"),
            ({"optimizer": torch.optim.LBFGS}, "LBFGS"),
            ({"schedule": plateau}, "ReduceLROnPlateau, which is no function"),
        ]
    for options, message in cases:
        with pytest.raises(OptionError, match=message):
            fit(program, rows(1.0), out=tmp_path / "run", epochs=2, progress=False, **options)
    assert not (tmp_path / "run").exists()


def test_an_energy_is_not_stopped_by_a_loss_without_its_normalizer(small, tmp_path):
    data = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=64, num_test=16)
    program = small("ebm", data.modalities)
    rule = EarlyStopping(1, min_delta=1e6)  # ends whatever it watches after two epochs
    with pytest.warns(TrainingWarning, match="does not watch stage 'energy': the loss lacks the normalizer"):
        fitted = fit(
            program, data.train, validation=data, early_stopping=rule, epochs=10, batch_size=32, progress=False
        )
    stages = [record["stage"] for record in fitted.history]
    assert stages == ["backbone"] * 2 + ["energy"] * 4
    assert json.dumps(fitted.history)


def test_few_data_take_more_epochs_where_none_are_named(small):
    """16 rows are one step an epoch: 300 epochs, and none is held out; a number that is named is kept."""
    data = load("linear_gaussian", dims={"a": 1, "b": 1}, num_train=16, num_test=1).train
    program = small("mvae", {name: Modality((1,)) for name in ("a", "b")})
    history = fit(program, data, progress=False).history
    assert len(history) == 300
    assert "validation.loss" not in history.table()
    assert len(fit(program, data, epochs=2, progress=False).history) == 2


def test_a_bar_says_that_it_waits_for_the_compiler(small, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    data = load("linear_gaussian", dims={"a": 1, "b": 1}, num_train=16, num_test=1).train
    program = small("mvae", {name: Modality((1,)) for name in ("a", "b")})
    fit(program, data, epochs=1)
    said = capsys.readouterr().err
    assert ("joint, compiling" in said) == (program.ppl.host.NAME == "numpyro")
    assert "joint: 100%" in said
