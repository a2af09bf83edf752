"""The bound of a multi-task diffusion, term by term, against closed forms of a linear-Gaussian pair."""

import math

import numpy as np
import pytest

from mmppl._backend import get_backend
from mmppl.errors import OptionError
from mmppl.priors import Blocks, Bump, FirstStep, MultiTaskLoss, MultiTaskModel, SharedSpace
from mmppl.priors.condition import BlockRoles
from mmppl.priors.multi_task.evidence import evidence_terms, sampled_terms
from mmppl.priors.multi_task.loss import MultiTaskNoise
from mmppl.sde import VP
from mmppl.sde.solvers import Ancestral
from mmppl.testing import GaussianMultiTask

SDE, R = VP(), 0.8
COV = np.array([[1.0, R], [R, 1.0]])


def design():
    """Rows of (z_0, x), and of noise, over which the average of every quadratic is exact."""
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T.astype(float)
    return signs[:, :2] @ np.linalg.cholesky(COV).T, signs[:, 2:] * np.ones(2)


def exact_terms(space, grid, known):
    """L0 to L3 and the reading, from joint covariances of (z_0, x, z_u, z_t); given x where it is known."""
    t, u = grid[:-1], grid[1:]
    base = COV - np.outer(COV[:, 1], COV[1]) if known else COV
    end = steps = heads = 0.0
    for now, before in zip(t, u, strict=True):
        rows = [np.array([1.0, 0.0]), np.array([0.0, 1.0])]
        a, b = (float(SDE.mean_factor(np.array(s))) for s in (before, now))
        rows += [np.array([f, float(space.weight(np.array(s)))]) for f, s in ((a, before), (b, now))]
        noise = np.zeros((4, 4))
        noise[2, 2], noise[3, 3] = SDE.scale(np.array(before)) ** 2, SDE.scale(np.array(now)) ** 2
        noise[2, 3] = noise[3, 2] = b / a * noise[2, 2]
        cov = np.array(rows) @ base @ np.array(rows).T + noise
        left = cov[:3, :3] - np.outer(cov[:3, 3], cov[3, :3]) / cov[3, 3]  # given z_t
        full = noise[2, 2] - noise[2, 3] ** 2 / noise[3, 3]  # of z_u given z_0, x and z_t
        if before > 0.0:
            steps += 0.5 * (left[2, 2] / full - 1.0)
        reading = 0.0 if known else 0.5 * math.log(2 * math.pi * math.e * left[1, 1])
        heads += reading
        if now == 1.0:
            # The second moment of the mean of z_T, over x too where that is known.
            end = 0.5 * np.array(rows)[3] @ COV @ np.array(rows)[3] / noise[3, 3]
    data = 0.5 * math.log(2 * math.pi * noise[3, 3]) + 0.5 * left[0, 0] / noise[3, 3]
    return end, steps, heads, data, reading


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("joining", [Bump(1.0), FirstStep(0.0)])
def test_each_term_is_its_closed_form(to, joining, known):
    space = SharedSpace(Blocks.of({"z": 1, "x": 1}), strength=joining, sde=SDE)
    grid = Ancestral(60, 0.01).grid
    z, xi = (to(x) for x in design())
    roles = BlockRoles(to(np.array([[True, not known]])), to(np.array([[False, known]])))
    learning = MultiTaskLoss(predict="noise")
    terms = evidence_terms(get_backend(z), space, learning, GaussianMultiTask(space, COV), z, roles, grid, lambda i: xi)
    found = [float(np.asarray(part).mean()) for part in terms]
    np.testing.assert_allclose(found, exact_terms(space, grid, known), rtol=1e-6, atol=1e-5)
    entropy = 0.5 * math.log(2 * math.pi * math.e * (0.36 if known else 1.0))
    entropy += 0.0 if known else 0.5 * math.log(2 * math.pi * math.e * 0.36)
    assert float(np.asarray(terms.bound).mean()) < -entropy
    np.testing.assert_allclose(np.asarray(terms.objective).mean(), sum(found[:4]), rtol=1e-9)


def test_the_bound_nears_the_evidence_with_more_steps():
    space = SharedSpace(Blocks.of({"z": 1, "x": 1}), sde=SDE)
    gaps = []
    for steps in (50, 200, 800):
        terms = exact_terms(space, np.append(np.linspace(1.0, 1.0 / steps, steps), 0.0), False)
        evidence = -math.log(2 * math.pi * math.e * 0.6)
        gaps.append(evidence + terms[0] + terms[1] + terms[3] + terms[4])
    assert gaps[0] > gaps[1] > gaps[2] > 0.0


