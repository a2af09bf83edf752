"""Latents outside the plate of the data, through every tool: closed forms of a mean that all rows share."""

from functools import cache

import numpy as np
import pytest
from scipy import stats

from mmppl import Batch, Modality
from mmppl.errors import ObjectiveError, OptionError
from mmppl.inference import generate, infer, log_likelihood, to_arviz
from mmppl.inference.posterior.infer import METHODS
from mmppl.inference.training.fitted import Fitted
from mmppl.inference.training.program import Program
from mmppl.testing import driver

NUM, WIDE = 12, 3.0
ROWS = Batch({"a": np.random.default_rng(1).normal(1.0, 1.4, (NUM, 1)).astype("f")})
PRECISION = 1 / WIDE**2 + NUM / 2
MEAN, DEVIATION = float(ROWS["a"].sum()) / 2 / PRECISION, PRECISION**-0.5


@pytest.fixture(params=["numpyro", "pyro"], scope="module")
def d(request):
    return driver(request.param)


@cache
def shared_mean(d, exact=True):
    """A mean of all rows, a latent of each, and one observation of it; the guide is exact, or the prior of the mean."""
    loc, scale = (MEAN, DEVIATION) if exact else (0.0, WIDE)

    def model(batch):
        mu = d.ppl.sample("mu", d.dist.Normal(d.array(np.float32(0.0)), WIDE))
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(mu, 1.0))
            d.mm.observe("a", d.dist.Normal(z[..., None], 1.0).to_event(1), batch)

    def guide(batch):
        mu = d.ppl.sample("mu", d.dist.Normal(d.array(np.float32(loc)), float(scale)))
        with d.mm.plate(batch):
            here = batch.present["a"] * 1.0
            precision = 1.0 + here
            d.ppl.sample("z", d.dist.Normal((mu + here * batch["a"][..., 0]) / precision, precision**-0.5))

    return Fitted(Program(model, guide, d.mm.ELBO(), d.mm, {"a": Modality((1,))}), {})


def test_log_likelihood_is_the_posterior_predictive(d):
    found = log_likelihood(shared_mean(d, exact=False), ROWS, num=1000)
    expected = stats.norm.logpdf(ROWS["a"][:, 0], 0.0, np.sqrt(WIDE**2 + 2))
    np.testing.assert_allclose(found.value, expected, atol=0.2)
    found = log_likelihood(shared_mean(d), ROWS, num=500)
    expected = stats.norm.logpdf(ROWS["a"][:, 0], MEAN, np.sqrt(DEVIATION**2 + 2))
    np.testing.assert_allclose(found.value, expected, atol=0.1)


@pytest.mark.parametrize("method", ["guide", "importance", "psis"])
def test_independent_draws_of_the_posterior(d, method):
    posterior = infer(shared_mean(d), ROWS, method=method, num_samples=400)
    assert posterior["mu"].shape == (1, 400)
    assert posterior["z"].shape == (1, 400, NUM)
    assert abs(posterior["mu"].mean() - MEAN) < 5 * DEVIATION / 20
    assert abs(posterior["mu"].std() / DEVIATION - 1) < 0.2
    z_mean = (MEAN + ROWS["a"][:, 0]) / 2
    np.testing.assert_allclose(posterior["z"].mean((0, 1)), z_mean, atol=0.2)
    # Rows share the mean, and so are correlated.
    draws = posterior["z"][0]
    cov = np.cov(draws.T)[np.triu_indices(NUM, 1)].mean()
    assert abs(cov - DEVIATION**2 / 4) < 0.03


@pytest.mark.parametrize("method", ["hmc", "nuts", "joint_hmc"])
def test_chains_move_all_data_together(d, method):
    options = {"hmc": {"num_steps": 12}, "joint_hmc": {"trajectory_length": 2.0}}.get(method, {})
    posterior = infer(shared_mean(d), ROWS, method=method, num_chains=2, num_samples=200, num_warmup=150, **options)
    assert posterior["mu"].shape == (2, 200)
    assert abs(posterior["mu"].mean() - MEAN) < 0.35 * DEVIATION
    assert abs(posterior["mu"].std() / DEVIATION - 1) < 0.3
    idata = posterior.to_arviz(num_predictive=3, num_prior=5)
    assert idata["posterior"]["mu"].dims == ("chain", "draw")
    assert idata["posterior"]["z"].dims == ("chain", "draw", "datum")
    assert idata["prior"]["mu"].shape == (1, 5)


# Largest distances of mean and deviation, in deviations: kernels without a correction are off by their step sizes.
CLOSE = {
    **dict.fromkeys(("mala", "random_walk", "underdamped", "annealed", "tempered"), (0.5, 0.3)),
    "ula": (0.9, 0.4),
    "sgld": (0.9, 0.7),
}


