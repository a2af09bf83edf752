"""The systems with a learned posterior of every subset, and the identifiable one."""

import numpy as np
import pytest

from mmppl import models
from mmppl.data import load
from mmppl.errors import ModalityError, OptionError, TrainingWarning
from mmppl.inference import fit, generate, log_likelihood, to_arviz

LINEAR = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=192, num_test=40)
LABELLED = load("labelled_mixture", num_train=192, num_test=40)
OPTIONS = {
    "attention, private": {"aggregation": "self_attention", "private": 1},
    "product, private": {"aggregation": "product", "private": 2, "empty": "prior"},
    "Laplace, conditional": {"family": "laplace", "prior": "laplace", "private": 1, "private_prior": "conditional"},
    "mixtures": {"mixture": 2, "prior": "gaussian_mixture", "components": 2, "subsets": "bernoulli", "empty": "prior"},
    "experts": {"aggregation": "mixture", "bound": "mixture", "gradient": "standard"},
}


@pytest.mark.parametrize("case", OPTIONS)
@pytest.mark.parametrize("ppl", ["pyro"], indirect=True)
def test_options_of_masked(small, case):
    program = small("masked", LINEAR.modalities, **OPTIONS[case])
    fitted = fit(program, LINEAR.train, epochs=6, batch_size=64, learning_rate=1e-2, progress=False)
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"] - 0.1  # of data that are standardised from the start
    assert generate(fitted, LINEAR.test[:3].only("a"), 2)["b"].shape == (2, 3, 2)
    assert np.isfinite(log_likelihood(fitted, LINEAR.test[:5].only("b"), num=20).value).all()


def test_ivae(small, ppl):
    program = small("ivae", LABELLED.modalities)
    fitted = fit(program, LABELLED.train, epochs=6, batch_size=64, learning_rate=1e-2, progress=False)
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    heads = {weight.split(".layers")[0] for weight in fitted.weights}
    assert heads == {"x.encoder", "label.encoder", "x.decoder", "pool", "prior.loc", "prior.scale", "prior.logits"}
    out = generate(fitted, LABELLED.test[:3].only("x"), 2)
    assert {m: x.shape for m, x in out.items()} == {"x": (2, 3, 2), "label": (2, 3, 1)}
    # The joint of latent and label is that of the label and of its Gaussian.
    z = np.random.default_rng(0).normal(size=(1, 40, 2)).astype("f")
    label = LABELLED.test["label"][:, 0]
    log_lik, log_prior = ppl.host.scores(fitted.model, {"z": ppl.host.zeros(1, 40, 2) + _like(ppl, z)}, LABELLED.test)
    loc, scale, logits = (fitted.weights[f"prior.{name}"] for name in ("loc", "scale", "logits"))
    unit = (z[0] - loc[label]) / scale[label]
    wanted = (-0.5 * unit**2 - np.log(scale[label]) - 0.5 * np.log(2 * np.pi)).sum(-1)
    wanted = wanted + logits[label] - np.log(np.exp(logits).sum())
    np.testing.assert_allclose((log_lik["label"] + log_prior)[0], wanted, rtol=1e-4, atol=1e-4)


def _like(ppl, x):
    from mmppl._backend import get_backend

    return get_backend(ppl.host.zeros(1)).asarray(x)


@pytest.mark.parametrize("ppl", ["pyro"], indirect=True)
def test_other_options_of_ivae(small):
    for options in ({"prior": "normal", "objective": "elbo"}, {"aggregation": "self_attention", "mixture": 2}):
        fitted = fit(
            small("ivae", LABELLED.modalities, **options),
            LABELLED.train,
            epochs=4,
            batch_size=64,
            learning_rate=1e-2,
            progress=False,
        )
        assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
        assert ("label.decoder.layers.1.weight" in fitted.weights) == (options.get("prior") == "normal")
    idata = to_arviz(fitted, LABELLED.test[:4], num_chains=2, num_samples=20, num_warmup=20)
    assert np.isfinite(idata.posterior["z"].values).all()


