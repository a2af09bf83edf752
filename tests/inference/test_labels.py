"""Labels of a batch, which a program may read and score, on their way from the data to either host."""

import importlib

import numpy as np
import pytest
from scipy import stats

from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.data import minibatches, read_npz, write_npz
from mmppl.data.minibatches import blocks
from mmppl.inference import Program, fit, generate, infer, log_likelihood
from mmppl.inference.training.fitted import Fitted
from mmppl.nets import MLP, LocScale

RNG = np.random.default_rng(0)
LABEL = RNG.integers(3, size=60)
X = (np.eye(3)[LABEL] * 3.0 + 0.3 * RNG.standard_normal((60, 3))).astype(np.float32)
WORDS = np.array(["cat", "dog", "owl"])[LABEL]
MODALITIES = {"x": Modality((3,)), "y": Modality((1,))}


def rows(label, number=60):
    present = {"y": np.arange(number) % 4 > 0}
    return Batch({"x": X[:number], "y": X[:number, :1]}, present, None if label is None else label[:number])


def plain(x):
    return get_backend(x).to_numpy(x)


def sorted_by_label(ppl):
    """A latent that has the label's logits for x, and a label beside it that is scored where it is not -1."""
    host, dist = ppl.host, ppl.host.dist
    nets = host.build_all(
        {
            "encoder": LocScale(MLP((3,), (6,), (8,)), "normal"),
            "decoder": MLP((3,), (3,), (8,)),
            "sort": MLP((3,), (3,), ()),
        },
        1,
    )

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", dist.Normal(host.zeros(3), 1.0).to_event(1))
            for name in batch.modalities:
                mean = ppl.net("decoder", nets["decoder"])(z)
                ppl.observe(name, dist.Normal(mean[..., : MODALITIES[name].shape[0]], 0.5).to_event(1), batch)
            if batch.label is not None:
                xp = get_backend(z).xp
                known = batch.label >= 0
                fn = dist.Categorical(logits=ppl.net("sort", nets["sort"])(z)).mask(known)
                host.sample("kind", fn, obs=xp.where(known, batch.label, xp.zeros_like(batch.label)))

    def guide(batch):
        with ppl.plate(batch):
            loc, scale = ppl.net("encoder", nets["encoder"])(batch["x"])
            here = batch.present["x"][..., None]
            host.sample("z", dist.Normal(here * loc, scale * here + 1.0 - 1.0 * here).to_event(1))

    return Program(model, guide, ppl.ELBO(), ppl, MODALITIES)


@pytest.mark.parametrize("label", [LABEL, LABEL.tolist(), LABEL.astype(np.uint8), LABEL + 0.5, LABEL > 1])
def test_a_label_goes_wherever_its_rows_go(ppl, label):
    batch, label = ppl.as_batch(rows(np.asarray(label))), np.asarray(label)
    assert type(batch.label) is type(batch["x"])
    order = np.array([5, 0, 7])
    views = {
        "only": (batch.only("x"), label),
        "without": (batch.without("x"), label),
        "select": (batch.select("y"), label),
        "scoring": (batch.scoring("y"), label),
        "scoring, then hidden": (batch.scoring("y").only("x"), label),
        "scoring, then some": (batch.scoring("y")[order], label[order]),
        "masks": (batch.with_present({"x": batch.present["x"] & False}), label),
        "one": (batch[3], label[3:4]),
        "slice": (batch[2:9], label[2:9]),
        "order": (batch[order], label[order]),
        "again": (ppl.as_batch(batch), label),
    }
    for name, (view, wanted) in views.items():
        np.testing.assert_allclose(plain(view.label), wanted, err_msg=name)
    assert batch.scoring("y").only("x").modalities == batch.scoring("y")[order].modalities == ("y",)
    assert batch.scoring("y").select("x", "y").modalities == ("y",)
    assert ppl.as_batch(batch.scoring("y")).modalities == ("y",)


def test_a_label_goes_with_minibatches_and_filled_blocks():
    data = rows(LABEL)
    for part in (*minibatches(data, 7, seed=0, epoch=1), *blocks(data, 8)):
        np.testing.assert_array_equal(LABEL[[np.flatnonzero((x == X).all(1))[0] for x in part["x"]]], part.label)
    assert data.validate(MODALITIES).label is data.label


