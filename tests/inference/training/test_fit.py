"""Fitting: going on bit for bit, records, what is kept when things go wrong, and what is left alone."""

import json
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from mmppl.batch import Batch
from mmppl.data import load
from mmppl.errors import DataError, ModalityError, OptionError, TrainingError
from mmppl.inference import Program, Run, Stage, fit, generate, log_likelihood
from mmppl.nets import MLP, LocScale

LINEAR = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=192, num_test=500)
SETTINGS = {"epochs": 4, "batch_size": 64, "learning_rate": 1e-2, "progress": False}


# Doubles, as simulations give them: the nets are in single precision, and the host casts.
MODALITIES, TRAIN, TEST = LINEAR.modalities, LINEAR.train, LINEAR.test


class Stop(BaseException):
    """Something from outside that ends a run, like Ctrl-C."""


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[n], second[n]) for n in first)


def stop_after(monkeypatch, method, number):
    """Makes the ``number``-th call of a method of the run folder the run's last act."""
    original, calls = getattr(Run, method), []

    def counted(self, *args):
        original(self, *args)
        calls.append(1)
        if len(calls) == number:
            raise Stop

    monkeypatch.setattr(Run, method, counted)


@pytest.mark.parametrize(
    ("system", "options", "settings", "epoch", "method"),
    [
        ("mvae", {}, {"ema": 0.9, "clip": 1.0}, 3, "save"),
        ("mvae", {}, {}, 2, "log"),
        ("ebm", {}, {"epochs": 5, "ema": 0.9}, 3, "save"),  # the last epoch of the first of two stages
        ("ebm", {"schedule": "joint"}, {"epochs": 5, "ema": 0.5}, 4, "save"),
        ("mld", {}, {"epochs": 6}, 1, "save"),  # the last epoch of the first of two stages
        ("mld", {}, {"epochs": 6}, 4, "save"),  # the encoded data are made anew
    ],
    ids=[
        "ema and clip",
        "logged, not saved",
        "between stages, ema",
        "persistent chains, ema",
        "before encoding",
        "after encoding",
    ],
)
def test_resuming_is_bit_for_bit(small, tmp_path, monkeypatch, system, options, settings, epoch, method):
    program = small(system, MODALITIES, **options)
    settings = {**SETTINGS, **settings}
    whole = fit(program, TRAIN, out=tmp_path / "whole", **settings)
    with monkeypatch.context() as patch:
        stop_after(patch, method, epoch)
        with pytest.raises(Stop):
            fit(program, TRAIN, out=tmp_path / "run", **settings)
    resumed = fit(program, TRAIN, out=tmp_path / "run", resume=True, **settings)
    assert same(resumed.weights, whole.weights)
    assert same(Run(tmp_path / "run").weights(), whole.weights)
    assert same(Run(tmp_path / "run").state()[0], Run(tmp_path / "whole").state()[0])
    records = [[{k: v for k, v in r.items() if k != "seconds"} for r in f.history] for f in (whole, resumed)]
    assert records[0] == records[1]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines == resumed.history
    again = fit(program, TRAIN, out=tmp_path / "run", resume=True, **settings)  # nothing is left to do
    assert same(again.weights, whole.weights)
    assert again.history == resumed.history


def test_records_and_run_folder(small, tmp_path):
    program = small("ebm", MODALITIES)
    fitted = fit(program, TRAIN, out=tmp_path / "run", seed=3, info={"data": "linear_gaussian"}, **SETTINGS)
    assert [r["epoch"] for r in fitted.history] == [1, 2, 3, 4]
    assert [r["stage"] for r in fitted.history] == ["backbone", "backbone", "energy", "energy"]
    assert {"loss", "kl", "log_lik.a", "log_lik.b", "steps", "seconds"} <= set(fitted.history[0])
    assert fitted.history[0]["steps"] == 3
    run = Run(tmp_path / "run")
    info = run.info()
    assert info.model == "ebm"
    assert info.options == program.options
    assert info.objectives == [(stage.objective or program.objective).written() for stage in program.stages]
    assert info.more == {"data": "linear_gaussian"}
    assert (info.backend, info.seed, info.epochs) == (program.ppl.host.NAME, 3, 4)
    assert same(run.weights(), fitted.weights)
    assert run.history() == fitted.history
    assert not list((tmp_path / "run").rglob("*.part"))


