"""Kernels under Pyro's MCMC, against exact posteriors."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS
from pyro.infer.autoguide import init_to_sample
from pyro.infer.mcmc import api
from pyro.ops.stats import effective_sample_size
from scipy import stats

import mmppl.pyro as mm
from mmppl import Batch
from mmppl.data.linear_gaussian import LinearGaussian
from mmppl.errors import OptionError
from mmppl.pyro.density import log_density_per_datum
from mmppl.testing.kernel import KernelContract

TRUTH = LinearGaussian(2, {"a": 3, "b": 2}, seed=0, noise=0.8)
PRESENT = {"a": np.array([True, True, False, False]), "b": np.array([True, False, True, False])}
BATCH = mm.as_batch(Batch(TRUTH.sample(4, seed=1).values, PRESENT))
WEIGHT = {name: torch.as_tensor(w) for name, w in TRUTH.weight.items()}
BIAS = {name: torch.as_tensor(b) for name, b in TRUTH.bias.items()}


def zeros(*shape):
    return torch.zeros(shape, dtype=torch.float64)


def linear(batch, size=None):
    with mm.plate(batch, size):
        z = pyro.sample("z", dist.Normal(zeros(2), 1.0).to_event(1))
        for name in batch.modalities:
            mm.observe(name, dist.Normal(z @ WEIGHT[name].T + BIAS[name], TRUTH.noise[name]).to_event(1), batch)


def run(kernel, *args, warmup_steps=300, num_samples=1500, seed=0, **options):
    pyro.set_rng_seed(seed)
    mcmc = MCMC(kernel, num_samples=num_samples, warmup_steps=warmup_steps, disable_progbar=True, **options)
    mcmc.run(*args)
    return mcmc


def check(draws, truth):
    """The mean of draws ``(chains, draws, ...)`` lies within four Monte-Carlo standard errors of the truth."""
    size = effective_sample_size(draws).numpy()
    draws = draws.numpy()
    error = draws.std((0, 1)) / np.sqrt(size)
    assert error.max() < 0.25
    assert (np.abs(draws.mean((0, 1)) - truth) < 4.0 * error).all()


class TestMALA(KernelContract):
    host = "pyro"
    num_samples = 1500

    def kernel(self, model):
        return mm.MALA(model, step_size=0.5)


class TestULA(KernelContract):
    """Its stationary variance is too wide by a known factor, and the contract holds it to that."""

    host = "pyro"
    num_samples = 1500
    variance = 1.0 / (1.0 - 1.4**2 / 4.0)
    adjusted = False

    def kernel(self, model):
        return mm.ULA(model, step_size=1.4)


class TestSGLD(TestULA):
    def kernel(self, model):
        return mm.SGLD(model, step_size=1.4, decay=0.0)


class TestUnderdampedLangevin(KernelContract):
    """The kernel that keeps most: its momentum, learned scales and step sizes."""

    host = "pyro"
    num_samples = 1000

    def kernel(self, model):
        return mm.UnderdampedLangevin(model, step_size=0.5)


class TestHMC(KernelContract):
    host = "pyro"
    num_samples = 400

    def kernel(self, model):
        return mm.HMC(model, step_size=0.5, num_steps=2)


class TestRandomWalk(KernelContract):
    host = "pyro"
    num_samples = 2500

    def kernel(self, model):
        return mm.RandomWalk(model, step_size=1.0)


class TestAnnealedLangevin(KernelContract):
    host = "pyro"
    num_samples = 1000

    def kernel(self, model):
        return mm.AnnealedLangevin(model, hottest=4.0, step_size=0.5)


class TestTemperedLangevin(KernelContract):
    host = "pyro"
    num_samples = 1500

    def kernel(self, model):
        return mm.TemperedLangevin(model, replicas=2, hottest=3.0, step_size=0.5)


@pytest.mark.parametrize(("kernel", "samples"), [(mm.MALA, 2500), (NUTS, 300)])
def test_posteriors_are_exact_whatever_each_row_has(kernel, samples):
    mcmc = run(kernel(linear), BATCH, num_samples=samples, warmup_steps=300 if kernel is mm.MALA else 100)
    z = mcmc.get_samples(group_by_chain=True)["z"]
    assert z.dtype == torch.float64
    mean, cov = TRUTH.posterior(BATCH)
    check(z, mean)
    centred = z - torch.as_tensor(mean)
    check(centred[..., :, None] * centred[..., None, :], cov)


def test_a_plate_of_a_larger_data_set_leaves_each_posterior_alone():
    z = run(mm.MALA(linear), BATCH, 4000).get_samples(group_by_chain=True)["z"]
    mean, cov = TRUTH.posterior(BATCH)
    check(z, mean)
    check((z - torch.as_tensor(mean)) ** 2, np.diagonal(cov, axis1=-2, axis2=-1))


@pytest.mark.parametrize("cpus", [1, 8], ids=["one after the other", "in processes"])
@pytest.mark.filterwarnings("ignore:num_chains=2 is more than:UserWarning", "ignore:.*fork:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_several_chains(cpus, monkeypatch):
    monkeypatch.setattr(api.mp, "cpu_count", lambda: cpus)
    mcmc = run(mm.MALA(linear), BATCH, warmup_steps=20, num_samples=30, num_chains=2)
    z = mcmc.get_samples(group_by_chain=True)["z"]
    assert z.shape == (2, 30, 4, 2)
    assert mcmc.get_samples()["z"].shape == (60, 4, 2)
    assert not torch.equal(z[0], z[1])
    found = mcmc.diagnostics()
    assert set(found) == {"z", "acceptance rate", "step size", "accept_prob", "log_density", "energy", "diverging"}
    for chain in range(2):
        accept = found["accept_prob"][f"chain {chain}"]
        assert accept.shape == (30, 4)
        torch.testing.assert_close(accept.mean(0), found["acceptance rate"][f"chain {chain}"])
        expected = log_density_per_datum(linear, (BATCH,), {}, {"z": z[chain]})
        torch.testing.assert_close(found["log_density"][f"chain {chain}"], expected)


def test_adaptation_reaches_its_target():
    scale = torch.exp(torch.linspace(-4.0, 4.0, 40, dtype=torch.float64))[:, None]

    def model():
        with pyro.plate("rows", 40):
            pyro.sample("z", dist.Normal(zeros(40, 3), scale).to_event(1))

    mcmc = run(mm.MALA(model), warmup_steps=1500, num_samples=1000)
    accept = mcmc.diagnostics()["acceptance rate"]["chain 0"]
    assert abs(accept.mean() - 0.574) < 0.05
    assert (abs(accept - 0.574) < 0.1).all()


def test_constrained_latents_have_their_moments():
    """Three sites of unequal shapes in one state; without the Jacobian every mean would be wrong."""

    def bounded():
        with pyro.plate("rows", 4):
            pyro.sample("g", dist.Gamma(zeros(1).sum() + 3.0, 2.0))
            pyro.sample("b", dist.Beta(zeros(2) + 2.0, 5.0).to_event(1))
            pyro.sample("d", dist.Dirichlet(torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64)))

    mcmc = run(mm.MALA(bounded, init_strategy=init_to_sample), num_samples=1500)
    draws = mcmc.get_samples(group_by_chain=True)
    assert draws["d"].shape == (1, 1500, 4, 3)
    check(draws["g"], 1.5)
    check((draws["g"] - 1.5) ** 2, 0.75)
    check(draws["b"], 2 / 7)
    check((draws["b"] - 2 / 7) ** 2, 2 * 5 / (7**2 * 8))
    check(draws["d"], np.array([2, 3, 4]) / 9)


def pooled(x):
    mu = pyro.sample("mu", dist.Normal(zeros(1).sum(), 2.0))
    with pyro.plate("rows", 3):
        z = pyro.sample("z", dist.Normal(mu, 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def test_a_global_latent_makes_one_chain_of_the_state():
    x = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    mcmc = run(mm.MALA(pooled), x, num_samples=3000)
    cov_x = 4.0 + np.eye(3) * 1.25
    mean = np.full(3, 4.0) @ np.linalg.solve(cov_x, x.numpy())
    var = 4.0 - np.full(3, 4.0) @ np.linalg.solve(cov_x, np.full(3, 4.0))
    draws = mcmc.get_samples(group_by_chain=True)
    check(draws["mu"], mean)
    check((draws["mu"] - mean) ** 2, var)
    found = mcmc.diagnostics()
    assert found["accept_prob"]["chain 0"].shape == (3000,)
    # One acceptance for all: a draw moves every site or none.
    moved = torch.stack([draws["mu"][0].diff() != 0, *(draws["z"][0].diff(dim=0) != 0).T])
    assert (moved == moved[0]).all()
    last = {name: z[0, -1] for name, z in draws.items()}
    trace = poutine.trace(poutine.condition(pooled, last)).get_trace(x)
    torch.testing.assert_close(found["log_density"]["chain 0"][-1], trace.log_prob_sum())


def test_stochastic_gradients_see_other_rows_at_every_step():
    """The mean of 1000 rows from 100 at a time; with the same rows always, it would be the mean of those."""
    x = torch.as_tensor(np.random.default_rng(0).normal(0.7, 1.0, size=1000))

    def model():
        mu = pyro.sample("mu", dist.Normal(zeros(), 10.0))
        with pyro.plate("rows", 1000, subsample_size=100) as rows:
            pyro.sample("x", dist.Normal(mu, 1.0), obs=x[rows])

    mu = run(mm.SGLD(model, step_size=0.015), warmup_steps=200, num_samples=1500).get_samples()["mu"]
    assert abs(float(mu.mean() - x.mean())) < 0.015  # the mean of 100 rows is off by 0.1
    assert 0.8 < float(mu.std()) * np.sqrt(1000) < 1.6


def test_one_datum_is_refused_while_another_is_accepted():
    scale = torch.tensor([[1.0], [0.01]], dtype=torch.float64)

    def model():
        with pyro.plate("rows", 2):
            pyro.sample("z", dist.Normal(zeros(2, 1), scale).to_event(1))

    pyro.set_rng_seed(0)
    kernel = mm.MALA(model, step_size=0.5, adapt_step_size=False)
    kernel.initial_params = {"z": torch.tensor([[0.1], [0.001]], dtype=torch.float64)}
    kernel.setup(0)
    before = kernel.initial_params
    after = kernel.sample(before)
    assert (after["z"] != before["z"])[:, 0].tolist() == [True, False]
    accept = kernel.state.accept_prob
    assert accept[0] > 0.5
    assert accept[1] < 1e-6
    expected = stats.norm.logpdf(after["z"], 0.0, scale)[:, 0]
    np.testing.assert_allclose(kernel.state.chains.log_density, expected, rtol=1e-10)


def test_log_density_per_datum_counts_masks_and_scales_but_not_the_plates():
    z = np.random.default_rng(0).normal(size=(5, 4, 2))
    expected = stats.norm.logpdf(z).sum(-1)
    for name in BATCH:
        loc = z @ TRUTH.weight[name].T + TRUTH.bias[name]
        expected = expected + stats.norm.logpdf(BATCH[name], loc, TRUTH.noise[name]).sum(-1) * PRESENT[name]
    first, every = {"z": torch.as_tensor(z[0])}, {"z": torch.as_tensor(z)}
    for size in (None, 400):
        np.testing.assert_allclose(log_density_per_datum(linear, (BATCH, size), {}, first), expected[0], rtol=1e-10)
    np.testing.assert_allclose(log_density_per_datum(linear, (BATCH,), {}, every), expected, rtol=1e-10)
    doubled = log_density_per_datum(poutine.scale(linear, 2.0), (BATCH, 400), {}, first)
    np.testing.assert_allclose(doubled, 2.0 * expected[0], rtol=1e-10)


def test_log_density_per_datum_sums_over_plates_within():
    def model():
        with pyro.plate("rows", 2, dim=-1):
            pyro.sample("z", dist.Normal(zeros(2), 1.0))
            with pyro.plate("parts", 3, dim=-2):
                pyro.sample("w", dist.Normal(zeros(3, 2), 1.0))

    z, w = np.array([0.5, -1.0]), np.arange(6.0).reshape(3, 2)
    latents = {"z": torch.as_tensor(z), "w": torch.as_tensor(w)}
    found = log_density_per_datum(model, (), {}, latents)
    np.testing.assert_allclose(found, stats.norm.logpdf(z) + stats.norm.logpdf(w).sum(0), rtol=1e-10)
    kernel = mm.MALA(model)
    kernel.initial_params = latents
    kernel.setup(0)
    np.testing.assert_allclose(kernel.state.chains.log_density, found, rtol=1e-10)
    np.testing.assert_allclose(kernel.state.chains.score, -np.concatenate([z[None], w]).T, rtol=1e-10)


def test_wrong_programs_are_refused():
    def discrete():
        with pyro.plate("rows", 2):
            pyro.sample("k", dist.Bernoulli(0.5))

    with pytest.raises(OptionError, match="Latent 'k' is discrete"):
        mm.MALA(discrete).setup(0)
    with pytest.raises(OptionError, match="got none for .'z'."):
        log_density_per_datum(linear, (BATCH,), {}, {})
    with pytest.raises(OptionError, match="got sites outside it"):
        log_density_per_datum(pooled, (zeros(3),), {}, {"mu": zeros(1).sum(), "z": zeros(3)})
    kernel = mm.MALA(linear)
    kernel.initial_params = {"z": zeros(4, 3)}
    with pytest.raises(OptionError, match="Expected unconstrained initial values of shapes"):
        kernel.setup(0, BATCH)


def test_chains_start_where_they_are_told():
    start = {"z": torch.arange(8.0, dtype=torch.float64).reshape(4, 2)}
    kernel = mm.ULA(linear, step_size=1e-6)
    mcmc = run(kernel, BATCH, warmup_steps=0, num_samples=1, initial_params=start)
    torch.testing.assert_close(mcmc.get_samples()["z"][0], start["z"], atol=1e-4, rtol=0.0)


class Quadratic(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, z):
        assert not self.weight.requires_grad  # kernels ask for gradients of latents only
        return -0.5 * self.weight * (z**2).sum(-1)


@pytest.mark.parametrize("buffer", [0, 300])
def test_an_energy_is_found_and_its_parameters_are_left_alone(buffer, monkeypatch):
    """N(0, 1) tilted by exp(-w z^2 / 2) is N(0, 1 / (1 + w)); no negatives are drawn."""
    energy = Quadratic(3.0)

    def model():
        base = dist.Normal(zeros(2), 1.0).to_event(1)
        prior = mm.EnergyTilted(base, mm.net("energy", energy), mm.LangevinChains(number=10, steps=2, buffer=buffer))
        with pyro.plate("rows", 4):
            pyro.sample("z", prior)

    def negatives(self):
        raise AssertionError("negatives were drawn")

    monkeypatch.setattr(mm.EnergyTilted, "_negatives", negatives)
    start = {"z": zeros(4, 2) + 0.1}
    mcmc = run(mm.MALA(model), num_samples=2000, initial_params=start)
    z = mcmc.get_samples(group_by_chain=True)["z"]
    assert not z.requires_grad
    assert energy.weight.requires_grad
    assert energy.weight.grad is None
    check(z, 0.0)
    check(z**2, 0.25)
