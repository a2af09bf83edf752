"""Evidence by every method: exact of linear-Gaussian programs from poor guides, by quadrature, by long annealing."""

import numpy as np
import pytest
from scipy import stats

from mmppl import Batch, Modality, models
from mmppl.data import load
from mmppl.data.linear_gaussian import LinearGaussian
from mmppl.diagnostics.likelihood import likelihood_of_rows, log_levels
from mmppl.diagnostics.report.tables import likelihood_lines
from mmppl.errors import OptionError
from mmppl.inference import Fitted, Program, fit, log_likelihood
from mmppl.inference.posterior.annealing import inverse_temperatures
from mmppl.inference.posterior.evidence import fitted_normals, summarise
from mmppl.likelihoods import discretized_logistic


def program(ppl, truth, width):
    """The exact program with a guide of one width that knows nothing of the data."""
    host = ppl.host
    example = host.zeros(1)

    def to(x):
        from mmppl._backend import get_backend

        return get_backend(example).asarray(x, like=example)

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", host.dist.Normal(host.zeros(truth.latent_dim), 1.0).to_event(1))
            for name in batch.modalities:
                loc = z @ to(truth.weight[name].T) + to(truth.bias[name])
                ppl.observe(name, host.dist.Normal(loc, truth.noise[name]).to_event(1), batch)

    def guide(batch):
        with ppl.plate(batch):
            loc = 0.0 * next(iter(batch.values.values())).sum(-1)[..., None] + host.zeros(truth.latent_dim) + 0.5
            host.sample("z", host.dist.Normal(loc, width).to_event(1))

    return Fitted(Program(model, guide, ppl.ELBO(), ppl, truth.modalities), {})


@pytest.mark.parametrize(("dim", "width"), [(2, 2.0), (64, 0.6)])
def test_the_evidence_is_exact_from_a_poor_guide(ppl, double, dim, width):
    """Within three of its own errors, by every method whose diagnosis holds: 64 latents, and a guide far off."""
    truth = LinearGaussian(dim, {"a": 2 * dim, "b": dim}, seed=0)
    data = truth.sample(6, seed=1).with_present({"a": np.arange(6) != 1, "b": np.arange(6) != 2})
    fitted, exact = program(ppl, truth, width), truth.evidence(data)
    plain = log_likelihood(fitted, data, num=500, seed=0)
    assert not plain.trusted
    for method, sizes in {"normal": {"num": 256}, "annealed": {"num": 64, "steps": 8}, "auto": {"num": 500}}.items():
        found = log_likelihood(fitted, data, method=method, seed=0, **sizes)
        assert found.trusted
        np.testing.assert_array_less(np.abs(found.value - exact), 3 * found.error + 1e-9)
        assert abs(found.mean - exact.mean()) < 3 * found.mean_error + 1e-9
        assert set(found.method) <= ({method} if method != "auto" else {"importance", "normal"})
    # With "auto" what the guide serves is left to it, and nothing else.
    served = plain.pareto_k <= 0.7
    assert ((found.method == "importance") == served).all()
    np.testing.assert_allclose(found.value[served], plain.value[served])


def bent(ppl, noise):
    """Latents seen through their squares: posteriors with two modes, of which a guide knows nothing."""
    host, dist = ppl.host, ppl.host.dist

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", dist.Normal(host.zeros(2), 1.0).to_event(1))
            ppl.observe("x", dist.Normal(z * z + 0.3 * z, noise).to_event(1), batch)

    def guide(batch):
        with ppl.plate(batch):
            host.sample("z", dist.Normal(0.0 * batch["x"] + 0.2, 0.3).to_event(1))

    return Fitted(Program(model, guide, ppl.ELBO(), ppl, {"x": Modality((2,))}), {})


@pytest.mark.parametrize("noise", [0.5, 0.2])
def test_the_evidence_of_posteriors_with_modes_far_apart(ppl, double, noise):
    """Against the trapezoid rule, of each coordinate by itself; the guide sits between the modes, or in one of them.

    At the smaller noise the walls between the four modes are of 50 to 100 nats and more.
    """
    x = np.array([[0.0, 0.1], [0.6, 1.5], [2.0, 0.2], [2.0, 2.0], [3.0, 3.0]])
    z = np.linspace(-8.0, 8.0, 8001)
    each = stats.norm.pdf(x[..., None], z * z + 0.3 * z, noise) * stats.norm.pdf(z)
    exact = np.log(np.trapezoid(each, z, axis=-1)).sum(-1)
    found = log_likelihood(bent(ppl, noise), Batch({"x": x}), method="auto", seed=0)
    told = ~np.isnan(found.error)
    assert told.sum() >= 4
    np.testing.assert_array_less(np.abs(found.value - exact)[told], 3 * found.error[told])