def test_seeds_make_weights(small):
    program = small("mvae", MODALITIES)
    first, again, other = (fit(program, TRAIN, seed=seed, **SETTINGS).weights for seed in (0, 0, 1))
    assert same(first, again)
    drawn = [n for n in first if not n.endswith((".centre", ".spread"))]  # those are of the data
    assert not any(np.array_equal(first[n], other[n]) for n in drawn)


def test_ema_is_the_average_of_the_steps(small, monkeypatch):
    """With one step an epoch, the averaged weights follow from the weights of runs of 1, 2 and 3 epochs.

    The decay is bounded by 1/10, 2/11 and 3/12 at these steps.
    """
    program = small("mvae", MODALITIES)
    settings = {"batch_size": 192, "schedule": "constant", "progress": False}
    start = fit(program, TRAIN, epochs=1, learning_rate=1e-30, **settings).weights
    plain = [fit(program, TRAIN, epochs=k, **settings).weights for k in (1, 2, 3)]
    averaged = fit(program, TRAIN, epochs=3, ema=0.2, **settings).weights
    for name, value in start.items():
        for decay, weights in zip((1 / 10, 2 / 11, 0.2), plain, strict=True):
            value = decay * value + (1.0 - decay) * weights[name]
        np.testing.assert_allclose(averaged[name], value, rtol=1e-4, atol=1e-6)


def test_clip_bounds_the_step(small):
    """Adam does not feel the size of a gradient but its direction; below its epsilon a bound is felt in full."""
    program = small("mvae", MODALITIES)
    sizes = {"epochs": 1, "batch_size": 192, "learning_rate": 1e-2, "progress": False}
    start = fit(program, TRAIN, **{**sizes, "learning_rate": 1e-30}).weights
    free, loose, tight = (fit(program, TRAIN, clip=clip, **sizes).weights for clip in (None, 1e9, 1e-12))
    assert same(free, loose)
    moved = [max(np.abs(w[n] - start[n]).max() for n in start) for w in (free, tight)]
    assert moved[0] == pytest.approx(1e-2, rel=1e-2)
    assert moved[1] < 1e-2 * 1e-12 / 1e-8 * 1.01


def poisoned(monkeypatch, after):
    """Lets the loss of training turn NaN after so many minibatches, by a value that is NaN where present."""
    module = sys.modules["mmppl.inference.training.loop"]
    original = module.minibatches
    count = []

    def spoil(*args, **options):
        for batch in original(*args, **options):
            count.append(1)
            values = {n: np.full_like(x, np.nan) if len(count) > after else x for n, x in batch.values.items()}
            yield Batch.trusted(values, batch.present, None, len(batch))

    monkeypatch.setattr(module, "minibatches", spoil)