def test_the_bound_of_a_distribution_has_an_error_and_its_units(host):
    """Values in other units: the evidence moves by the log of their scales."""
    space = SharedSpace(Blocks.of({"z": 1, "x": 1}), sde=SDE)
    options = MultiTaskModel(space, MultiTaskLoss(predict="noise"), solver=Ancestral(100, 0.01))
    scale = np.array([2.0, 0.5])
    z = np.random.default_rng(0).standard_normal((300, 2)) @ np.linalg.cholesky(COV).T
    prior = host.mm.MultiTask(GaussianMultiTask(space, COV), options, scale=host.array(scale))
    terms, error = host.call(lambda: evidence(host, prior, host.array(z * scale)), 0)
    bound, error = host.numpy(terms.bound), host.numpy(error)
    exact = -0.5 * np.einsum("ni,ij,nj->n", z, np.linalg.inv(COV), z) - math.log(2 * math.pi * 0.6)
    # The gap is that of the closed form on this grid, of which the terms' noise leaves an error.
    terms = exact_terms(space, Ancestral(100, 0.01).grid, False)
    wanted = terms[0] + terms[1] + terms[3] + terms[4] - math.log(2 * math.pi * math.e * 0.6)
    gap = exact - bound
    assert abs(gap.mean() - wanted) < 4.0 * gap.std() / len(z) ** 0.5
    assert 0.0 < error.mean() < 1.0
    with pytest.raises(OptionError, match="num >= 2"):
        host.call(lambda: evidence(host, prior, host.array(z), 1), 0)


def evidence(host, prior, values, num=4):
    if host.name == "pyro":
        return prior.evidence(values, num)
    return prior.evidence(host.mm.host.numpyro.prng_key(), values, num)


def test_one_block_alone_is_an_ordinary_diffusion(to):
    """Its loss is DDPM's with the same noise, whatever is asked of heads."""
    rng = np.random.default_rng(0)
    space, learning = SharedSpace(Blocks.of({"z": 3}), sde=SDE), MultiTaskLoss(predict="noise")
    z, eps, time, weight = (rng.standard_normal(s) for s in [(5, 3), (5, 3), (5, 1), (6, 4)])
    time, one = np.abs(time) % 1.0, np.ones((5, 1))
    roles = BlockRoles(to(one > 0), to(one < 0))
    found = learning.losses(
        get_backend(to(z)),
        space,
        lambda x: x @ to(weight).T,
        to(z),
        roles,
        MultiTaskNoise(*(to(x) for x in (one, one, one, one, time, eps))),
    )
    t = 1e-5 + (1 - 1e-5) * time
    noisy = SDE.mean_factor(t) * z + SDE.scale(t) * eps
    said = np.concatenate([noisy, t], axis=1) @ weight[:3].T
    np.testing.assert_allclose(np.asarray(found), (said - eps) ** 2, rtol=1e-6)


def test_weights_of_heads_enter_linearly_and_leave_the_diffusion_alone():
    rng = np.random.default_rng(1)
    space = SharedSpace(Blocks.of({"z": 2, "x": 2, "y": 1}), sde=SDE)
    z, net = rng.standard_normal((4, 5)), lambda x: np.tanh(x @ np.ones((8, 10)))
    one = np.full((4, 1), 0.6)
    noise = MultiTaskNoise(one, one, one, one, one, rng.standard_normal((4, 5)))
    roles = BlockRoles(np.ones((4, 3), bool), np.zeros((4, 3), bool))

    def losses(weight):
        return MultiTaskLoss(weight, predict="noise").losses(get_backend(z), space, net, z, roles, noise)

    none, some, named = losses(0.0), losses(0.5), losses({"x": 1.0, "y": 0.0})
    assert not none[:, 2:].any()
    assert some[:, 2:].all()
    np.testing.assert_allclose(some[:, :2], none[:, :2], rtol=0)
    np.testing.assert_allclose(named[:, 2:], some[:, 2:] * [2.0, 2.0, 0.0], rtol=1e-12)
    # Of the means: two coordinates to two, and two to one.
    found = MultiTaskLoss(0.5).weights(get_backend(z), space, z)
    np.testing.assert_allclose(found[2:], [0.5, 0.5, 1.0])


@pytest.mark.parametrize("hidden", [False, True])
def test_sampled_terms_have_the_same_mean(host, hidden):
    """With one row of two lacking the other block, which then neither joins nor is read."""
    space, grid = SharedSpace(Blocks.of({"z": 1, "x": 1}), sde=SDE), Ancestral(20, 0.01).grid
    rows = 12000
    z = host.array(np.random.default_rng(0).standard_normal((rows, 2)) @ np.linalg.cholesky(COV).T)
    there = np.ones((rows, 2), bool)
    there[:, 1] = not hidden
    roles = BlockRoles(host.array(there), host.array(~there & False))
    backend, learning = get_backend(z), MultiTaskLoss(predict="noise")
    net = GaussianMultiTask(space, COV)
    args = backend, space, learning, net, z, roles, grid
    draws = np.random.default_rng(1).standard_normal((len(grid) - 1, rows, 2))
    noise = host.array(draws)
    exact = evidence_terms(*args, lambda i: noise[i])
    found = host.call(lambda: sampled_terms(*args, key(host)), 0)
    for name in exact._fields:
        wanted, got = (host.numpy(getattr(terms, name)) for terms in (exact, found))
        error = (wanted.var() / rows + got.var() / rows) ** 0.5
        assert abs(wanted.mean() - got.mean()) < 4.0 * error + 1e-6, name
    assert not hidden or not host.numpy(found.heads).any()


def key(host):
    return None if host.name == "pyro" else host.mm.host.numpyro.prng_key()
