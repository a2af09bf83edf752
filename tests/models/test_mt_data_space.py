"""MT-Diffusion in the space of the data: a network whose output is zero knows everything exactly.

Where nothing joins, its flow leaves standard normals as they are, so that pixels and numbers are normal with the
moments of the training data; its heads say that classes are alike and that counts have rate 1.
"""

import math
from importlib import import_module

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from mmppl.batch import Batch, Modality
from mmppl.diagnostics import prediction_by_subset
from mmppl.diagnostics.likelihood import likelihood_of_rows
from mmppl.diagnostics.report.tables import likelihood_text
from mmppl.errors import DataError, MissingWarning, ModalityError, OptionError
from mmppl.inference import fit, generate, infer, log_likelihood
from mmppl.models.common.own_space import BLURRED, LEAST, OwnSpace
from mmppl.priors.multi_task.model import TIMES
from mmppl.priors.score.probability_flow import ProbabilityFlow

MODALITIES = {
    "image": Modality((1, 1, 2), kind="image"),
    "label": Modality((), kind="category", categories=3),
    "word": Modality((2,), kind="tokens", vocabulary=2),
    "vector": Modality((1,)),
    "number": Modality((1,), kind="counts"),
    "mask": Modality((1, 1, 1), kind="image", likelihood="bernoulli"),
}
RNG = np.random.default_rng(0)
ROWS = Batch(
    {
        "image": (RNG.integers(80, 176, (64, 1, 1, 2)) / 255.0 + [0.0, 40.0 / 255.0]).astype("float32"),
        "label": RNG.integers(0, 3, 64),
        "word": RNG.integers(0, 2, (64, 2)),
        "vector": (RNG.standard_normal((64, 1)) * 2.0 - 3.0).astype("float32"),
        "number": RNG.poisson(2.0, (64, 1)),
        "mask": RNG.integers(0, 2, (64, 1, 1, 1)).astype("float32"),
    }
)


@pytest.fixture
def still(small):
    """A program whose network says nothing, as it was made."""

    def still(names=tuple(MODALITIES), rows=ROWS, **options):
        modalities, how = {name: MODALITIES[name] for name in names}, {"solver": "flow", "steps": 8, **options}
        program = small("mt_diffusion", modalities, space="data", net="residual", strength=0.0, **how)
        return fit(program, rows.select(*names), epochs=1, batch_size=64, learning_rate=1e-9, progress=False)

    return still


def exact(rows):
    """Log likelihood of each modality under such a network."""
    image, vector = np.asarray(ROWS["image"], float), np.asarray(ROWS["vector"], float)
    pixel = stats.norm(image.mean(), image.std())
    other = stats.norm(vector.mean(0), vector.std(0))
    return {
        "image": np.log(pixel.cdf(rows["image"] + 0.5 / 255) - pixel.cdf(rows["image"] - 0.5 / 255)).sum((1, 2, 3)),
        "label": np.full(len(rows), -math.log(3)),
        "word": np.full(len(rows), -2 * math.log(2)),
        # The head adds its least scale to a deviation of 1.
        "vector": (stats.norm(other.mean(), other.std() * (1 + LEAST)).logpdf(rows["vector"])).sum(1),
        "number": stats.poisson(1.0).logpmf(rows["number"]).sum(1),
        "mask": np.full(len(rows), -math.log(2)),
    }


