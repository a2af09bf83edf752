"""Calibrated likelihoods: draws in the support, scales that are learned, units of the data that do not matter."""

import numpy as np
import pytest
from scipy import stats

from mmppl import Batch, Modality, models, nets
from mmppl.data.linear_gaussian import LinearGaussian
from mmppl.errors import ModalityError
from mmppl.inference import Fitted, Program, fit, generate, log_likelihood
from mmppl.inference.training.moments import Statistics
from mmppl.inference.training.standardization import standardization
from mmppl.likelihoods import discretized_logistic

RNG = np.random.default_rng(0)


def test_defaults_of_kinds():
    vector, image = Modality((3,)), Modality((3, 4, 4), kind="image")
    assert (vector.likelihood, vector.scale, vector.scale_shape) == ("normal", "learned", (3,))
    assert (image.likelihood, image.scale, image.scale_shape) == ("discretized_logistic", "learned", (3, 1, 1))
    assert Modality((3, 4, 4), kind="image", likelihood="laplace").scale == "learned"
    with pytest.raises(
        ModalityError, match="Expected scale='learned' or a number for 'zero_inflated_negative_binomial'"
    ):
        Modality((3,), likelihood="zero_inflated_negative_binomial", scale="heteroscedastic")


@pytest.mark.parametrize("scale", [1e-4, 0.01, 0.2, 5.0, 1e3])
@pytest.mark.parametrize("loc", [-0.5, 0.0, 0.3, 1.0, 2.0])
def test_a_discretised_logistic_sums_to_one(loc, scale):
    levels = np.linspace(0.0, 1.0, 256)
    values = [np.float64(loc), np.float64(scale)]
    log_prob = discretized_logistic.log_prob(levels, *values)
    assert np.isfinite(log_prob).all()
    np.testing.assert_allclose(np.exp(log_prob).sum(), 1.0, rtol=1e-4)
    mean = float(discretized_logistic.mean(*values))
    np.testing.assert_allclose(mean, (np.exp(log_prob) * levels).sum(), atol=2.1e-3)  # half a level


def test_draws_are_levels_with_the_probabilities_that_are_scored(ppl):
    loc, scale, number = 0.1, 0.08, 40_000
    fitted = levels_of(ppl, loc, scale)
    draws = generate(fitted, num=number, seed=1)["x"].reshape(-1)
    np.testing.assert_allclose(draws * 255, np.round(draws * 255), atol=1e-4)
    levels = np.linspace(0.0, 1.0, 256)
    edges = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
    wanted = np.diff(stats.logistic.cdf(edges, loc, scale))
    found = np.bincount(np.round(draws * 255).astype(int), minlength=256)
    kept = wanted * number > 20
    chi2 = ((found - wanted * number)[kept] ** 2 / (wanted * number)[kept]).sum()
    assert stats.chi2.sf(chi2, kept.sum() - 1) > 1e-4


def levels_of(ppl, loc, scale):
    """A program whose decoder answers a location and a scale, whatever z is."""

    def model(batch):
        with ppl.plate(batch):
            z = ppl.host.sample("z", ppl.host.dist.Normal(ppl.host.zeros(1), 1.0).to_event(1))
            output = 0.0 * z[..., None, None] + loc
            ppl.observe("x", ppl.likelihood(Modality((1, 1, 1), kind="image", scale=scale), output), batch)

    def guide(batch):
        with ppl.plate(batch):
            ppl.host.sample("z", ppl.host.dist.Normal(ppl.host.zeros(1), 1.0).to_event(1))

    return Fitted(Program(model, guide, ppl.ELBO(), ppl, {"x": Modality((1, 1, 1), kind="image", scale=scale)}), {})


@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_units_change_draws_by_their_factor_and_log_likelihoods_by_their_jacobian(ppl, factor):
    truth = LinearGaussian(1, {"a": 2, "b": 1}, seed=0)
    data = Batch({name: x.astype(np.float32) for name, x in truth.sample(64, seed=1).values.items()})
    other = Batch({"a": (data["a"] * factor).astype(np.float32), "b": data["b"]})
    modalities = {"a": Modality((2,)), "b": Modality((1,))}
    out = []
    for rows in (data, other):
        program = models.mvae(modalities, ppl=ppl, latent_dim=1, hidden=8)
        fitted = fit(program, rows, epochs=20, learning_rate=1e-2, seed=0, progress=False)
        draws = generate(fitted, rows[:4].only("b"), num=3, want=["a"], seed=0)["a"]
        out.append((draws, log_likelihood(fitted, rows[:4], num=50, seed=0).value))
    np.testing.assert_allclose(out[1][0], factor * out[0][0], rtol=1e-2, atol=1e-2 * factor)
    np.testing.assert_allclose(out[1][1], out[0][1] - 2 * np.log(factor), atol=0.05)


