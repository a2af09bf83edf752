"""Priors in whitened and turned coordinates, of which only some are kept."""

import numpy as np
import pytest
from scipy import stats

from mmppl._backend import get_backend
from mmppl.errors import OptionError
from mmppl.priors import Blocks, MultiTimeScoreMatching, ProbabilityFlow, ScoreModel, Whitening
from mmppl.priors.coordinates import restrict_network
from mmppl.priors.reduction.subspaces import Subspaces
from mmppl.sde import VP
from mmppl.sde.solvers import Heun
from mmppl.testing.gaussian_score import GaussianScore

BLOCKS = Blocks.of({"a": 2, "b": 1})
SDE = VP(0.1, 40.0)
TURN = np.array([[0.6, -0.9, 0.0], [1.1, 0.4, 0.0], [0.0, 0.0, 2.0]])
LOC = np.array([1.0, -2.0, 0.5])
KEPT = np.array([1.0, 0.0, 1.0])
# In these coordinates: the two coordinates kept are dependent, the third is standard normal.
COV = np.array([[1.3, 0.0, 0.8], [0.0, 1.0, 0.0], [0.8, 0.0, 0.9]])


def velocity(x):
    """The exact velocity of the Gaussian, from the noise that best predicts; wild where not kept."""
    z, t = x[..., :3], BLOCKS.spread(x[..., 3:])
    a, s = SDE.mean_factor(t), SDE.scale(t)
    power = a**2 + s**2
    noise = GaussianScore(dict(BLOCKS.items()), COV, SDE)(x)
    wild = get_backend(z).asarray(7.0 * (1.0 - KEPT), like=z)
    return (noise - s / power * z) * power**0.5 / a + wild * z


def make(host):
    found = Subspaces(BLOCKS, (1, 1), LOC, TURN, np.zeros(3), learned=True)
    coordinates = Whitening.of(found)
    assert coordinates.kept.tolist() == KEPT.tolist()
    score = ScoreModel(BLOCKS, MultiTimeScoreMatching(SDE), Heun(41), flow=ProbabilityFlow(probes=None))
    return host.mm.JointScore(velocity, score, coordinates=Whitening(*(host.array(x) for x in coordinates)))


def test_a_frame_goes_there_and_back():
    coordinates = Whitening.of(Subspaces(BLOCKS, (1, 1), LOC, TURN, np.zeros(3), learned=True))
    z = np.random.default_rng(0).standard_normal((5, 3))
    np.testing.assert_allclose(coordinates.forward(z), (z - LOC) @ TURN.T)
    np.testing.assert_allclose(coordinates.inverse(coordinates.forward(z)), z)
    assert coordinates.log_det == pytest.approx(np.linalg.slogdet(TURN)[1])
    assert coordinates.log_dets[:2].sum() == pytest.approx(np.linalg.slogdet(TURN[:2, :2])[1])
    one = Whitening.identity(BLOCKS)
    assert np.array_equal(one.forward(z), z)
    assert one.log_det == 0.0


def test_a_masked_network_neither_sees_nor_moves_the_rest():
    x = np.random.default_rng(1).standard_normal((4, 5))
    seen = []

    def net(x):
        seen.append(x)
        return 1.0 + x[..., :3]

    out = restrict_network(net, KEPT)(x)
    assert np.all(out[:, 1] == 0.0)
    assert np.all(out[:, 0] == 1.0 + x[:, 0])
    assert np.all(seen[0][:, 1] == 0.0)
    assert np.all(seen[0][:, 3:] == x[:, 3:])
    assert restrict_network(net, None) is net


def test_a_density_in_a_frame_is_that_of_what_is_kept_times_the_reference(host):
    prior = make(host)
    back = np.linalg.inv(TURN)
    truth = stats.multivariate_normal(LOC, back @ COV @ back.T)
    z = truth.rvs(6, random_state=2)
    np.testing.assert_allclose(host.log_prob(prior, z), truth.logpdf(z), atol=2e-3)
    draws = host.sample(prior, (8000,), seed=3)
    np.testing.assert_allclose(np.cov(draws.T), truth.cov, atol=0.12)
    np.testing.assert_allclose(draws.mean(0), LOC, atol=0.06)
    # The density of one block is that block's.
    part = prior.marginal({"a": host.array(np.ones(6, bool)), "b": host.array(np.zeros(6, bool))})
    wanted = stats.multivariate_normal(LOC[:2], truth.cov[:2, :2]).logpdf(z[:, :2])
    np.testing.assert_allclose(host.log_prob(part, z), wanted, atol=2e-3)