@pytest.mark.parametrize("method", CLOSE)
@pytest.mark.filterwarnings("ignore::mmppl.errors.PosteriorWarning")
def test_every_kernel_draws_what_all_rows_share(d, method):
    posterior = infer(shared_mean(d), ROWS, method=method, num_chains=4, num_samples=300, num_warmup=200)
    assert posterior["mu"].shape == (4, 300)
    mean, deviation = CLOSE[method]
    assert abs(posterior["mu"].mean() - MEAN) < mean * DEVIATION
    assert abs(posterior["mu"].std() / DEVIATION - 1) < deviation


def test_every_method_is_tried():
    assert {*CLOSE, "guide", "importance", "psis", "refine", "hmc", "nuts", "joint_hmc"} == set(METHODS)


def test_draws_of_the_prior_have_values_of_their_own(d):
    fitted = shared_mean(d)
    draws = generate(fitted, num=1000)["a"]
    assert draws.shape == (1000, 1)
    assert abs(draws.std() / np.sqrt(WIDE**2 + 2) - 1) < 0.12
    idata = to_arviz(fitted, ROWS, kernel=None, num_samples=20)
    assert idata["posterior"]["mu"].dims == ("chain", "draw")


def test_rows_without_data_follow_what_the_others_say(d):
    """Given some rows, the others are drawn under the mean that these tell of."""
    hidden = Batch(dict(ROWS.values), {"a": np.arange(NUM) > 0})
    draws = generate(shared_mean(d), hidden, num=1000)["a"]
    assert abs(draws[:, 0].mean() - MEAN) < 0.25
    assert abs(draws[:, 0].std() / np.sqrt(DEVIATION**2 + 2) - 1) < 0.12
    np.testing.assert_array_equal(draws[:, 1:], np.broadcast_to(ROWS["a"][1:], draws[:, 1:].shape))


def test_what_takes_each_datum_by_itself_is_refused(d):
    fitted = shared_mean(d)
    with pytest.raises(OptionError, match=r"Refinement takes each datum by itself, but latents \['mu'\]"):
        infer(fitted, ROWS, method="refine", num_samples=3)
    with pytest.raises(OptionError, match="A seed for each datum takes each datum by itself"):
        infer(fitted, ROWS, method="guide", num_samples=3, seed=list(range(NUM)))


def beside(d, tied):
    """A latent and an observation of each row, and outside the plate a factor, of the latents or of its own."""

    def model(batch):
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(d.array(np.float32(0.0)), 1.0))
            d.mm.observe("a", d.dist.Normal(z[..., None] + 0.0 * batch["a"], 1.0).to_event(1), batch)
        d.ppl.factor("whole", (z.sum() if tied else 0.0) + d.array(np.float32(3.0)))

    def guide(batch):
        with d.mm.plate(batch):
            d.ppl.sample("z", d.dist.Normal(batch["a"][..., 0] / 2, 0.8))

    return Fitted(Program(model, guide, d.mm.ELBO(), d.mm, {"a": Modality((1,))}), {})


def test_a_factor_outside_leaves_each_datum_its_weights_or_is_refused(d):
    alone = beside(d, tied=False)
    found = log_likelihood(alone, ROWS, num=500)
    np.testing.assert_allclose(found.value, stats.norm.logpdf(ROWS["a"][:, 0], 0.0, 2**0.5), atol=0.1)
    drawn = infer(alone, ROWS, method="importance", num_samples=300)["z"][0]
    np.testing.assert_allclose(drawn.mean(0), ROWS["a"][:, 0] / 2, atol=0.2)
    with pytest.raises(ObjectiveError, match="Expected sites outside the plate .* do not depend on latents inside"):
        log_likelihood(beside(d, tied=True), ROWS, num=30)


def test_latents_in_a_plate_within_the_datas_have_draws_and_weights(d):
    """Three views of a row, each with a latent: draws, weights and decoders against closed forms."""

    def program(batch, model):
        with d.mm.plate(batch):
            with d.ppl.plate("views", 3, dim=-2):
                one = d.array(np.float32(1.0))
                v = d.ppl.sample("v", d.dist.Normal(0.0 * one if model else 0.3 * one, 1.0 if model else 0.9))
            if model:
                d.mm.observe("a", d.dist.Normal(v.sum(-2)[..., None], 1.0).to_event(1), batch)

    fitted = Fitted(
        Program(lambda b: program(b, True), lambda b: program(b, False), d.mm.ELBO(), d.mm, {"a": Modality((1,))}), {}
    )
    found = log_likelihood(fitted, ROWS, num=1000)
    np.testing.assert_allclose(found.value, stats.norm.logpdf(ROWS["a"][:, 0], 0.0, 2.0), atol=0.4)
    posterior = infer(fitted, ROWS, method="psis", num_samples=250)
    assert posterior["v"].shape == (1, 250, 3, NUM)
    np.testing.assert_allclose(posterior["v"].sum(-2).mean((0, 1)), 0.75 * ROWS["a"][:, 0], atol=0.5)
    assert abs(generate(fitted, num=1000)["a"].std() / 2 - 1) < 0.14