def test_networks_that_come_fitted_keep_their_units(ppl):
    """Coders of a system, fitted before to other rows of the same units."""
    x = Batch({"a": (5.0 + 3.0 * RNG.standard_normal((64, 2))).astype(np.float32)})
    other = Batch({"a": (x["a"] - 100.0).astype(np.float32)})
    modalities = {"a": Modality((2,))}
    coders = {
        f"a.{part}": ppl.build(getattr(nets, part)(modalities["a"], *size), seed=0)
        for part, size in (("encoder", (1, 4, None)), ("decoder", (1, 4)))
    }

    def model(batch):
        with ppl.plate(batch):
            z = ppl.host.sample("z", ppl.host.dist.Normal(ppl.host.zeros(1), 1.0).to_event(1))
            ppl.observe("a", ppl.likelihood(modalities["a"], ppl.net("a.decoder", coders["a.decoder"])(z)), batch)

    def guide(batch):
        with ppl.plate(batch):
            code = ppl.net("a.encoder", coders["a.encoder"])(batch["a"])
            ppl.host.sample("z", ppl.host.dist.Normal(code, 1.0).to_event(1))

    fitted = fit(Program(model, guide, ppl.ELBO(), ppl, modalities), x, epochs=1, progress=False)
    centres = {name: value for name, value in fitted.weights.items() if name.endswith("centre")}
    assert len(centres) == 2
    for value in centres.values():
        np.testing.assert_allclose(value, x["a"].mean(0), rtol=1e-5)
    again = standardization(Statistics(other, modalities), fitted.weights)
    assert again == {}


def test_constant_columns_are_named(ppl):
    x = RNG.standard_normal((32, 3)).astype(np.float32)
    x[:, 1] = 4.0
    program = models.mvae({"a": Modality((3,))}, ppl=ppl, latent_dim=1, hidden=4)
    with pytest.warns(UserWarning, match=r"Modality 'a' is constant in the training data at \[1\]"):
        fitted = fit(program, Batch({"a": x}), epochs=1, progress=False)
    assert all(np.isfinite(w).all() for w in fitted.weights.values())


def test_a_heteroscedastic_scale_is_that_of_the_input(ppl):
    """Noise of 0.1 or 1, told by the sign of another modality, which the decoder sees."""
    sign = np.sign(RNG.standard_normal((2048, 1))).astype(np.float32)
    noise = np.where(sign > 0, 1.0, 0.1) * RNG.standard_normal((2048, 1))
    data = Batch({"x": noise.astype(np.float32), "sign": sign})
    modalities = {"x": Modality((1,), scale="heteroscedastic"), "sign": Modality((1,), scale=1.0)}
    decoder = ppl.build(nets.decoder(modalities["x"], 1, hidden=16), seed=0)

    def model(batch):
        with ppl.plate(batch):
            z = ppl.host.sample("z", ppl.host.dist.Normal(ppl.host.zeros(1), 1.0).to_event(1))
            ppl.observe("sign", ppl.likelihood(modalities["sign"], z), batch)
            ppl.observe("x", ppl.likelihood(modalities["x"], ppl.net("x.decoder", decoder)(z)), batch)

    def guide(batch):
        with ppl.plate(batch):
            ppl.host.sample("z", ppl.host.dist.Normal(batch["sign"], 0.1).to_event(1))

    program = Program(model, guide, ppl.ELBO(), ppl, modalities)
    fitted = fit(program, data, epochs=60, learning_rate=1e-2, progress=False)
    given = Batch({"sign": np.array([[1.0], [-1.0]], np.float32)})
    draws = generate(fitted, given, num=2000, want=["x"])["x"][..., 0]
    wide, narrow = draws.std(0)
    assert 0.9 < wide < 1.1
    assert 0.08 < narrow < 0.15