def test_it_agrees_with_a_long_annealing_on_a_trained_decoder(ppl):
    digits = load("polydigits")
    rows = digits.train.select("ink")[:300]
    modalities = {n: digits.modalities[n] for n in rows.modalities}
    system = models.mvae(modalities, ppl=ppl, latent_dim=8, hidden=32, scale="heteroscedastic")
    fitted = fit(system, rows, epochs=6, batch_size=50, progress=False)
    data = digits.test.select("ink")[:4]
    found = log_likelihood(fitted, data, method="auto")
    long = log_likelihood(fitted, data, method="annealed", num=64, steps=60, seed=1)
    assert found.trusted
    assert long.trusted
    np.testing.assert_array_less(np.abs(found.value - long.value), 3 * np.hypot(found.error, long.error))
    plain = log_likelihood(fitted, data)
    assert (plain.value < long.value - 3 * long.error).any()
    assert not plain.trusted


def test_the_fit_of_a_normal_is_its_own(ppl, double):
    """Chains and scores of a normal posterior give its mean and covariance, from four fits."""
    truth = LinearGaussian(8, {"a": 12}, seed=3)
    data = truth.sample(3, seed=1)
    fits = fitted_normals(program(ppl, truth, 2.0), data, 8192, 0)
    mean, cov = truth.posterior(data)
    np.testing.assert_allclose(fits.normal.mean, mean, atol=1e-4)
    np.testing.assert_allclose(fits.normal.scale @ fits.normal.scale.swapaxes(-1, -2), cov, atol=1e-4)


def test_what_is_given_is_taken_off(ppl):
    truth = LinearGaussian(2, {"a": 3, "b": 2}, seed=0)
    data = Batch({n: x.astype(np.float32) for n, x in truth.sample(4, seed=1).values.items()})
    found = log_likelihood(program(ppl, truth, 1.5), data, method="annealed", num=64, steps=8, given=["a"], seed=0)
    exact = truth.evidence(data) - truth.evidence(data.only("a"))
    np.testing.assert_array_less(np.abs(found.value - exact), 4 * found.error + 1e-4)
    assert set(found.method) == {"annealed"}


def test_data_that_no_method_serves_are_counted(ppl):
    truth = LinearGaussian(2, {"a": 3}, seed=0)
    data = Batch({"a": truth.sample(5, seed=1)["a"].astype(np.float32)})
    fitted = program(ppl, truth, 0.1)
    found = likelihood_of_rows(fitted, data, None, 20, 0)  # fewer than 25 weights have no k, so annealing serves all
    assert (found["methods"], found["untrusted"], found["trusted"]) == ({"annealed": 5}, 0, True)
    assert found["density"] == found["value"]
    assert "method='auto' may do" in repr(log_likelihood(fitted, data, num=200))
    found |= {"untrusted": 2, "share_k_above_0.7": 0.4}
    assert likelihood_lines(found) == ["5 by annealed; PSIS k above 0.7 with every method for 2 of 5"]


def test_masses_of_levels_are_told_as_densities(ppl):
    """The mass of a step over its width is the density that a normal of the same picture has."""
    modalities = {"x": Modality((1, 2, 2), kind="image"), "y": Modality((3,))}
    fitted = Fitted(models.mvae(modalities, ppl=ppl, latent_dim=2, hidden=4), {})
    batch = Batch({"x": np.zeros((2, 1, 2, 2)), "y": np.zeros((2, 3))}, {"x": np.array([True, False])})
    np.testing.assert_allclose(log_levels(fitted, batch), [4 * np.log(255.0), 0.0])
    levels = np.arange(256) / 255.0
    mass = np.exp(discretized_logistic.log_prob(levels, np.float64(0.4), np.float64(0.05)))
    np.testing.assert_allclose((mass * 255)[60:160], stats.logistic.pdf(levels, 0.4, 0.05)[60:160], rtol=1e-3)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_datum_without_any_weight_has_an_infinite_error():
    weights = np.stack([np.full(100, -np.inf), np.random.default_rng(0).normal(size=100)], axis=1)
    found = summarise(weights, None, "importance")
    assert (found.value[0], found.error[0]) == (-np.inf, np.inf)
    np.testing.assert_allclose(found.value[1], np.log(np.exp(weights[:, 1]).mean()))


def test_the_path_is_from_the_guide_to_the_posterior():
    path = inverse_temperatures(50)
    assert (path[0], path[-1]) == (0.0, 1.0)
    assert (np.diff(path) > 0).all()


def test_what_has_no_chains_says_what_it_has(ppl):
    truth = LinearGaussian(2, {"a": 3}, seed=0)
    data = truth.sample(4, seed=1)
    with pytest.raises(OptionError, match="Unknown method 'bridge'; expected one of importance, normal, annealed"):
        log_likelihood(program(ppl, truth, 1.0), data, method="bridge")
    with pytest.raises(OptionError, match="Expected steps >= 1; got 0"):
        log_likelihood(program(ppl, truth, 1.0), data, method="annealed", steps=0)
    score = models.mld(truth.modalities, ppl=ppl, hidden=4, width=4, depth=1, autoencoder="vae")
    fitted = Fitted(score, ppl.host.Trainer(score, data, seed=0, learning_rate=1.0, clip=None, ema=0.0).weights())
    with pytest.raises(OptionError, match="Expected method='importance' of 'mld', whose prior's density takes"):
        log_likelihood(fitted, data, method="normal")
