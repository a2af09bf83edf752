"""What is compiled for a program serves it again: other weights, other data of the same shape, another fit."""

import gc
import weakref
from contextlib import contextmanager

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers

import mmppl.numpyro as mm
from mmppl import models
from mmppl.data import load
from mmppl.inference import Fitted, Program, fit, generate, infer, log_likelihood
from mmppl.models.common.declare import DECLARED
from mmppl.priors import Blocks, MultiTimeScoreMatching, ScoreModel
from mmppl.sde import VP
from mmppl.sde.solvers import DPMSolver

LINEAR = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=64, num_test=6)
SETTINGS = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-2, "progress": False}
EVENTS: list[str] = []


def _model(batch):
    m = numpyro.param("m", np.ones(2))
    with mm.plate(batch):
        z = numpyro.sample("z", dist.Normal(m, 1.0).to_event(1))
        mm.observe("b", dist.Normal(z, 1.0).to_event(1), batch)


def _guide(batch):
    with mm.plate(batch):
        numpyro.sample("z", dist.Normal(batch["b"] * batch.present["b"][..., None], 1.0).to_event(1))


B = LINEAR.train.select("b")


def pair():
    return Program(_model, _guide, mm.ELBO(), mm, {"b": LINEAR.modalities["b"]})


PAIR = pair()


@pytest.fixture(scope="module", autouse=True)
def listening():
    """Notes each tracing and each compilation; what is read from a folder counts as one."""
    jax.monitoring.register_event_duration_secs_listener(_note)
    yield
    jax.monitoring.unregister_event_duration_listener(_note)


def _note(name, seconds, **about):
    if name.endswith(("jaxpr_to_mlir_module_duration", "backend_compile_duration")):
        EVENTS.append(name)


@contextmanager
def compiles(anything):
    EVENTS.clear()
    yield
    assert bool(EVENTS) == anything, EVENTS


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[n], second[n]) for n in first)


@pytest.fixture(scope="module")
def program():
    return models.ebm(LINEAR.modalities, ppl=mm, latent_dim=2, hidden=4, energy_hidden=4, chains=8, buffer=16, steps=2)


@pytest.fixture(scope="module")
def fitted(program):
    return fit(program, LINEAR.train, **SETTINGS)


def asked(fitted):
    """What the tools say of a fitted program."""
    given = LINEAR.test.only("a")
    return {
        "drawn": generate(fitted, given, 2)["b"],
        "evidence": log_likelihood(fitted, LINEAR.test, num=30).value,
        "posterior": infer(fitted, given, method="guide", num_samples=3).draws["z"],
        "refined": infer(fitted, given, method="refine", num_samples=3).draws["z"],
    }


def test_a_fit_compiles_nothing_again(program, fitted):
    with compiles(False):
        again = fit(program, LINEAR.train, **SETTINGS)
    assert same(again.weights, fitted.weights)
    with compiles(False):
        longer = fit(program, LINEAR.train, **{**SETTINGS, "epochs": 3})
    assert not same(longer.weights, fitted.weights)


@pytest.mark.parametrize(
    ("one", "other"), [({}, {"learning_rate": 1e-3}), ({"clip": 1.0}, {"clip": 1e-3}), ({"ema": 0.9}, {"ema": 0.05})]
)
def test_another_setting_of_a_fit_is_not_taken_for_the_first(one, other):
    first = fit(PAIR, B, **{**SETTINGS, **one}).weights["m"]
    with compiles(True):
        found = fit(PAIR, B, **{**SETTINGS, **other}).weights["m"]
    alone = fit(pair(), B, **{**SETTINGS, **other}).weights["m"]
    assert np.array_equal(found, alone)
    assert not np.array_equal(found, first)
    assert np.array_equal(fit(PAIR, B, **{**SETTINGS, **one}).weights["m"], first)


def test_another_seed_has_networks_of_its_own():
    program = models.mvae({"b": LINEAR.modalities["b"]}, ppl=mm, latent_dim=1, hidden=2)
    first, other, again = (fit(program, B, seed=seed, **SETTINGS).weights for seed in (0, 1, 0))
    assert same(first, again)
    kept = [n for n in first if np.array_equal(first[n], other[n])]
    assert all(n.endswith((".centre", ".spread")) for n in kept)  # of the data, which are the kept
    DECLARED.made.clear()
    fresh = models.mvae({"b": LINEAR.modalities["b"]}, ppl=mm, latent_dim=1, hidden=2)
    assert same(other, fit(fresh, B, seed=1, **SETTINGS).weights)


def steps_of(program):
    return [f for key, f in program.fresh(0).compiled.made.items() if key[0] == "step"]


def test_seeds_and_declarations_share_what_is_compiled():
    DECLARED.made.clear()
    options = {"ppl": mm, "latent_dim": 1, "hidden": 2}
    first = models.mopoe(LINEAR.modalities, **options)
    one = fit(first, LINEAR.train, **SETTINGS)
    step = steps_of(first)
    second = models.mopoe(LINEAR.modalities, seed=5, **options)
    two = fit(second, LINEAR.train, seed=1, **SETTINGS)
    assert steps_of(second) == step
    assert len(step) == 1
    other = models.mopoe(LINEAR.modalities, ppl=mm, latent_dim=1, hidden=2, beta=0.5)
    fit(other, LINEAR.train, **SETTINGS)
    assert steps_of(other) != step
    assert not same(one.weights, two.weights)
    # A program keeps the networks of its own seed, whatever is compiled.
    batch = mm.as_batch(LINEAR.test)
    traces = [handlers.trace(handlers.seed(p.guide, jax.random.key(0))).get_trace(batch) for p in (first, second)]
    leaves = [jax.tree.leaves(trace["a.encoder$params"]["value"]) for trace in traces]
    assert not all(np.array_equal(x, y) for x, y in zip(*leaves, strict=True))


