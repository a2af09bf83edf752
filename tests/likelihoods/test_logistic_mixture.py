"""Mixtures of logistics on 256 levels: masses, draws, what a program learns by them, and values that are missing."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from mmppl import Batch, Modality, models
from mmppl._backend import get_backend
from mmppl.diagnostics.likelihood import log_levels
from mmppl.errors import DataError
from mmppl.inference import Fitted, Program, fit, generate, log_likelihood
from mmppl.likelihoods.logistic_mixture import COMPONENTS, OUTPUTS, components

RNG = np.random.default_rng(0)
LEVELS = np.linspace(0.0, 1.0, 256)
EDGES = np.concatenate([[-np.inf], (LEVELS[1:] + LEVELS[:-1]) / 2, [np.inf]])
# Outputs of the decoder for two values: all logits, all locations, all scales of the first component to the last.
OUT = RNG.standard_normal((OUTPUTS, 2))
PIXELS = {"x": Modality((2,), likelihood="discretized_logistic_mixture")}


def masses(out):
    """Probabilities of the levels of each value, ``(2, 256)``, by scipy."""
    a, m, t = out.reshape(3, COMPONENTS, 2)
    loc = special.expit(m + special.logit((np.arange(COMPONENTS) + 0.5) / COMPONENTS)[:, None])
    scale = np.maximum(np.exp(t) / (2 * COMPONENTS), np.exp(-7.0))
    each = np.diff(stats.logistic.cdf(EDGES, loc[..., None], scale[..., None]))
    return (special.softmax(a, 0)[..., None] * each).sum(0)


def answers(ppl, out, modality=PIXELS["x"]):
    """A program whose decoder answers ``out``, whatever z is."""

    def prior():
        return ppl.host.sample("z", ppl.host.dist.Normal(ppl.host.zeros(1), 1.0).to_event(1))

    def model(batch):
        with ppl.plate(batch):
            z = prior()
            output = 0.0 * z + get_backend(z).asarray(out.reshape(-1), like=z)
            ppl.observe("x", ppl.likelihood(modality, output), batch)

    def guide(batch):
        with ppl.plate(batch):
            prior()

    return Fitted(Program(model, guide, ppl.ELBO(), ppl, {"x": modality}), {})


def test_masses_are_those_of_scipy_and_sum_to_one(ppl):
    exact = masses(OUT)
    np.testing.assert_allclose(exact.sum(-1), 1.0)
    rows = Batch({"x": np.stack([LEVELS, LEVELS], -1).astype(np.float32)})
    found = log_likelihood(answers(ppl, OUT), rows, num=2).value
    np.testing.assert_allclose(found, np.log(exact).sum(0), rtol=1e-4)
    np.testing.assert_allclose(log_levels(answers(ppl, OUT), rows[:1]), 2 * np.log(255))


def test_outputs_of_zero_are_spread_over_the_levels(to):
    logits, loc, scale = (np.asarray(x) for x in components([to(np.zeros(3))] * OUTPUTS))
    assert logits.shape == (3, COMPONENTS)
    np.testing.assert_allclose(loc[0], [0.1, 0.3, 0.5, 0.7, 0.9])
    np.testing.assert_allclose(scale, 0.1)
    extreme = [np.asarray(x) for x in components([to(np.full(3, -1e4))] * OUTPUTS)]
    np.testing.assert_allclose(extreme[2], np.exp(-7.0))
    for got, wanted in zip(components([to(x) for x in OUT]), components(list(OUT)), strict=True):
        np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-12)


def test_draws_are_levels_with_these_masses_and_their_mean(ppl):
    fitted, number = answers(ppl, OUT), 20_000
    draws = generate(fitted, num=number, seed=1)["x"]
    np.testing.assert_allclose(draws * 255, np.round(draws * 255), atol=1e-4)
    for i, exact in enumerate(masses(OUT)):
        found, kept = np.bincount(np.round(draws[:, i] * 255).astype(int), minlength=256), exact * number > 20
        chi2 = ((found - exact * number)[kept] ** 2 / (exact * number)[kept]).sum()
        assert stats.chi2.sf(chi2, kept.sum() - 1) > 1e-4
    means = generate(fitted, num=1, mean=True)["x"][0]
    np.testing.assert_allclose(means, masses(OUT) @ LEVELS, atol=2.1e-3)  # half a level


def test_two_levels_of_one_value_are_learned_where_one_logistic_cannot(ppl):
    """A value is 0.2 or 0.8 by chance: log(1/2) nats, of which one logistic loses much."""
    x = RNG.choice([51, 204], (600, 1)).astype(np.float32) / 255
    found = {}
    for name in ("discretized_logistic", "discretized_logistic_mixture"):
        # A beta above 1 leaves z unused: what the likelihood can say is compared.
        modality = {"x": Modality((1,), likelihood=name)}
        program = models.mvae(modality, ppl=ppl, latent_dim=1, hidden=8, beta=20.0)
        fitted = fit(program, Batch({"x": x}), epochs=60, learning_rate=2e-2, progress=False)
        found[name] = log_likelihood(fitted, Batch({"x": x[:100]}), num=20).value.mean()
    assert -1.6 < found["discretized_logistic_mixture"] < np.log(0.5) + 0.05
    assert found["discretized_logistic"] < -4.0


def test_single_values_that_are_missing_score_nothing(ppl):
    values = np.array([[51, 204], [51, 204]], np.float32) / 255
    rows = Batch({"x": values}, {"x": np.array([[True, True], [True, False]])})
    exact, partial = np.log(masses(OUT)), replace(PIXELS["x"], partial=True)
    found = log_likelihood(answers(ppl, OUT, partial), rows, num=2).value
    np.testing.assert_allclose(found, [exact[0, 51] + exact[1, 204], exact[0, 51]], rtol=1e-4)


def test_what_is_no_level_is_refused(ppl):
    program = models.mvae(PIXELS, ppl=ppl, latent_dim=1, hidden=4)
    with pytest.raises(DataError, match=r"expected values in \[0, 1\] for likelihood 'discretized_logistic_mixture'"):
        fit(program, Batch({"x": np.full((4, 2), 1.5, np.float32)}), epochs=1, progress=False)


def test_a_mixture_of_the_hosts_is_a_likelihood_too(ppl):
    """In a program of one's own, with rows that lack the modality."""
    host, weights = ppl.host, np.array([0.3, 0.7])

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", host.dist.Normal(host.zeros(1), 1.0).to_event(1))
            like = get_backend(z).asarray
            parts = host.dist.Normal(0.0 * z[..., None] + like(np.array([-1.0, 2.0]), like=z), 0.5)
            mixture = host.dist.MixtureSameFamily(host.dist.Categorical(like(weights, like=z)), parts)
            ppl.observe("x", mixture.to_event(1), batch)
            ppl.observe("y", host.dist.Normal(0.0 * z, 1.0).to_event(1), batch)

    def guide(batch):
        with ppl.plate(batch):
            host.sample("z", host.dist.Normal(host.zeros(1), 1.0).to_event(1))

    fitted = Fitted(Program(model, guide, ppl.ELBO(), ppl, {"x": Modality((1,)), "y": Modality((1,))}), {})
    rows = Batch({"x": np.array([[-0.7], [0.0]], "f"), "y": np.zeros((2, 1), "f")}, {"x": np.array([True, False])})
    found = log_likelihood(fitted, rows, num=2).value - stats.norm.logpdf(0.0)
    np.testing.assert_allclose(found, [np.log(stats.norm.pdf(-0.7, [-1.0, 2.0], 0.5) @ weights), 0.0], atol=1e-5)