def test_likelihoods_are_those_of_the_data_themselves(still):
    """Of everything, of what is there in rows that lack some of it, and with the terms of the bound in the history."""
    fitted, rows = still(), ROWS[:5]
    there = {n: np.array([True, True, n in ("label", "image"), n != "word", n == "number"]) for n in MODALITIES}
    wanted = {name: np.where(there[name], value, 0.0) for name, value in exact(rows).items()}
    found = log_likelihood(fitted, rows.with_present(there), num=30)
    np.testing.assert_allclose(found.value, sum(wanted.values()), atol=0.2)
    # A bound has no density without what is diffused.
    bound = log_likelihood(fitted, rows.with_present(there), method="bound", num=800)
    assert np.isnan(bound.value).tolist() == [False, False, False, False, True]
    gap = sum(wanted.values())[:4] - bound.value[:4]
    assert (gap > -4.0 * bound.error[:4]).all()
    assert (gap < 4.0 * bound.error[:4] + 0.3).all()
    assert (bound.error[:4] < 1.0).all()
    terms = {name: fitted.history[-1][name] for name in ("L0", "L1", "L2", "L3")}
    assert terms["L0"] < 0.01
    assert math.isfinite(terms["L1"] + terms["L3"])
    # At each of the times the heads' entropies; that of the numbers in their own unit.
    ids = -sum(exact(ROWS)[n].mean() for n in ("label", "word", "number", "mask"))
    number = 0.5 * math.log(2.0 * math.pi) + math.log(1.0 + LEAST) + 0.5 / (1.0 + LEAST) ** 2
    assert terms["L2"] == pytest.approx(TIMES * (ids + number), rel=0.05)


def test_draws_are_data(still):
    fitted = still()
    out = generate(fitted, num=1500, seed=1)
    levels = out["image"] * 255
    np.testing.assert_allclose(levels, levels.round(), atol=1e-3)
    assert out["image"].mean() == pytest.approx(ROWS["image"].mean(), abs=0.01)
    assert out["image"].std() == pytest.approx(ROWS["image"].std(), rel=0.05)
    np.testing.assert_allclose(out["vector"].mean(0), ROWS["vector"].mean(0), atol=0.2)
    np.testing.assert_allclose(out["vector"].std(0), ROWS["vector"].std(0), rtol=0.08)
    np.testing.assert_allclose(np.bincount(out["label"], minlength=3) / 1500, 1 / 3, atol=0.05)
    np.testing.assert_allclose(np.bincount(out["word"].ravel(), minlength=2) / 3000, 1 / 2, atol=0.05)
    assert out["number"].mean() == pytest.approx(1.0, abs=0.1)
    assert set(np.unique(out["mask"])) == {0.0, 1.0}
    given = ROWS[:3].only("vector", "label", "number")
    back = generate(fitted, given, num=2)
    for name in ("vector", "label", "number"):
        assert np.array_equal(back[name][1], ROWS[name][:3])


def test_predictions_have_no_log_loss_of_what_draws_cannot_meet(still):
    names = ("image", "label", "vector", "number")
    found = prediction_by_subset(still(names), ROWS.select(*names), subsets=[("image",), ("label",)], num=200)
    own = found["image",] | found["label",]
    assert [own[name].nll for name in ("image", "vector", "number")] == [None] * 3
    assert own["label"].nll == pytest.approx(math.log(3), abs=0.05)


@pytest.mark.parametrize("ppl", ["pyro"], indirect=True)
def test_derivatives_of_a_density_are_taken_together_or_one_by_one(small, monkeypatch):
    """Also where rows differ in what they have."""
    modalities = {name: MODALITIES[name] for name in ("vector", "image", "label")}
    program = small("mt_diffusion", modalities, space="data", primary=("vector", "image"), net="residual", width=8)
    fitted = fit(program, ROWS.select(*modalities), epochs=4, learning_rate=1e-2, progress=False)
    there = {
        "vector": [True, True, False, True],
        "image": [True, False, True, True],
        "label": [True, True, True, False],
    }
    rows = ROWS[:4].select(*modalities).with_present(there)
    together = log_likelihood(fitted, rows, num=2).value
    assert np.isfinite(together).all()
    monkeypatch.setattr(import_module(ProbabilityFlow.__module__), "STATES", 1)
    np.testing.assert_allclose(log_likelihood(fitted, rows, num=2).value, together, rtol=1e-5)


