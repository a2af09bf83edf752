"""The energy-tilted prior under Pyro's own machinery."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO
from scipy import stats

import mmppl.pyro as mm
from mmppl.errors import OptionError

AXIS = np.linspace(-8.0, 8.0, 401)
GRID = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1)
SHORT = mm.LangevinChains(number=128, steps=20, step_size=0.7, adjusted=True, draw_steps=60)


class Linear(torch.nn.Module):
    """The energy theta . z: on a standard normal base, a normal with mean theta."""

    def __init__(self, theta):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor(theta))

    def forward(self, z):
        return z @ self.theta


class Wave(torch.nn.Module):
    def forward(self, z):
        return torch.sin(2.0 * z[..., 0]) + z[..., 0] * z[..., 1] / 2.0


def standard():
    return dist.Normal(torch.zeros(2), 1.0).to_event(1)


def moments():
    log_tilt = np.sin(2.0 * GRID[..., 0]) + GRID[..., 0] * GRID[..., 1] / 2.0
    log_density = log_tilt + stats.norm.logpdf(GRID).sum(-1)
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    mean = (weight[..., None] * GRID).sum((0, 1))
    return mean, np.einsum("ij,ijk,ijl->kl", weight, GRID - mean, GRID - mean)


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_nuts_has_the_moments_of_the_grid():
    def model():
        pyro.sample("z", mm.EnergyTilted(standard(), Wave()))

    mcmc = MCMC(NUTS(model, max_tree_depth=4), num_samples=500, warmup_steps=100, disable_progbar=True)
    mcmc.run()
    z = mcmc.get_samples()["z"].numpy()
    mean, cov = moments()
    size = pyro.ops.stats.effective_sample_size(torch.as_tensor(z)[None]).numpy()
    assert (np.abs(z.mean(0) - mean) < 4.0 * np.sqrt(np.diag(cov) / size)).all()
    np.testing.assert_allclose(np.cov(z.T), cov, atol=0.35)


def test_predictive_draws_from_the_tilted_prior():
    energy = Linear([1.0, -0.5])

    def model():
        with pyro.plate("rows", 4):
            pyro.sample("z", mm.EnergyTilted(standard(), energy, SHORT))

    z = Predictive(model, num_samples=1000, parallel=True)()["z"].reshape(1000, 4, 2).numpy()
    np.testing.assert_allclose(z.mean((0, 1)), [1.0, -0.5], atol=0.08)
    assert abs(np.corrcoef(z[..., 0].T)[0, 1]) < 0.15


CHAINS = {
    "short run": SHORT,
    "persistent": mm.LangevinChains(number=128, steps=5, step_size=0.7, buffer=128, restart=0.0),
}


@pytest.mark.parametrize("chains", CHAINS.values(), ids=CHAINS)
def test_the_hosts_own_elbo_learns_a_known_tilt(chains):
    """Data drawn around (1, -1) fit a tilt theta with mean theta."""
    data = torch.randn(200, 2) + torch.tensor([1.0, -1.0])
    energy = Linear([0.0, 0.0])

    def model():
        prior = mm.EnergyTilted(standard(), mm.net("energy", energy), chains)
        with pyro.plate("rows", 200):
            pyro.sample("z", prior, obs=data)

    svi = SVI(model, lambda: None, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    for _ in range(150):
        svi.step()
    np.testing.assert_allclose(energy.theta.detach(), data.mean(0), atol=0.15)


def test_the_buffer_advances_in_the_module():
    chains = mm.LangevinChains(number=4, steps=3, buffer=12, restart=0.0)
    energy = Linear([1.0, 1.0])

    def model():
        prior = mm.EnergyTilted(standard(), mm.net("energy", energy), chains)
        pyro.sample("z", prior.expand((5,)).to_event(1), obs=torch.zeros(5, 2))

    svi = SVI(model, lambda: None, pyro.optim.SGD({"lr": 1e-3}), Trace_ELBO())
    svi.step()
    before = energy.chains.clone()
    svi.step()
    assert energy.chains.shape == (12, 2)
    # The chains that had their turn went to the end.
    np.testing.assert_array_equal(energy.chains[:8], before[4:])
    assert (energy.chains[8:] != before[:4]).all()
    svi.evaluate_loss()
    np.testing.assert_array_equal(energy.chains[:8], before[4:])
    assert "chains" in energy.state_dict()


def test_a_function_cannot_keep_a_buffer():
    with pytest.raises(OptionError, match="A buffer of chains needs an energy that is an nn.Module; got a function"):
        mm.EnergyTilted(standard(), lambda z: z.sum(-1), mm.LangevinChains(buffer=1000))


KEPT = {"persistent": {"buffer": 400}, "replay": {"buffer": 1200, "restart": 0.05}}


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
def test_kept_chains_give_the_gradient_of_the_normaliser(kept):
    """Of the energy theta . z on N(0, s^2): log Z = s^2 theta^2 / 2, coordinate by coordinate."""
    energy, scale = Linear([1.0, -0.5]), torch.tensor([1.0, 1.4], requires_grad=True)
    chains = mm.LangevinChains(number=400, steps=12, step_size=0.9, adjusted=True, **kept)
    base = dist.Normal(torch.zeros(2), scale).to_event(1)
    prior = mm.EnergyTilted(base, mm.net("energy", energy), chains)

    def grads():
        return torch.autograd.grad(-prior.log_prob(torch.zeros(2)), (energy.theta, scale))

    theta, width = energy.theta.detach(), scale.detach()
    wanted = scale.detach() ** 2 * theta, 1.0 / width + width * theta**2
    for _ in range(5):
        grads()
    for got, exact in zip(zip(*(grads() for _ in range(40)), strict=True), wanted, strict=True):
        got = torch.stack(got)
        error = got.std(0) / 40**0.5
        assert (error < 0.03).all()
        assert ((got.mean(0) - exact).abs() < 4.5 * error).all(), (got.mean(0), exact, error)