def test_a_conditional_in_a_frame(host):
    prior, back = make(host), np.linalg.inv(TURN)
    cov, value = back @ COV @ back.T, np.array([1.4])
    given = prior.conditional({"b": host.array(np.tile(value, (8000, 1)))})
    draws = host.sample(given, (), seed=4)
    assert np.all(draws[:, 2] == value)
    gain = cov[:2, 2] / cov[2, 2]
    np.testing.assert_allclose(draws[:, :2].mean(0), LOC[:2] + gain * (value - LOC[2]), atol=0.06)
    np.testing.assert_allclose(np.cov(draws[:, :2].T), cov[:2, :2] - np.outer(gain, cov[2, :2]), atol=0.08)


def test_a_frame_takes_the_velocity(host):
    score = ScoreModel(BLOCKS, MultiTimeScoreMatching(SDE, predict="noise"))
    with pytest.raises(OptionError, match="Expected predict='velocity' with a whitening"):
        host.mm.JointScore(velocity, score, coordinates=Whitening.identity(BLOCKS))


def test_an_energy_that_sees_what_is_kept(host):
    """A tilt of minus half a square, on the first of two coordinates: variances 1/2 and 1, and log Z = -log(2) / 2."""
    base = host.dist.Normal(host.array(np.zeros(2)), 1.0).to_event(1)
    chains = host.mm.LangevinChains(draw_steps=60, step_size=0.5)
    prior = host.mm.EnergyTilted(base, lambda z: -0.5 * (z**2).sum(-1), chains, kept=host.array(np.array([1.0, 0.0])))
    z = np.array([[0.5, -1.0], [2.0, 0.3]])
    wanted = stats.norm().logpdf(z).sum(-1) - 0.5 * z[:, 0] ** 2
    np.testing.assert_allclose(host.log_prob(prior, z), wanted)
    draws = host.sample(prior, (4000,), seed=5)
    np.testing.assert_allclose(draws.var(0), [0.5, 1.0], atol=0.08)
    coordinates = Whitening.of(Subspaces(Blocks.of({"z": 2}), (1,), LOC[:2], TURN[:2, :2], np.zeros(2), learned=True))
    reduced = host.mm.Reduced(prior, Whitening(*(host.array(x) for x in coordinates)))
    y = (z - LOC[:2]) @ TURN[:2, :2].T
    wanted = stats.norm().logpdf(y).sum(-1) - 0.5 * y[:, 0] ** 2 + np.linalg.slogdet(TURN[:2, :2])[1]
    np.testing.assert_allclose(host.log_prob(reduced, z), wanted)
    again = (host.sample(reduced, (4000,), seed=6) - LOC[:2]) @ TURN[:2, :2].T
    np.testing.assert_allclose(again.var(0), [0.5, 1.0], atol=0.08)
    with pytest.raises(OptionError, match="on subspaces; got another"):
        reduced.conditional({})


def test_a_learned_complement(host):
    """The rest is normal given what is kept, with the location and scale that a network says."""
    space = Subspaces(Blocks.of({"a": 2}), (1,), np.zeros(2), np.eye(2), np.zeros(2), learned=True)
    base = host.dist.Normal(host.array(np.zeros(1)), 1.0).to_event(1)
    prior = host.mm.Reduced(base, space, complement=lambda y: (2.0 * y + 1.0, 0.0 * y + 0.5))
    z = np.array([[0.3, -0.2], [1.0, 4.0]])
    wanted = stats.norm().logpdf(z[:, 0]) + stats.norm(2.0 * z[:, 0] + 1.0, 0.5).logpdf(z[:, 1])
    np.testing.assert_allclose(host.log_prob(prior, z), wanted)
    draws = host.sample(prior, (8000,), seed=7)
    np.testing.assert_allclose(np.cov(draws.T), [[1.0, 2.0], [2.0, 4.25]], atol=0.2)
    np.testing.assert_allclose(draws.mean(0), [0.0, 1.0], atol=0.1)