@pytest.mark.parametrize("system", ["mvae", "ebm"])
def test_nan_stops_and_the_last_good_state_is_kept(small, tmp_path, monkeypatch, system):
    program = small(system, MODALITIES)
    good = fit(program, TRAIN, **{**SETTINGS, "epochs": 4})
    with monkeypatch.context() as patch:
        poisoned(patch, after=11)  # the last of the four epochs' three steps
        message = r"not finite in epoch 4, step 3 \(.*loss=nan.*lower the learning rate or set clip"
        with pytest.raises(TrainingError, match=message) as caught:
            fit(program, TRAIN, out=tmp_path / "run", **SETTINGS)
    kept = caught.value.fitted
    assert all(np.isfinite(w).all() for w in kept.weights.values())
    assert not same(kept.weights, good.weights)
    assert len(kept.history) == 3
    run = Run(tmp_path / "run")
    assert run.state()[1].epoch == 3
    assert [r["epoch"] for r in run.history()] == [1, 2, 3]
    assert same(fit(program, TRAIN, out=run.path, resume=True, **SETTINGS).weights, good.weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "Expected epochs to be None or a whole number, epochs >= 1; got epochs=0"),
        ({"batch_size": 0}, "batch_size >= 1"),
        ({"learning_rate": 0.0}, "learning_rate > 0"),
        ({"ema": 1.0}, "0 <= ema < 1"),
        ({"clip": 0.0}, "clip > 0"),
        ({"epochs": 1}, "Expected at least 2 epochs, one for each stage; got 1"),
        ({"resume": True}, "resume needs out="),
    ],
)
def test_bad_settings_leave_nothing_behind(small, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    out = None if "resume" in options else "run"
    with pytest.raises(OptionError, match=message):
        fit(small("ebm", MODALITIES), TRAIN, out=out, **{**SETTINGS, **options})
    assert not list(tmp_path.iterdir())


def test_bad_data_leave_nothing_behind(small, tmp_path):
    program = small("mvae", MODALITIES)
    nan = TRAIN["a"].copy()
    nan[5] = np.inf
    cases = [
        (TRAIN.select("a"), ModalityError, "Modality 'b' is missing from the batch"),
        (Batch({"a": nan, "b": TRAIN["b"]}), DataError, "Modality 'a': NaN or Inf where present, in rows 5"),
        (TRAIN.only(), DataError, "No modality is present in rows 0, 1, 2, 3, 4 and 187 more"),
    ]
    for data, error, message in cases:
        with pytest.raises(error, match=message):
            fit(program, data, out=tmp_path / "run", **SETTINGS)
    assert not (tmp_path / "run").exists()


def test_objectives_write_themselves_alike_in_every_process(ppl):
    """No address of a function or object, which would keep a run from being resumed."""
    warm = partial(lambda step, end: end, end=2.0)
    found = ppl.Refined(ppl.MVAE(1, beta=warm, random=0), steps=3)
    assert found.written() == "Refined(MVAE(1, beta=partial, random=0), steps=3)"
    assert repr(found) == "Refined(objective=MVAE(particles=1, beta=partial, random=0), steps=3)"
    assert ppl.Refined(ppl.ELBO(beta=1 / 7)).written() == "Refined(ELBO(beta=0.14285714285714285))"
    warmed = ppl.ELBO(2, beta=ppl.WarmUp(9))
    assert warmed.written() == "ELBO(2, beta=WarmUp(steps=9, end=1.0, start=0.0))"
    assert repr(warmed) == "ELBO(particles=2, beta=WarmUp(steps=9, end=1.0, start=0.0))"
    for said in (ppl.ELBO(beta=lambda step: step).written(), repr(ppl.ELBO(beta=lambda step: step))):
        assert " at 0x" not in said


def test_a_stage_that_would_train_nothing_is_refused(small):
    program = small("mvae", LINEAR.modalities)
    program = replace(program, stages=(Stage("first"), Stage("slip", train=("decoders.",))))
    with pytest.raises(OptionError, match=r"stage 'slip' to train some of .*'a\.decoder.* begin with \['decoders\.'\]"):
        fit(program, LINEAR.train, epochs=2, progress=False)


def by_hand(ppl, name="b"):
    """A program of one's own: one latent, one modality, linear nets."""
    host = ppl.host
    decoder = ppl.build(MLP((1,), (2,), hidden=()), 0)
    encoder = ppl.build(LocScale(MLP((2,), (2,), hidden=())), 1)

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", host.dist.Normal(host.zeros(1), 1.0).to_event(1))
            ppl.observe(name, host.dist.Normal(ppl.net("decoder", decoder)(z), 0.5).to_event(1), batch)

    def guide(batch):
        with ppl.plate(batch):
            experts = {name: ppl.net("encoder", encoder)(batch[name])}
            host.sample("z", ppl.Product(experts, batch.present, family="normal"))

    return Program(model, guide, ppl.ELBO(), ppl, {name: MODALITIES[name]})


def test_programs_do_not_mix(ppl):
    """Two fits of one program, and of two programs with the same names, keep their own weights."""
    data = Batch({"b": TRAIN["b"]})
    moved = Batch({"b": TRAIN["b"] + 5.0})
    program = by_hand(ppl)
    first = fit(program, data, **SETTINGS)
    before = log_likelihood(first, data[:4], num=50).value
    second = fit(program, moved, **SETTINGS)
    assert not same(first.weights, second.weights)
    third = fit(by_hand(ppl), moved, **SETTINGS)
    for other in (second, third):
        log_likelihood(other, data[:4], num=50)
    np.testing.assert_array_equal(log_likelihood(first, data[:4], num=50).value, before)
    # The model names its modality itself, and yet draws it from the prior.
    assert generate(first, num=3)["b"].shape == (3, 2)
    # A fit starts from the weights that the program's networks have, and leaves them as they were.
    assert same(second.weights, third.weights)
    if ppl.host.NAME == "pyro":
        assert not list(sys.modules["pyro"].get_param_store())


def test_random_streams_are_left_alone(small, ppl):
    states = {"numpy": lambda: np.random.get_state()[1].tolist()}  # noqa: NPY002
    if ppl.host.NAME == "pyro":
        states["torch"] = lambda: sys.modules["torch"].get_rng_state().tolist()
        states["python"] = lambda: sys.modules["random"].getstate()
    before = {name: state() for name, state in states.items()}
    fitted = fit(small("ebm", MODALITIES), TRAIN, **SETTINGS)
    generate(fitted, TEST[:2].only("a"), 2, sampler="ula")
    assert {name: state() for name, state in states.items()} == before


def test_missing_modalities_cost_little(ppl):
    """With 30% of the modalities missing the fit recovers the evidence of held-out data within 1%.

    One latent and linear nets: products of Gaussian experts hold the exact posterior for every pattern.
    """
    data = load("linear_gaussian", latent_dim=1, dims={"a": 3, "b": 2, "c": 4}, num_train=2000, num_test=500, seed=2)
    host = ppl.host
    nets = {f"{m}.encoder": LocScale(MLP(v.shape, (2,), hidden=())) for m, v in data.modalities.items()}
    nets |= {f"{m}.decoder": MLP((1,), v.shape, hidden=()) for m, v in data.modalities.items()}
    nets = host.build_all(nets, 0)

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", host.dist.Normal(host.zeros(1), 1.0).to_event(1))
            for m in batch.modalities:
                loc = ppl.net(f"{m}.decoder", nets[f"{m}.decoder"])(z)
                ppl.observe(m, host.dist.Normal(loc, 0.5).to_event(1), batch)

    def guide(batch):
        with ppl.plate(batch):
            experts = {m: ppl.net(f"{m}.encoder", nets[f"{m}.encoder"])(batch[m]) for m in batch.modalities}
            host.sample("z", ppl.Product(experts, batch.present, family="normal"))

    program = Program(model, guide, ppl.ELBO(particles=4), ppl, data.modalities)
    rng = np.random.default_rng(0)
    present = {m: rng.random(2000) > 0.3 for m in data.modalities}
    present["a"] |= ~np.any(list(present.values()), axis=0)
    missing = data.train.with_present(present)
    exact = data.truth.evidence(data.test).mean()
    settings = {"epochs": 20, "batch_size": 200, "learning_rate": 5e-2, "schedule": "constant", "ema": 0.95}
    for train in (data.train, missing):
        fitted = fit(program, train, **settings, progress=False)
        found = log_likelihood(fitted, data.test, num=200)
        assert found.mean == pytest.approx(exact, rel=0.01)
        assert found.mean_error < 0.02