def test_stages_of_another_declaration_are_those_compiled_for_the_first():
    DECLARED.made.clear()
    options = {"ppl": mm, "latent_dim": 2, "hidden": 2, "width": 4, "depth": 1, "steps": 4}
    programs = [models.mld(LINEAR.modalities, seed=seed, **options) for seed in (0, 1)]
    kept = []
    for program in programs:
        fit(program, LINEAR.train, **SETTINGS)
        kept.append(steps_of(program))
    assert kept[0] == kept[1]
    assert len(kept[0]) == 2


def test_objectives_of_a_users_own_are_told_apart_by_all_they_hold():
    class Scaled(mm.ELBO):
        def __init__(self, factor):
            super().__init__()
            self._factor = factor

        def loss_and_record(self, *args, **kwargs):
            loss, rest = super().loss_and_record(*args, **kwargs)
            return self._factor * loss, rest

    first, second = (fit(pair().with_objective(Scaled(f)), B, **SETTINGS).weights["m"] for f in (1.0, 1.0))
    assert np.array_equal(first, second)
    program = pair()
    moved = [fit(program.with_objective(Scaled(f)), B, **SETTINGS).weights["m"] for f in (1.0, -1.0)]
    assert np.array_equal(moved[0], first)
    assert not np.array_equal(moved[1], first)


def test_another_number_of_rows_compiles_nothing(fitted):
    asked(fitted)
    more = LINEAR.train[:5].only("a")
    with compiles(False):
        drawn = generate(fitted, more, 2)["b"]
        evidence = log_likelihood(fitted, LINEAR.train[:5], num=30)
    assert drawn.shape == (2, 5, 2)
    assert evidence.value.shape == (5,)


@pytest.mark.filterwarnings("ignore::mmppl.errors.PosteriorWarning")
def test_chains_compile_nothing_again(fitted):
    settings = {"num_chains": 2, "num_samples": 3, "num_warmup": 2}
    first = infer(fitted, LINEAR.test, method="mala", **settings).draws["z"]
    with compiles(False):
        again = infer(fitted, LINEAR.test, method="mala", **settings).draws["z"]
        other = infer(fitted, LINEAR.test, method="mala", seed=1, **settings).draws["z"]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    with compiles(True):
        infer(fitted, LINEAR.test, method="mala", step_size=0.2, **settings)


def test_tools_compile_nothing_for_other_weights(fitted):
    first = asked(fitted)
    other = Fitted(fitted.program, {name: np.float32(1.1) * w for name, w in fitted.weights.items()})
    with compiles(False):
        second = asked(other)
    assert not any(np.array_equal(first[n], second[n]) for n in first)
    fresh = models.ebm(LINEAR.modalities, ppl=mm, **fitted.program.options)
    alone = asked(Fitted(fresh, other.weights))
    for name, value in second.items():
        np.testing.assert_array_equal(value, alone[name])
    with compiles(False):
        assert same(asked(fitted), first)


def test_weights_are_forgotten_with_what_had_them(fitted):
    """What is compiled is kept, and no weights with it."""
    other = Fitted(fitted.program, {name: np.array(w) for name, w in fitted.weights.items()})
    asked(other)
    kept = [weakref.ref(leaf) for leaf in jax.tree.leaves(other.model.data)]
    del other
    gc.collect()
    assert kept
    assert all(ref() is None for ref in kept)


def test_few_compiled_functions_are_kept():
    program = pair()
    program.compiled.number = 2
    for rate in (1e-3, 2e-3, 3e-3):
        fit(program, B, **{**SETTINGS, "epochs": 1, "learning_rate": rate})
    assert len(program.compiled.made) == 2


def test_precision_is_part_of_what_is_compiled():
    single = fit(PAIR, B, **SETTINGS).weights["m"]
    with jax.enable_x64(True):
        double = fit(PAIR, B, **SETTINGS).weights["m"]
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(single, double, rtol=1e-2)
    assert fit(PAIR, B, **SETTINGS).weights["m"].dtype == np.float32


def test_a_distribution_of_equal_options_compiles_nothing_again():
    def drawn(network, **options):
        model = ScoreModel(Blocks.of({"z": 2}), MultiTimeScoreMatching(VP(0.1, 30.0)), **options)
        return mm.JointScore(network, model).sample(jax.random.key(0), (3,))

    def network(x):
        return 0.1 * x[..., :2]

    first = drawn(network, solver=DPMSolver(4))
    with compiles(False):
        again = drawn(network, solver=DPMSolver(4))
    np.testing.assert_array_equal(first, again)
    with compiles(True):
        assert not np.array_equal(drawn(network, solver=DPMSolver(5)), first)
