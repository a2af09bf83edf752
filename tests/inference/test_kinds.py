"""Categories, counts, bits, single numbers and grey pictures, in every system and all that is done with one."""

import numpy as np
import pytest
from scipy.stats import nbinom

from mmppl import models
from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.data import Dataset
from mmppl.diagnostics import evaluate
from mmppl.diagnostics.calibration import coverage
from mmppl.diagnostics.report.pictures import cell
from mmppl.inference import Fitted, fit, generate, infer, log_likelihood, to_arviz
from mmppl.nets.layers import SCALE_FLOOR, SCALE_RATE

NAMES = ("ant", "bee", "cat")
KINDS = {
    "label": Modality((), kind="category", names=NAMES),
    "rna": Modality((4,), kind="counts"),
    "bits": Modality((3,), likelihood="bernoulli"),
    "age": Modality((), scale="learned"),
    "ink": Modality((1, 4, 4), kind="image"),
}


def rows(num, seed=0):
    """Data of three classes, each of which says itself in every modality; a fifth of everything is missing."""
    rng = np.random.default_rng(seed)
    k = rng.integers(3, size=num)
    picture = np.zeros((num, 1, 4, 4), np.float32)
    picture[np.arange(num), 0, k] = 0.9
    values = {
        "label": k,
        "rna": rng.poisson(np.array([[1, 1, 30, 30], [30, 1, 1, 30], [30, 30, 1, 1]])[k]),
        "bits": (rng.random((num, 3)) < np.where(np.eye(3)[k] > 0, 0.95, 0.05)).astype(np.float32),
        "age": (3.0 * k + rng.normal(size=num)).astype(np.float32),
        "ink": picture,
    }
    present = {name: rng.random(num) < 0.8 for name in values}
    present["rna"] |= ~np.any(list(present.values()), axis=0)
    return Batch(values, present, label=k)


@pytest.mark.parametrize("name", sorted(models.SYSTEMS))
def test_every_system_takes_categories_counts_and_numbers(small, ppl, name):
    kinds = {name: KINDS[name] for name in ("label", "rna", "age")}
    program = small(name, kinds)
    data = rows(40).select(*kinds)
    data = data[np.flatnonzero(data.observed())][:30]
    epochs = max(len(program.stages), 2)
    fitted = fit(program, data, epochs=epochs, batch_size=15, progress=False)
    assert all(np.isfinite(list(r.values())[2:]).all() for r in fitted.history)
    given = data[:6].only("age")
    out = generate(fitted, given, 3)
    assert {n: x.shape for n, x in out.items()} == {n: (3, 6, *m.shape) for n, m in kinds.items()}
    assert {n: x.dtype.name for n, x in out.items()} == {
        "label": "int64", "rna": "int64", "age": "float32"
    }  # fmt: skip
    assert set(np.unique(out["label"])) <= {0, 1, 2}
    assert (out["rna"] >= 0).all()
    made = generate(fitted, num=5)
    assert (made["label"].shape, made["label"].dtype) == ((5,), np.int64)


@pytest.fixture(scope="module")
def learned():
    known = {}

    def learn(ppl):
        if ppl.host.NAME not in known:
            program = models.mopoe(KINDS, ppl=ppl, latent_dim=4, hidden=32, strata="one")
            known[ppl.host.NAME] = fit(program, rows(400), epochs=60, batch_size=50, learning_rate=3e-3, progress=False)
        return known[ppl.host.NAME]

    return learn


def test_a_class_and_counts_are_told_from_what_else_there_is(ppl, learned):
    fitted, test = learned(ppl), rows(200, seed=1)
    told = np.asarray(test.present["rna"] | test.present["bits"])
    drawn = generate(fitted, test.without("label"), 200, want=["label"])["label"]
    share = np.stack([(drawn == c).mean(0) for c in range(3)], -1)
    assert np.mean(share.argmax(-1)[told] == test.label[told]) > 0.85
    # Draws are as sure as they may be: probabilities of what is true, not modes alone.
    assert np.mean(share[np.arange(200), test.label][told]) > 0.75
    counts = generate(fitted, test.only("label"), 200, want=["rna"])["rna"]
    there = np.asarray(test.present["label"])
    want = np.array([[1, 1, 30, 30], [30, 1, 1, 30], [30, 30, 1, 1]])[test.label]
    assert np.abs(np.log1p(np.median(counts, 0)) - np.log1p(want))[there].mean() < 0.35
    inside = coverage(fitted, test[:80], num=100, levels=(0.5, 0.9))
    assert set(inside.share) == set(KINDS)
    assert inside.share["rna"][1] > 0.75
    assert set(np.unique(generate(fitted, num=50)["bits"])) == {0.0, 1.0}


