"""Prediction given subsets: the exact program's numbers are those of the closed form; labels, gaps and refusals."""

from importlib import import_module

import numpy as np
import pytest

from mmppl import Batch, Modality, inference, models
from mmppl.diagnostics import prediction_by_subset
from mmppl.diagnostics.prediction import _error
from mmppl.errors import ModalityError, OptionError


@pytest.fixture(scope="module")
def rows(truth):
    return truth.sample(300, seed=11)


def test_the_exact_program_predicts_as_the_closed_form_does(linear, truth, rows):
    found = prediction_by_subset(linear(), rows, subsets=[("a",), ("a", "b")], num=400)
    assert {given: list(own) for given, own in found.items()} == {("a",): ["b", "c"], ("a", "b"): ["c"]}
    for given, own in found.items():
        told = rows.only(*given)
        for name, one in own.items():
            mean, cov = truth.conditional(told, [name])[name]
            lost = (rows[name] - mean) ** 2
            # Means of 400 draws have an error of their own, a 400th of the conditional variance at the most.
            assert one.error == pytest.approx(lost.mean() ** 0.5, rel=0.01)
            assert one.r2 == pytest.approx(np.mean(1 - lost.mean(0) / rows[name].var(0)), abs=0.01)
            exact = truth.evidence(rows.only(*given, name)) - truth.evidence(told)
            assert one.nll == pytest.approx(-exact.mean(), abs=0.02 * max(1.0, abs(exact.mean())))
            assert one.nll_error == pytest.approx(exact.std(ddof=1) / 300**0.5, rel=0.1)
            assert abs(one.coverage - 0.8) < 4 * (0.16 / 300) ** 0.5
            assert one.accuracy is None
            assert one.num == 300


def test_each_alone_and_all_but_one_where_nothing_is_said(linear, rows):
    found = prediction_by_subset(linear(), rows[:10], num=5)
    assert list(found) == [("a",), ("b",), ("c",), ("b", "c"), ("a", "c"), ("a", "b")]


def test_only_what_is_there_counts(linear, rows):
    some = rows.with_present({"a": np.arange(300) < 50, "b": np.arange(300) >= 20})
    whole = prediction_by_subset(linear(), rows[20:50], subsets=[("a",)], num=50)
    parts = prediction_by_subset(linear(), some, subsets=[("a",)], num=50)
    assert parts["a",]["b"].num == 30
    assert parts["a",]["b"] == whole["a",]["b"]


@pytest.mark.parametrize("host", ["numpyro", "pyro"])
def test_labels_have_an_accuracy(host):
    rng = np.random.default_rng(0)
    label = rng.integers(3, size=400)
    x = (np.eye(3)[label] * 4 + rng.normal(size=(400, 3))).astype(np.float32)
    kinds = {"x": Modality((3,)), "kind": Modality((), "category", categories=3)}
    program = models.mopoe(kinds, ppl=import_module(f"mmppl.{host}"), latent_dim=2, hidden=16)
    data = Batch({"x": x, "kind": label})
    fitted = inference.fit(program, data, epochs=40, batch_size=32, learning_rate=1e-2, progress=False)
    found = prediction_by_subset(fitted, data, num=30)
    one = found["x",]["kind"]
    assert one.accuracy > 0.9
    assert one.error is None
    assert one.r2 is None
    assert one.nll < np.log(3) / 2
    assert found["kind",]["x"].r2 > 0.5


@pytest.mark.parametrize(("host", "noise"), [("numpyro", 1e-3), ("pyro", 1e-3), ("pyro", 0.7)])
def test_an_error_stands_where_more_than_a_few_draws_make_up_the_sum(host, noise):
    mm = import_module(f"mmppl.{host}")
    sample, dist, zero = mm.host.sample, mm.host.dist, mm.host.zeros(1)

    def model(batch):
        with mm.plate(batch):
            z = sample("z", dist.Normal(zero, 1.0).to_event(1))
            for name in batch.modalities:
                mm.observe(name, dist.Normal(z, noise if name == "b" else 1.0).to_event(1), batch)

    def guide(batch):
        with mm.plate(batch):
            sample("z", dist.Normal(batch["a"] / 2, 0.5**0.5).to_event(1))

    kinds = {"a": Modality((1,)), "b": Modality((1,))}
    fitted = inference.Fitted(inference.Program(model, guide, mm.ELBO(), mm, kinds), {})
    z = np.random.default_rng(1).normal(size=(40, 1)).astype("f")
    one = prediction_by_subset(fitted, {"a": z, "b": z}, subsets=[("a",)])["a",]["b"]
    assert (one.nll_error is None) == (noise < 0.1)


def test_an_unknown_modality_is_refused(linear, rows):
    with pytest.raises(ModalityError, match=r"Expected subsets of \['a', 'b', 'c'\]; got \['d'\]"):
        prediction_by_subset(linear(), rows, subsets=[("d",)])
    for subsets in (["a"], "a"):
        with pytest.raises(OptionError, match=r"Expected subsets, each of names, such as \[\('a',\)\]; got 'a'"):
            prediction_by_subset(linear(), rows, subsets=subsets)


def test_an_image_is_judged_over_all_pixels_and_a_vector_by_each_coordinate():
    value = np.array([[0.0, 0.0, 5.0], [2.0, 20.0, 5.0]])  # spreads 1 and 10, and one that does not vary
    guess = value + np.array([[1.0, 0.0, 1.0], [0.0, 10.0, -1.0]])
    there = np.ones((2, 3), bool)
    there[0, 2] = False
    lost, total = np.array([1.0, 100.0, 1.0]), np.array([2.0, 200.0, 0.0])
    error, r2 = _error(guess, value, there, pooled=False)
    assert (error, r2) == pytest.approx(((lost.sum() / 5) ** 0.5, np.mean(1 - lost[:2] / total[:2])))
    assert _error(guess, value, there, pooled=True)[1] == pytest.approx(1 - lost.sum() / total.sum())
    assert _error(guess[:1], value[:1], there[:1], pooled=False)[1] is None
