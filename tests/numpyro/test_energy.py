"""The energy-tilted prior under NumPyro's own machinery."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO
from scipy import stats

import mmppl.numpyro as mm
from mmppl import Batch

AXIS = np.linspace(-8.0, 8.0, 401)
GRID = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1)
SHORT = mm.LangevinChains(number=128, steps=20, step_size=0.7, adjusted=True, draw_steps=60)


class Linear(eqx.Module):
    """The energy theta . z: on a standard normal base, a normal with mean theta."""

    theta: jax.Array

    def __call__(self, z):
        return z @ self.theta


def wave(z):
    return jnp.sin(2.0 * z[..., 0]) + z[..., 0] * z[..., 1] / 2.0


def standard():
    return dist.Normal(jnp.zeros(2), 1.0).to_event(1)


def moments(log_tilt):
    log_density = np.asarray(log_tilt(GRID)) + stats.norm.logpdf(GRID).sum(-1)
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    mean = (weight[..., None] * GRID).sum((0, 1))
    return mean, np.einsum("ij,ijk,ijl->kl", weight, GRID - mean, GRID - mean)


def test_nuts_has_the_moments_of_the_grid():
    def model():
        numpyro.sample("z", mm.EnergyTilted(standard(), wave))

    mcmc = MCMC(NUTS(model), num_warmup=300, num_samples=3000, progress_bar=False)
    mcmc.run(jax.random.key(0))
    z = np.asarray(mcmc.get_samples()["z"])
    mean, cov = moments(wave)
    size = numpyro.diagnostics.effective_sample_size(z[None])
    assert (np.abs(z.mean(0) - mean) < 4.0 * np.sqrt(np.diag(cov) / size)).all()
    np.testing.assert_allclose(np.cov(z.T), cov, atol=0.15)


def test_predictive_draws_from_the_tilted_prior():
    def model():
        with numpyro.plate("rows", 4):
            numpyro.sample("z", mm.EnergyTilted(standard(), Linear(jnp.array([1.0, -0.5])), SHORT))

    z = np.asarray(Predictive(model, num_samples=1000)(jax.random.key(0))["z"])
    assert z.shape == (1000, 4, 2)
    np.testing.assert_allclose(z.mean((0, 1)), [1.0, -0.5], atol=0.08)
    assert abs(np.corrcoef(z[..., 0].T)[0, 1]) < 0.15


CHAINS = {
    "short run": SHORT,
    "persistent": mm.LangevinChains(number=128, steps=5, step_size=0.7, buffer=128, restart=0.0),
}


@pytest.mark.parametrize("chains", CHAINS.values(), ids=CHAINS)
def test_the_hosts_own_elbo_learns_a_known_tilt(chains):
    """Data drawn around (1, -1) fit a tilt theta with mean theta."""
    data = jnp.asarray(np.random.default_rng(0).normal(size=(200, 2)) + np.array([1.0, -1.0]))
    start = Linear(jnp.zeros(2))

    def model():
        prior = mm.EnergyTilted(standard(), mm.net("energy", start), chains)
        with numpyro.plate("rows", 200):
            numpyro.sample("z", prior, obs=data)

    svi = SVI(model, lambda: None, numpyro.optim.Adam(0.05), Trace_ELBO())
    out = svi.run(jax.random.key(0), 300, progress_bar=False)
    theta = out.params["energy$params"].theta
    np.testing.assert_allclose(theta, data.mean(0), atol=0.15)


def test_the_buffer_advances_as_mutable_state():
    chains = mm.LangevinChains(number=4, steps=3, buffer=12, restart=0.0)

    def model():
        prior = mm.EnergyTilted(standard(), mm.net("energy", Linear(jnp.ones(2))), chains)
        numpyro.sample("z", prior.expand((5,)).to_event(1), obs=jnp.zeros((5, 2)))

    svi = SVI(model, lambda: None, numpyro.optim.SGD(1e-3), Trace_ELBO())
    state = svi.init(jax.random.key(0))
    before = np.asarray(state.mutable_state["energy$chains"]["chains"])
    state, _ = jax.jit(svi.update)(state)
    after = np.asarray(state.mutable_state["energy$chains"]["chains"])
    assert before.shape == after.shape == (12, 2)
    # The chains that had their turn went to the end.
    np.testing.assert_array_equal(after[:8], before[4:])
    assert (after[8:] != before[:4]).all()
    _, loss = svi.update(state)
    assert np.isfinite(loss)


def test_our_objective_carries_the_buffer():
    chains = mm.LangevinChains(number=4, steps=2, buffer=8, restart=0.0)

    def model(batch):
        prior = mm.EnergyTilted(standard(), mm.net("energy", Linear(jnp.ones(2))), chains)
        with mm.plate(batch):
            z = numpyro.sample("z", prior)
            mm.observe("x", dist.Normal(z, 1.0).to_event(1), batch)

    def guide(batch):
        loc = numpyro.param("loc", jnp.zeros(2))
        with mm.plate(batch):
            numpyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    batch = mm.as_batch(Batch({"x": np.zeros((3, 2), np.float32)}))
    svi = SVI(model, guide, numpyro.optim.SGD(1e-3), mm.ELBO())
    state = svi.init(jax.random.key(0), batch)
    before = np.asarray(state.mutable_state["energy$chains"]["chains"])
    state, _ = jax.jit(svi.update)(state, batch)
    np.testing.assert_array_equal(state.mutable_state["energy$chains"]["chains"][:4], before[4:])


KEPT = {"persistent": {"buffer": 400}, "replay": {"buffer": 1200, "restart": 0.05}}


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
def test_kept_chains_give_the_gradient_of_the_normaliser(kept):
    """Of the energy theta . z on N(0, s^2): log Z = s^2 theta^2 / 2, coordinate by coordinate."""
    chains = mm.LangevinChains(number=400, steps=12, step_size=0.9, adjusted=True, **kept)
    theta, scale, rate = np.array([1.0, -0.5]), np.array([1.0, 1.4]), 1e-6

    def model():
        base = dist.Normal(jnp.zeros(2), numpyro.param("scale", jnp.asarray(scale))).to_event(1)
        numpyro.sample(
            "z", mm.EnergyTilted(base, mm.net("energy", Linear(jnp.asarray(theta))), chains), obs=jnp.zeros(2)
        )

    with jax.enable_x64(True):
        svi = SVI(model, lambda: None, numpyro.optim.SGD(rate), Trace_ELBO())

        def step(state, _):
            after, _ = svi.update(state)
            before, now = svi.get_params(state), svi.get_params(after)
            return after, jax.tree.map(lambda a, b: (a - b) / rate, before, now)

        _, grads = jax.jit(lambda state: jax.lax.scan(step, state, None, length=45))(svi.init(jax.random.key(0)))
    wanted = {"energy$params": scale**2 * theta, "scale": 1.0 / scale + scale * theta**2}
    for name, exact in wanted.items():
        got = np.asarray(jax.tree.leaves(grads[name])[0])[5:]
        error = got.std(0, ddof=1) / np.sqrt(40)
        assert (error < 0.03).all()
        assert (np.abs(got.mean(0) - exact) < 4.5 * error).all(), (name, got.mean(0), exact, error)