def test_evaluations_tell_the_bound_of_rows_that_have_one(still):
    names = ("vector", "label")
    rows = ROWS[:20].with_present({"vector": np.arange(20) > 3, "label": np.ones(20, bool)})
    fitted = still(names)
    found = likelihood_of_rows(fitted, rows.select(*names), None, 1000, 0)
    assert (found["method"], found["num"], found["particles"]) == ("bound", 16, 64)
    wanted = np.mean([exact(rows)[name][4:] for name in names], axis=1).sum()
    assert found["value"] < wanted + 5.0 * found["error"]
    assert found["value"] == pytest.approx(wanted, abs=0.3 + 5.0 * found["error"])
    assert likelihood_text(found)[0].startswith("at least -")
    none = likelihood_of_rows(fitted, rows[:3].select(*names), None, 1000, 0)
    assert (none["value"], none["num"], none["trusted"]) == (None, 0, False)
    assert likelihood_text(none)[0] == "–"


def test_latents_that_are_the_data_have_no_chains(still):
    names = ("vector", "label")
    fitted, rows = still(names), ROWS[:3].select(*names)
    for method in ("hmc", "mala"):
        with pytest.raises(OptionError, match="latents that data do not say themselves, .* got 'mt_diffusion'"):
            infer(fitted, rows, method=method, num_samples=2, num_warmup=2)
    with pytest.raises(OptionError, match=r"Draw what is missing by generate\(fitted, given\)"):
        generate(fitted, rows.only("label"), sampler="mala")
    (drawn,) = infer(fitted, rows, method="guide", num_samples=5).draws.values()
    assert drawn.shape == (1, 5, 3, 4)


def test_several_are_diffused_each_in_its_own_units(still):
    """Normals with the moments of each, and ids that are the largest of alike ones."""
    names = ("image", "label", "word", "vector")
    fitted = still(names, primary=names)
    out = generate(fitted, num=1500, seed=1)
    for name in ("image", "vector"):
        assert out[name].mean() == pytest.approx(ROWS[name].mean(), abs=0.1 * float(ROWS[name].std()))
        assert out[name].std() == pytest.approx(ROWS[name].std(), rel=0.08)
    np.testing.assert_allclose(np.bincount(out["label"], minlength=3) / 1500, 1 / 3, atol=0.05)
    np.testing.assert_allclose(np.bincount(out["word"].ravel(), minlength=2) / 3000, 1 / 2, atol=0.05)
    back = generate(fitted, {name: ROWS[name][:20] for name in ("label", "vector")}, num=2)
    for name in ("label", "vector"):
        assert np.array_equal(back[name][1], ROWS[name][:20])