@pytest.mark.parametrize("label", [WORDS, WORDS.astype(object), np.full(60, np.datetime64("2020-01-01"))])
def test_labels_that_are_no_numbers_are_for_metrics_alone(ppl, label):
    data = rows(label)
    assert data.numbers is None
    assert ppl.as_batch(data).label is None
    program = sorted_by_label(ppl)
    fitted = fit(program, data, epochs=1, batch_size=20, progress=False)
    assert not [name for name in fitted.weights if name.startswith("sort")]
    assert generate(fitted, data[:3].only("x"))["y"].shape == (1, 3, 1)
    if ppl.host.NAME == "numpyro":
        jax = importlib.import_module("jax")
        assert jax.jit(lambda batch: batch["x"].sum() if batch.label is None else 0.0)(data) > 0.0


def test_a_label_that_is_scored_counts_as_the_hosts_own_bound_counts_it(ppl, host):
    """The guide has no noise, so that both are one number, and it is written out."""
    dist, sample = ppl.host.dist, ppl.host.sample

    def model(batch):
        with ppl.plate(batch):
            z = sample("z", dist.Normal(ppl.host.zeros(3), 1.0).to_event(1))
            for name in batch.modalities:
                ppl.observe(name, dist.Normal(z[..., : MODALITIES[name].shape[0]], 2.0).to_event(1), batch)
            if batch.label is not None:
                sample("kind", dist.Categorical(logits=z), obs=batch.label)

    def guide(batch):
        with ppl.plate(batch):
            sample("z", dist.Delta(0.5 * batch["x"], event_dim=1))

    def bound(objective, batch):
        if ppl.host.NAME == "pyro":
            return objective.loss(model, guide, batch)
        return float(objective.loss(importlib.import_module("jax").random.key(0), {}, model, guide, batch))

    theirs = importlib.import_module(f"{ppl.host.NAME}.infer").Trace_ELBO()
    z, here = 0.5 * X.astype(float), np.arange(60) % 4 > 0
    value = stats.norm.logpdf(z).sum() + stats.norm.logpdf(X, z, 2.0).sum()
    value += (here * stats.norm.logpdf(X[:, 0], z[:, 0], 2.0)).sum()
    kinds = (z - np.log(np.exp(z).sum(1, keepdims=True)))[np.arange(60), LABEL].sum()
    for label, wanted in ((None, -value), (LABEL, -value - kinds)):
        batch = ppl.as_batch(rows(label))
        assert bound(theirs, batch) == pytest.approx(wanted, rel=1e-5)
        assert bound(ppl.ELBO(), batch) == pytest.approx(wanted, rel=1e-5)
        assert bound(ppl.ELBO(), rows(label)) == pytest.approx(wanted, rel=1e-5)


def test_a_model_that_sorts_learns_from_few_labels(ppl):
    program = sorted_by_label(ppl)
    few = np.where(np.arange(60) % 3 == 0, LABEL, -1)
    fitted = fit(program, rows(few), epochs=60, batch_size=30, learning_rate=2e-2, progress=False)
    names = {name.partition(".")[0] for name in fitted.weights}
    assert names == {"encoder", "decoder", "sort"}

    def told(fitted):
        z = infer(fitted, rows(None), method="guide", num_samples=1).draws["z"][0, 0]
        weight, bias = (fitted.weights[f"sort.layers.1.{part}"] for part in ("weight", "bias"))
        logits = z @ weight.T + bias
        return np.mean(logits.argmax(-1) == LABEL)

    assert told(fitted) > 0.9
    # The weights are those of the model that is handed out too, with a label and without.
    first, none = (log_likelihood(fitted, rows(label, 4), num=50).value for label in (LABEL, None))
    again = Fitted(program, fitted.weights, label=np.zeros(1, int))
    np.testing.assert_allclose(log_likelihood(again, rows(LABEL, 4), num=50).value, first)
    np.testing.assert_allclose(log_likelihood(fitted, rows(np.full(60, -1), 4), num=50).value, none, rtol=1e-5)
    assert (first < none).all()
    assert generate(fitted, rows(LABEL, 4).only("x"))["y"].shape == (1, 4, 1)
    blind = fit(program, rows(None), epochs=1, batch_size=30, progress=False)
    assert {name.partition(".")[0] for name in blind.weights} == {"encoder", "decoder"}


def test_labels_of_words_survive_a_file(tmp_path):
    assert read_npz(write_npz(tmp_path / "rows.npz", rows(WORDS))).label.tolist() == WORDS.tolist()
