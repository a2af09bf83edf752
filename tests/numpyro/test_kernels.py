"""Kernels under NumPyro's MCMC, against exact posteriors."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import MCMC, NUTS, init_to_sample
from numpyro.infer.hmc_util import build_adaptation_schedule, dual_averaging
from numpyro.infer.util import log_density
from scipy import stats

import mmppl.numpyro as mm
from mmppl import Batch
from mmppl.data.linear_gaussian import LinearGaussian
from mmppl.errors import OptionError
from mmppl.inference.kernels import adaptation, mass
from mmppl.numpyro.density import log_density_per_datum
from mmppl.testing.kernel import KernelContract

TRUTH = LinearGaussian(2, {"a": 3, "b": 2}, seed=0, noise=0.8)
PRESENT = {"a": np.array([True, True, False, False]), "b": np.array([True, False, True, False])}
BATCH = Batch(TRUTH.sample(4, seed=1).values, PRESENT)

pytestmark = pytest.mark.usefixtures("x64")


def linear(batch, size=None):
    with mm.plate(batch, size):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
        for name in batch.modalities:
            loc = z @ TRUTH.weight[name].T + TRUTH.bias[name]
            mm.observe(name, dist.Normal(loc, TRUTH.noise[name]).to_event(1), batch)


def mcmc(kernel, num_warmup=300, num_samples=2000, num_chains=2, chain_method="vectorized", **options):
    return MCMC(
        kernel,
        num_warmup=num_warmup,
        num_samples=num_samples,
        num_chains=num_chains,
        chain_method=chain_method,
        progress_bar=False,
        **options,
    )


def check(draws, truth):
    """The mean of draws ``(chains, draws, ...)`` lies within four Monte-Carlo standard errors of the truth."""
    draws = np.asarray(draws)
    error = draws.std((0, 1)) / np.sqrt(effective_sample_size(draws))
    assert error.max() < 0.2
    assert (np.abs(draws.mean((0, 1)) - truth) < 4.0 * error).all()


class TestMALA(KernelContract):
    host = "numpyro"

    def kernel(self, model):
        return mm.MALA(model, step_size=0.5)


class TestULA(KernelContract):
    """Its stationary variance is too wide by a known factor, and the contract holds it to that."""

    host = "numpyro"
    variance = 1.0 / (1.0 - 0.8**2 / 4.0)
    adjusted = False

    def kernel(self, model):
        return mm.ULA(model, step_size=0.8)


class TestSGLD(TestULA):
    def kernel(self, model):
        return mm.SGLD(model, step_size=0.8, decay=0.0)


class TestUnderdampedLangevin(KernelContract):
    """The kernel that keeps most: its momentum, learned scales and step sizes."""

    host = "numpyro"

    def kernel(self, model):
        return mm.UnderdampedLangevin(model, step_size=0.5)


class TestHMC(KernelContract):
    host = "numpyro"

    def kernel(self, model):
        return mm.HMC(model, step_size=0.5, num_steps=2)


class TestRandomWalk(KernelContract):
    host = "numpyro"

    def kernel(self, model):
        return mm.RandomWalk(model, step_size=1.0)


class TestAnnealedLangevin(KernelContract):
    host = "numpyro"

    def kernel(self, model):
        return mm.AnnealedLangevin(model, hottest=4.0, step_size=0.5)


class TestTemperedLangevin(KernelContract):
    host = "numpyro"

    def kernel(self, model):
        return mm.TemperedLangevin(model, replicas=2, hottest=3.0, step_size=0.5)


def test_the_windows_of_warm_up_are_the_hosts():
    for num_warmup in (20, 100, 149, 150, 151, 400, 1000):
        theirs = build_adaptation_schedule(num_warmup)[1:-1]
        assert mass.windows(num_warmup) == [(window.start, window.end + 1) for window in theirs]


@pytest.mark.parametrize("kernel", [mm.MALA, NUTS])
def test_posteriors_are_exact_whatever_each_row_has(kernel):
    run = mcmc(kernel(linear))
    run.run(jax.random.key(0), BATCH)
    z = np.asarray(run.get_samples(group_by_chain=True)["z"])
    mean, cov = TRUTH.posterior(BATCH)
    check(z, mean)
    centred = z - mean
    check(centred[..., :, None] * centred[..., None, :], cov)


def test_a_plate_of_a_larger_data_set_leaves_each_posterior_alone():
    run = mcmc(mm.MALA(linear))
    run.run(jax.random.key(1), BATCH, 4000)
    check(run.get_samples(group_by_chain=True)["z"], TRUTH.posterior(BATCH)[0])
    check(
        (run.get_samples(group_by_chain=True)["z"] - TRUTH.posterior(BATCH)[0]) ** 2,
        np.diagonal(TRUTH.posterior(BATCH)[1], axis1=-2, axis2=-1),
    )


@pytest.mark.parametrize("chain_method", ["sequential", "vectorized", "parallel"])
@pytest.mark.filterwarnings("ignore:There are not enough devices")
def test_every_way_to_run_chains(chain_method):
    run = mcmc(
        mm.MALA(linear, init_strategy=init_to_sample),
        num_warmup=20,
        num_samples=30,
        num_chains=3,
        chain_method=chain_method,
    )
    run.run(jax.random.key(0), BATCH, extra_fields=("accept_prob", "step_size", "adapt_state.count"))
    assert run.get_samples()["z"].shape == (90, 4, 2)
    assert run.get_samples(group_by_chain=True)["z"].shape == (3, 30, 4, 2)
    fields = run.get_extra_fields(group_by_chain=True)
    assert fields["accept_prob"].shape == fields["step_size"].shape == (3, 30, 4)
    assert (fields["adapt_state.count"] == 20).all()
    assert (fields["step_size"] == fields["step_size"][:, :1]).all()  # kept after warm-up
    assert len(np.unique(fields["step_size"])) == 12  # every datum of every chain has its own


def test_adaptation_reaches_its_target():
    many = mm.as_batch(Batch({"x": np.zeros((40, 1))}))

    def model(batch):
        scale = jnp.exp(jnp.linspace(-4.0, 4.0, 40))
        with mm.plate(batch):
            numpyro.sample("z", dist.Normal(jnp.zeros((40, 3)), scale[:, None]).to_event(1))

    for target in (0.574, 0.8):
        run = mcmc(mm.MALA(model, target_accept_prob=target), num_warmup=2000, num_samples=1000, num_chains=1)
        run.run(jax.random.key(0), many)
        accept = np.asarray(run.last_state.mean_accept_prob)
        assert abs(accept.mean() - target) < 0.05
        np.testing.assert_allclose(accept, target, atol=0.1)


def test_adaptation_is_the_hosts_dual_averaging():
    accept = np.random.default_rng(0).random(50)
    begin, update = dual_averaging()
    theirs, ours = begin(np.log(10 * 0.1)), adaptation.start(0.1, jnp.zeros(()))
    for a in accept:
        theirs, ours = update(0.574 - a, theirs), adaptation.update(ours, jnp.asarray(a), 0.574)
        np.testing.assert_allclose(ours.log_step, theirs[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(ours.log_average, theirs[1], rtol=1e-4, atol=1e-5)


def bounded(batch):
    with mm.plate(batch):
        numpyro.sample("g", dist.Gamma(3.0, 2.0))
        numpyro.sample("b", dist.Beta(2.0, 5.0).expand([2]).to_event(1))
        numpyro.sample("d", dist.Dirichlet(jnp.array([2.0, 3.0, 4.0])))


def test_constrained_latents_have_their_moments():
    """Three sites of unequal shapes in one state; without the Jacobian every mean would be wrong."""
    run = mcmc(mm.MALA(bounded))
    run.run(jax.random.key(0), BATCH)
    draws = run.get_samples(group_by_chain=True)
    assert draws["d"].shape == (2, 2000, 4, 3)
    check(draws["g"], 1.5)
    check((draws["g"] - 1.5) ** 2, 0.75)
    check(draws["b"], 2 / 7)
    check((draws["b"] - 2 / 7) ** 2, 2 * 5 / (7**2 * 8))
    check(draws["d"], np.array([2, 3, 4]) / 9)
    state = run.last_state
    assert {name: z.shape for name, z in state.z.items()} == {"g": (2, 4), "b": (2, 4, 2), "d": (2, 4, 2)}
    assert state.score.shape == (2, 4, 5)


def pooled(x):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    with numpyro.plate("rows", 3):
        z = numpyro.sample("z", dist.Normal(mu, 1.0))
        numpyro.sample("x", dist.Normal(z, 0.5), obs=x)


def test_a_global_latent_makes_one_chain_of_the_state():
    x = jnp.array([1.0, 2.0, 4.0])
    run = mcmc(mm.MALA(pooled))
    run.run(jax.random.key(0), x, extra_fields=("accept_prob", "log_density"))
    cov_x = 4.0 + np.eye(3) * 1.25
    mean = np.full(3, 4.0) @ np.linalg.solve(cov_x, x)
    var = 4.0 - np.full(3, 4.0) @ np.linalg.solve(cov_x, np.full(3, 4.0))
    draws = run.get_samples(group_by_chain=True)
    check(draws["mu"], mean)
    check((draws["mu"] - mean) ** 2, var)
    fields = run.get_extra_fields(group_by_chain=True)
    assert fields["accept_prob"].shape == (2, 2000)
    # One acceptance for all: a draw moves every site or none.
    moved = np.stack([np.diff(draws["mu"]) != 0, *np.moveaxis(np.diff(draws["z"], axis=1) != 0, -1, 0)])
    assert (moved == moved[0]).all()
    assert 0.3 < moved.mean() < 0.9
    last = {name: z[0, -1] for name, z in draws.items()}
    np.testing.assert_allclose(fields["log_density"][0, -1], log_density(pooled, (x,), {}, last)[0], rtol=1e-10)


def test_stochastic_gradients_see_other_rows_at_every_step():
    """The mean of 1000 rows from 100 at a time; with the same rows always, it would be the mean of those."""
    x = jnp.asarray(np.random.default_rng(0).normal(0.7, 1.0, size=1000))

    def model():
        mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
        with numpyro.plate("rows", 1000, subsample_size=100) as rows:
            numpyro.sample("x", dist.Normal(mu, 1.0), obs=x[rows])

    run = mcmc(mm.SGLD(model, step_size=0.015), num_warmup=200, num_samples=3000, num_chains=1)
    run.run(jax.random.key(0))
    mu = np.asarray(run.get_samples()["mu"])
    assert abs(mu.mean() - x.mean()) < 0.01  # the mean of 100 rows is off by 0.1
    assert 0.8 < mu.std() * np.sqrt(1000) < 1.6


def test_one_datum_is_refused_while_another_is_accepted():
    batch = mm.as_batch(Batch({"s": np.array([[1.0], [0.01]])}))

    def model(batch):
        with mm.plate(batch):
            numpyro.sample("z", dist.Normal(jnp.zeros((2, 1)), batch["s"]).to_event(1))

    kernel = mm.MALA(model, step_size=0.5, adapt_step_size=False)
    start = {"z": jnp.array([[0.1], [0.001]])}
    state = kernel.init(jax.random.key(0), 0, start, (batch,), {})
    np.testing.assert_array_equal(state.z["z"], start["z"])
    after = kernel.sample(state, (batch,), {})
    moved = (after.z["z"] != state.z["z"])[:, 0]
    assert moved.tolist() == [True, False]
    assert after.accept_prob[0] > 0.5
    assert after.accept_prob[1] < 1e-6
    np.testing.assert_allclose(after.log_density, stats.norm.logpdf(after.z["z"], 0.0, batch["s"])[:, 0], rtol=1e-10)


def test_log_density_per_datum_counts_masks_and_scales_but_not_the_plates():
    z = np.random.default_rng(0).normal(size=(5, 4, 2))
    expected = stats.norm.logpdf(z).sum(-1)
    for name in BATCH:
        loc = z @ TRUTH.weight[name].T + TRUTH.bias[name]
        expected = expected + stats.norm.logpdf(BATCH[name], loc, TRUTH.noise[name]).sum(-1) * PRESENT[name]
    for size in (None, 400):
        found = log_density_per_datum(linear, (BATCH, size), {}, {"z": jnp.asarray(z[0])})
        np.testing.assert_allclose(found, expected[0], rtol=1e-10)
    np.testing.assert_allclose(log_density_per_datum(linear, (BATCH,), {}, {"z": jnp.asarray(z)}), expected, rtol=1e-10)
    doubled = log_density_per_datum(handlers.scale(linear, 2.0), (BATCH, 400), {}, {"z": jnp.asarray(z[0])})
    np.testing.assert_allclose(doubled, 2.0 * expected[0], rtol=1e-10)


def test_log_density_per_datum_sums_over_plates_within():
    def model():
        with numpyro.plate("rows", 2, dim=-1):
            numpyro.sample("z", dist.Normal(0.0, 1.0))
            with numpyro.plate("parts", 3, dim=-2):
                numpyro.sample("w", dist.Normal(0.0, 1.0))

    z, w = np.array([0.5, -1.0]), np.arange(6.0).reshape(3, 2)
    found = log_density_per_datum(model, (), {}, {"z": z, "w": w})
    np.testing.assert_allclose(found, stats.norm.logpdf(z) + stats.norm.logpdf(w).sum(0), rtol=1e-5)
    state = mm.MALA(model).init(jax.random.key(0), 0, {"z": jnp.asarray(z), "w": jnp.asarray(w)}, (), {})
    np.testing.assert_allclose(state.log_density, found, rtol=1e-5)
    np.testing.assert_allclose(state.score, -np.concatenate([z[None], w]).T, rtol=1e-5)


def test_wrong_programs_are_refused():
    def discrete(batch):
        with mm.plate(batch):
            numpyro.sample("k", dist.Poisson(2.0))

    with pytest.raises((OptionError, RuntimeError), match="site k|'k' is discrete"):
        mm.MALA(discrete).init(jax.random.key(0), 0, None, (BATCH,), {})
    with pytest.raises(OptionError, match="got none for .'z'."):
        log_density_per_datum(linear, (BATCH,), {}, {})
    with pytest.raises(OptionError, match="got sites outside it"):
        log_density_per_datum(pooled, (jnp.zeros(3),), {}, {"mu": 0.0, "z": jnp.zeros(3)})
    with pytest.raises(OptionError, match="Expected unconstrained initial values of shapes"):
        mm.MALA(linear).init(jax.random.key(0), 0, {"z": jnp.zeros((4, 3))}, (BATCH,), {})


def test_chains_start_where_they_are_told():
    start = {"z": jnp.arange(16.0).reshape(2, 4, 2)}
    run = mcmc(mm.ULA(linear, step_size=1e-6), num_warmup=0, num_samples=1)
    run.run(jax.random.key(0), BATCH, init_params=start)
    np.testing.assert_allclose(run.get_samples(group_by_chain=True)["z"][:, 0], start["z"], atol=1e-4)


def test_chains_start_as_the_strategy_says():
    def model():
        with numpyro.plate("rows", 500):
            numpyro.sample("z", dist.Normal(10.0, 3.0))

    z = mm.MALA(model, init_strategy=init_to_sample).init(jax.random.key(0), 0, None, (), {}).z["z"]
    assert stats.kstest(z, stats.norm(10.0, 3.0).cdf).pvalue > 0.01
    z = mm.MALA(model).init(jax.random.key(0), 0, None, (), {}).z["z"]
    assert abs(z).max() < 2.0


def test_a_second_batch_of_the_same_size_compiles_nothing():
    runs = []

    def counted(batch):
        runs.append(1)
        linear(batch)

    other = mm.as_batch(TRUTH.sample(4, seed=9))
    kernel = mm.MALA(counted)
    run = mcmc(kernel, num_warmup=5, num_samples=5, num_chains=1, jit_model_args=True)
    run.run(jax.random.key(0), BATCH)
    runs.clear()
    kernel.init(jax.random.key(1), 5, None, (other,), {})
    starting = len(runs)
    runs.clear()
    run.run(jax.random.key(1), other)
    assert len(runs) == starting


class Quadratic:
    """An energy that is a pytree with one parameter."""

    def __init__(self, weight):
        self.weight = weight

    def __call__(self, z):
        return -0.5 * self.weight * jnp.sum(z**2, -1)


jax.tree_util.register_pytree_node(Quadratic, lambda q: ((q.weight,), None), lambda _, children: Quadratic(*children))


@pytest.mark.parametrize("buffer", [0, 300])
def test_trained_parameters_and_an_energy_are_found(buffer):
    """N(0, 1) tilted by exp(-w z^2 / 2) is N(0, 1 / (1 + w)); w = 3 comes from the parameters, not the module."""

    def model(batch):
        energy = mm.net("energy", Quadratic(jnp.array(0.0)))
        base = dist.Normal(jnp.zeros(2), 1.0).to_event(1)
        prior = mm.EnergyTilted(base, energy, mm.LangevinChains(number=10, steps=2, buffer=buffer))
        with mm.plate(batch):
            numpyro.sample("z", prior)

    trained = {"energy$params": Quadratic(jnp.array(3.0))}
    run = mcmc(mm.MALA(handlers.substitute(model, data=trained)))
    run.run(jax.random.key(0), BATCH)
    z = run.get_samples(group_by_chain=True)["z"]
    check(z, 0.0)
    check(z**2, 0.25)


def test_deterministic_sites_come_back():
    def model(batch):
        with mm.plate(batch):
            z = numpyro.sample("z", dist.LogNormal(0.0, 1.0))
            numpyro.deterministic("twice", 2.0 * z)

    run = mcmc(mm.MALA(model), num_warmup=5, num_samples=5)
    run.run(jax.random.key(0), BATCH)
    draws = run.get_samples()
    np.testing.assert_allclose(draws["twice"], 2.0 * draws["z"], rtol=1e-6)