def test_beta_rises_unless_it_is_not_to(small, ppl):
    assert "beta=WarmUp(steps=400, end=0.5, start=0.0)" in repr(small("masked", LINEAR.modalities, beta=0.5).objective)
    assert "beta=0.5" in repr(small("masked", LINEAR.modalities, beta=0.5, warmup=0).objective)
    # In a short fit it takes a quarter of the steps, unless the number is said.
    few = LINEAR.train[:64]
    fitted = fit(small("masked", LINEAR.modalities), few, epochs=4, batch_size=16, progress=False)
    assert fitted.program.objective.beta.steps == 4
    with pytest.warns(TrainingWarning, match="warm-up of beta within the 16 steps"):
        fit(small("masked", LINEAR.modalities, warmup=20), few, epochs=4, batch_size=16, progress=False)


def test_bad_options(ppl):
    for options, message in (
        ({"aggregation": "mean"}, "Expected an aggregation among .*; got 'mean'"),
        ({"private": -1}, "Expected private >= 0; got -1"),
        ({"aggregation": "product", "mixture": 2}, "Expected mixture=1 with aggregation 'product'; got 2"),
        ({"family": "laplace", "mixture": 2}, "Expected mixture=1 with family 'laplace'; got 2"),
        ({"family": "cauchy"}, "Expected .*family.*; got 'cauchy'"),
        ({"private_prior": "auxiliary"}, "Expected private_prior among .*; got 'auxiliary'"),
        ({"bound": "elbo"}, "Expected bound among .*; got 'elbo'"),
        ({"mixture": 0}, "Expected mixture >= 1; got 0"),
    ):
        with pytest.raises(OptionError, match=message):
            models.masked(LINEAR.modalities, ppl=ppl, **options)
    with pytest.raises(ModalityError, match="Expected a modality 'label' of kind 'category', or of kind 'tokens'"):
        models.ivae(LINEAR.modalities, ppl=ppl)
    with pytest.raises(OptionError, match=r"Expected prior among \('conditional', 'normal'\); got 'vamp'"):
        models.ivae(LABELLED.modalities, ppl=ppl, prior="vamp")


@pytest.mark.parametrize("aggregation", ["self_attention", "product"])
def test_a_hidden_private_latent_has_its_prior_given_z(small, ppl, aggregation):
    """What the guide says of the private latents of hidden modalities is what the model says, to the last bit."""
    options = {"aggregation": aggregation, "private": 1, "private_prior": "conditional", "family": "laplace"}
    program = small("masked", LINEAR.modalities, **options)
    fitted = fit(program, LINEAR.train, epochs=1, batch_size=64, learning_rate=1e-2, progress=False)
    rows, host = LINEAR.test[:6], ppl.host
    seen = rows.only("a")
    z = {n: np.asarray(x) for n, x in host.latents(fitted.model, fitted.guide, seen, 3, 0, np.zeros(6, bool)).items()}
    other = {**z, "b.private": z["b.private"] + 1.0}

    def prior(hidden):
        return host.scores(fitted.model, {n: _like(ppl, x) for n, x in hidden.items()}, seen.only())[1]

    def guide(hidden, batch):
        return host.guide_log_prob(fitted.guide, {n: _like(ppl, x) for n, x in hidden.items()}, batch)

    moved = prior(other) - prior(z)
    np.testing.assert_allclose(guide(other, seen) - guide(z, seen), moved, rtol=1e-4, atol=1e-5)
    assert np.abs(guide(other, rows) - guide(z, rows) - moved).max() > 1e-3
    # The prior follows z: a standard one would move alike wherever z is.
    elsewhere = {n: x + (n == "z") for n, x in z.items()}
    assert np.abs(prior({**elsewhere, "b.private": other["b.private"]}) - prior(elsewhere) - moved).max() > 1e-3