@pytest.mark.filterwarnings("ignore:PSIS k is above:mmppl.errors.PosteriorWarning")  # of weights, not of what is asked
def test_everything_else_takes_them_too(ppl, learned):
    fitted, test = learned(ppl), rows(60, seed=2)
    value = log_likelihood(fitted, test[:5], num=20)
    assert np.isfinite(value.value).all()
    posterior = infer(fitted, test[:3], method="psis", num_samples=8)
    assert posterior.draws["z"].shape == (1, 8, 3, 4)
    idata = to_arviz(fitted, test[:3], kernel=None, num_samples=4, num_predictive=3, num_prior=2)
    drawn = idata["posterior_predictive"]["label"]
    assert (drawn.shape, drawn.dtype) == ((1, 3, 3), np.int64)
    assert idata["observed_data"]["label"].shape == (3,)
    found = evaluate(fitted, Dataset("mine", KINDS, rows(120), test), num=60, particles=20, prediction_rows=0)
    assert found["classifiers"]["label"] == 1.0
    assert found["log_likelihood"]["value"] < 0


def test_the_score_of_a_class_and_of_counts_is_the_closed_form(ppl, learned):
    fitted = learned(ppl)
    batch = Batch(dict(rows(2).values))
    z = np.random.default_rng(0).normal(size=(1, 2, 4)).astype(np.float32)
    backend = get_backend(ppl.host.zeros(1))
    hidden, many = ({"z": backend.asarray(np.repeat(z, number, 0))} for number in (1, 4000))
    scores, _ = ppl.host.scores(fitted.model, hidden, batch)
    drawn = ppl.host.decode(fitted.model, many, batch, 0, False)
    share = (drawn["label"] == batch["label"]).mean(0)
    np.testing.assert_allclose(np.exp(scores["label"][0]), share, atol=0.04)
    mean = ppl.host.decode(fitted.model, hidden, batch, 0, True)["rna"][0]
    scale = np.exp(SCALE_RATE * fitted.weights["rna.decoder.layers.8.weight"]) + SCALE_FLOOR
    want = nbinom.logpmf(batch["rna"], scale, scale / (scale + mean)).sum(-1)
    np.testing.assert_allclose(scores["rna"][0], want, rtol=1e-4)


def test_a_report_shows_classes_by_name():
    assert ">bee<" in cell(KINDS["label"], np.int64(1), "label")
    assert ">1<" in cell(Modality((), kind="category", categories=3), np.int64(1), "label")
    assert 'alt="rna: 3, 0, 1, 7"' in cell(KINDS["rna"], np.array([3, 0, 1, 7]), "rna")


def test_counts_may_be_integers_or_floats(ppl, learned):
    fitted, test = learned(ppl), rows(4)
    floats = Batch({**test.values, "rna": test["rna"].astype(np.float32)}, test.present)
    one, other = (log_likelihood(fitted, batch, num=10).value for batch in (test, floats))
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_one_value_for_all_by_kind_and_by_name(ppl):
    made = models.mvae(
        KINDS, ppl=ppl, likelihood={"counts": "poisson", "ink": "bernoulli"}, scale="learned", weight={"rna": 2}
    ).modalities
    assert {n: m.likelihood for n, m in made.items()} == {
        "label": "categorical", "rna": "poisson", "bits": "bernoulli", "age": "normal", "ink": "bernoulli"
    }  # fmt: skip
    assert all(m.scale == "learned" for m in made.values())
    assert made["rna"].weight == 2
    two = {"rna": KINDS["rna"], "atac": Modality((2,), kind="counts"), "label": KINDS["label"]}
    made = models.mvae(two, ppl=ppl, likelihood="zero_inflated_poisson").modalities
    assert [m.likelihood for m in made.values()] == ["zero_inflated_poisson"] * 2 + ["categorical"]
    made = models.mvae(two, ppl=ppl, likelihood={"counts": "poisson", "rna": "negative_binomial"}).modalities
    assert [made[n].likelihood for n in ("rna", "atac")] == ["negative_binomial", "poisson"]


def test_an_identifiable_label_may_be_a_category(small, ppl):
    kinds = {"label": KINDS["label"], "age": KINDS["age"]}
    data = rows(40).select("label", "age")
    data = data[np.flatnonzero(data.observed())]
    fitted = fit(small("ivae", kinds), data, epochs=2, batch_size=10, progress=False)
    drawn = generate(fitted, data.only("age")[:4], 3)["label"]
    assert drawn.shape == (3, 4)
    assert isinstance(fitted, Fitted)
    assert ppl.likelihood(KINDS["label"], ppl.host.zeros(4, 3)).event_shape == ()