def test_ids_with_noise_are_read_as_by_bayes(ppl_driver):
    """Of one-hot vectors with normal noise, all alike before."""
    host, own = ppl_driver, OwnSpace("label", MODALITIES["label"], True)
    code, scale = (host.numpy(x) for x in own.encode(host.array(np.array([2, 0])), host.array(np.zeros(1))))
    assert np.array_equal(code, [[0, 0, 1], [1, 0, 0]])
    assert np.array_equal(scale, np.full((2, 3), np.asarray(BLURRED, scale.dtype)))
    z = np.random.default_rng(0).uniform(0.3, 0.7, (50, 3))
    mass = stats.norm(np.eye(3), BLURRED).logpdf(z[:, None]).sum(-1)
    wanted = mass - logsumexp(mass, axis=1, keepdims=True)
    found = [host.log_prob(own.likelihood(host.mm, host.array(z)), np.full(50, i)) for i in range(3)]
    np.testing.assert_allclose(np.stack(found, 1), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("ppl", ["pyro"], indirect=True)
def test_an_image_given_another(small):
    """Of two pictures, diffused as one, one is dark where the other is bright."""
    rng = np.random.default_rng(0)
    bright = rng.integers(0, 2, 256)[:, None, None, None]
    pair = [0.25 + 0.5 * x + 0.05 * rng.standard_normal((256, c, 4, 4)) for c, x in ((1, bright), (2, 1 - bright))]
    rows = Batch({name: np.clip(x, 0.0, 1.0).astype("float32") for name, x in zip("ab", pair, strict=True)})
    rows = rows.with_present({"a": np.arange(256) % 4 > 0})
    modalities = {"a": Modality((1, 4, 4), kind="image"), "b": Modality((2, 4, 4), kind="image")}
    own = {"space": "data", "primary": "a,b", "net": "dit", "width": 64, "depth": 1, "steps": 20, "ema": 0.9}
    program = small("mt_diffusion", modalities, **own)
    fitted = fit(program, rows, epochs=30, batch_size=64, learning_rate=5e-3, progress=False)
    side = {name: x.mean((1, 2, 3)) > 0.5 for name, x in generate(fitted, num=100).items()}
    assert (side["a"] != side["b"]).mean() > 0.9
    assert 0.2 < side["a"].mean() < 0.8
    test = rows[np.arange(1, 256, 4)[:60]]
    for given, other in ("ab", "ba"):
        drawn = generate(fitted, test.only(given), want=[other])[other][0].mean((1, 2, 3))
        assert ((drawn > 0.5) == (test[other].mean((1, 2, 3)) > 0.5)).mean() > 0.9


@pytest.mark.parametrize(("ppl", "net"), [("pyro", "unet"), ("numpyro", "dit")], indirect=["ppl"])
def test_pictures_are_learned_with_what_is_beside_them(small, net):
    """Labels are the brightness of images, half of which lack one; both directions are learned in a few steps."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 256)
    image = np.clip(0.25 + 0.5 * label[:, None, None, None] + 0.05 * rng.standard_normal((256, 1, 4, 4)), 0.0, 1.0)
    rows = Batch({"image": image.astype("float32"), "label": label}, {"label": np.arange(256) % 2 == 0})
    modalities = {
        "image": Modality((1, 4, 4), kind="image"),
        "label": Modality((), kind="category", categories=2),
    }
    own = {"space": "data", "net": net, "width": 64, "depth": 1, "steps": 20, "taps": {"label": "output"}}
    how = {"p_conditional": 0.8, "head_weight": {"label": 0.3}, "alone": 0.2, "ema": 0.9}
    program = small("mt_diffusion", modalities, **own, **how)
    fitted = fit(program, rows, epochs=30, batch_size=64, learning_rate=5e-3, progress=False)
    assert [record["stage"] for record in fitted.history[-7:]] == ["prior"] + ["alone"] * 6
    test = Batch({"image": rows["image"][:60], "label": label[:60]})
    read = generate(fitted, test.only("image"), want=["label"])["label"][0]
    assert (read == label[:60]).mean() > 0.9
    drawn = generate(fitted, test.only("label"), want=["image"])["image"][0].mean((1, 2, 3))
    assert ((drawn > 0.5) == label[:60]).mean() > 0.9


def test_one_modality_may_be_itself_and_the_others_codes(small):
    modalities = {name: MODALITIES[name] for name in ("vector", "label")}
    program = small("mt_diffusion", modalities, space="vector", latent_dim=2, steps=6)
    fitted = fit(program, ROWS.select("vector", "label"), epochs=4, batch_size=64, progress=False)
    assert [stage.name for stage in program.stages] == ["autoencoders", "prior"]
    assert not any(name.startswith("vector.") for name in fitted.weights)
    assert np.isfinite(generate(fitted, num=3)["vector"]).all()
    with pytest.raises(OptionError, match="a diffusion of all modalities in the space of the data"):
        log_likelihood(fitted, ROWS.select("vector", "label"), method="bound")


def test_what_cannot_be_is_said(small):
    def make(names=("image", "label"), **options):
        return small("mt_diffusion", {n: MODALITIES[n] for n in names}, **{"space": "data", **options})

    with pytest.raises(ModalityError, match="a primary modality of numbers or ids, .* got 'number', of kind 'counts'"):
        make(("number", "label"))
    with pytest.raises(ModalityError, match="of numbers or ids, .* got 'mask', .* likelihood 'bernoulli'"):
        make(("image", "mask"), primary=("image", "mask"))
    with pytest.raises(ModalityError, match=r"among them; got \['image', 'label'\] and 'image', 'image'"):
        make(primary=("image", "image"))
    with pytest.raises(OptionError, match="p_conditional > 0 where several blocks diffuse, 'image, label'"):
        make(primary=("image", "label"), p_conditional=0.0)
    with pytest.raises(OptionError, match="Expected space 'latent', 'data' or the one primary modality, 'image'"):
        make(space="pixels")
    with pytest.raises(OptionError, match="the one primary modality, 'image'; got 'image'"):
        make(space="image", primary=("image", "label"))
    with pytest.raises(OptionError, match=r"Expected a tap among \('middle', 'output'\).* got \('middle', 'end'\)"):
        make(taps={"label": "end"})
    with pytest.raises(ModalityError, match=r"Expected taps for modalities that heads read, .*; got \['text'\]"):
        make(taps={"text": "middle"})
    with pytest.raises(ModalityError, match=r"Expected head_weight for modalities .*; got \['image'\]"):
        make(head_weight={"image": 1.0, "label": 1.0})
    pair = {"image": MODALITIES["image"], "other": MODALITIES["image"]}
    with pytest.raises(OptionError, match=r"no taps for images of 1 x 2 pixels, .* output; got \['other'\]"):
        small("mt_diffusion", pair, space="data", taps={"other": "middle"})
    with pytest.raises(OptionError, match="net 'residual' where no image is diffused in its own space; got 'unet'"):
        make(("vector", "label"), net="unet")
    with pytest.raises(OptionError, match=r"the encoder of block 'label' to map into the primary block 'image'"):
        make(encoders={"label": np.ones((3, 5))})
    with pytest.raises(OptionError, match="Block 'label': expected an encoder of finite numbers; got others"):
        make(encoders={"label": np.full((3, 2), np.nan)})
    with pytest.raises(ModalityError, match="encoders of blocks among"):
        make(encoders={"text": np.ones((3, 5))})
    lacking = Modality((2,), partial=True)
    with pytest.raises(ModalityError, match="whole events in its own space; got partial=True"):
        small("mt_diffusion", {"a": lacking, "label": MODALITIES["label"]}, space="data")


def test_matrices_as_encoders_and_what_no_row_has(small):
    """A matrix is no text, and a vector that is nowhere leaves the rest to be learned."""
    modalities = {name: MODALITIES[name] for name in ("image", "label", "vector")}
    encoders = {"label": np.arange(6.0).reshape(3, 2), "vector": [[1.0, -1.0]]}
    program = small("mt_diffusion", modalities, space="data", net="residual", encoders=encoders)
    rows = ROWS.select(*modalities).with_present({"vector": np.zeros(64, bool)})
    with pytest.warns(MissingWarning, match="'vector' has no value"):
        fitted = fit(program, rows, epochs=2, progress=False)
    assert np.isfinite(fitted.history.table()["loss"]).all()
    assert np.isfinite(generate(fitted, rows[:2])["vector"]).all()


def test_what_is_diffused_has_to_be_somewhere(small):
    modalities = {name: MODALITIES[name] for name in ("image", "label")}
    rows = ROWS.select(*modalities).with_present({"image": np.zeros(64, bool)})
    with (
        pytest.warns(MissingWarning, match="'image' has no value"),
        pytest.raises(DataError, match="Expected rows with 'image', which is diffused; got 64 without it. Take"),
    ):
        fit(small("mt_diffusion", modalities, space="data", net="residual"), rows, epochs=2, progress=False)


def test_sizes_of_codes():
    sizes = {name: OwnSpace(name, modality).size for name, modality in MODALITIES.items()}
    assert sizes == {"image": 2, "label": 3, "word": 4, "vector": 1, "number": 1, "mask": 1}
