"""Several blocks that diffuse as one, against closed forms of a Gaussian, on both hosts."""

import numpy as np
import pytest
from scipy import stats

from mmppl._backend import get_backend
from mmppl.errors import ModalityError, OptionError
from mmppl.priors import Blocks, MultiTaskLoss, MultiTaskModel, NormalHead, SharedSpace
from mmppl.priors.condition import BlockRoles
from mmppl.priors.multi_task.loss import MultiTaskNoise
from mmppl.sde import VP
from mmppl.sde.solvers import Ancestral, DPMSolver
from mmppl.testing import GaussianMultiTask

SDE = VP(0.1, 30.0)
# Of four coordinates those of a and c diffuse; b joins them, and is independent of nothing.
SIZES, WIDE = {"a": 1, "b": 1, "c": 2}, {"a": [0], "b": [1], "c": [2, 3]}
ROOT = np.array([[1.0, 0.0, 0.0, 0.0], [0.5, 0.8, 0.0, 0.0], [0.7, -0.3, 0.6, 0.0], [-0.4, 0.5, 0.5, 0.5]])
COV = ROOT @ ROOT.T / np.sqrt(np.outer(np.diag(ROOT @ ROOT.T), np.diag(ROOT @ ROOT.T)))
LOC, SCALE = np.array([1.0, -2.0, 0.5, 3.0]), np.array([0.5, 2.0, 1.5, 0.8])
OBSERVED = LOC + SCALE * np.array([1.2, -0.4, 0.9, -1.1])
SPACE = SharedSpace(Blocks.of(SIZES), ("c", "a"), 0.7, SDE)
NET = GaussianMultiTask(SPACE, COV)


def make(host, solver, **learning):
    model = MultiTaskModel(SPACE, MultiTaskLoss(predict="noise", **learning), solver=solver)
    return host.mm.MultiTask(NET, model, loc=host.array(LOC), scale=host.array(SCALE))


def given(names, want=tuple(SIZES)):
    """Which coordinates are known and which are asked for, and mean and covariance of the latter."""
    known = np.isin(np.arange(4), [i for name in names for i in WIDE[name]])
    asked = np.isin(np.arange(4), [i for name in want for i in WIDE[name]]) & ~known
    cov = COV * SCALE * SCALE[:, None]
    gain = cov[np.ix_(asked, known)] @ np.linalg.inv(cov[np.ix_(known, known)])
    mean = LOC[asked] + gain @ (OBSERVED - LOC)[known]
    return known, asked, mean, cov[np.ix_(asked, asked)] - gain @ cov[np.ix_(known, asked)]


def values(host, names, number):
    return {n: host.array(np.tile(OBSERVED[WIDE[n]], (number, 1))) for n in names}


# Nothing known; what joins; a block that diffuses; both that do; and a marginal of those that do.
CASES = [((), None), (("b",), None), (("a",), None), (("a", "c"), None), (("c", "b"), None), (("c",), ("a", "c"))]
DRAWN = [("pyro", DPMSolver(30), *case) for case in CASES]
DRAWN += [("pyro", Ancestral(120), *CASES[4]), ("numpyro", DPMSolver(30), *CASES[4])]


@pytest.mark.parametrize(("host", "solver", "names", "want"), DRAWN, indirect=["host"])
def test_draws_have_the_moments_of_the_conditional(host, solver, names, want):
    number, slack = 2000, 0.05
    prior = make(host, solver)
    fn = prior.conditional(values(host, names, number), want=want) if names else prior
    draws = host.sample(fn, () if names else (number,), seed=1)
    known, asked, mean, cov = given(names, want or tuple(SIZES))
    assert np.array_equal(draws[:, known], np.tile(OBSERVED[known], (number, 1)))
    assert np.array_equal(draws[:, ~known & ~asked], np.tile(LOC[~known & ~asked], (number, 1)))
    free, sd = draws[:, asked], np.sqrt(np.diag(cov))
    assert np.all(np.abs(free.mean(0) - mean) < (5 / np.sqrt(number) + slack) * sd)
    spread = np.sqrt((np.outer(sd**2, sd**2) + cov**2) / number)
    found = np.atleast_2d(np.cov(free.T))
    assert np.all(np.abs(found - cov) < 5 * spread + slack * np.outer(sd, sd))


@pytest.mark.parametrize(
    ("host", "names"),
    [("numpyro", ("a",)), ("pyro", ("a",)), ("pyro", ("a", "c"))],
    indirect=["host"],
)
def test_density_is_exact(host, names):
    known, asked, mean, cov = given(names)
    points = np.tile(OBSERVED, (3, 1))
    points[:, asked] = mean + np.random.default_rng(0).standard_normal((3, len(mean))) @ np.linalg.cholesky(cov).T
    prior = make(host, Ancestral(10))
    fn = prior.conditional(values(host, names, 3)) if names else prior
    exact = stats.multivariate_normal(mean, cov).logpdf(points[:, asked])
    np.testing.assert_allclose(host.log_prob(fn, points), exact, atol=2e-3)


def test_one_of_several_is_one_alone():
    """The same loss, roles and draws, bit for bit, under either name."""
    backend, rng = get_backend(np.zeros(1)), np.random.default_rng(0)
    alone, named = (SharedSpace(Blocks.of(SIZES), primary, 0.7, SDE) for primary in ("c", ("c",)))
    net, learning = GaussianMultiTask(alone, COV), MultiTaskLoss(p_marginal=0.5, p_single=0.1)
    z = rng.standard_normal((50, 4))
    noise = learning.draw(backend, rng, z, 3)
    roles = [learning.roles(space, noise, np.ones((50, 3), bool)) for space in (alone, named)]
    assert np.array_equal(roles[0], roles[1])
    assert roles[0].diffused[:, 2].all()
    losses = [learning.losses(backend, space, net, z, roles[0], noise) for space in (alone, named)]
    assert np.array_equal(*losses)
    assert np.array_equal(alone.shift(z), named.shift(z))


def test_loss_is_its_formula():
    """Of one diffused block given the other: its mean squared error stands for the whole diffused space."""
    rng = np.random.default_rng(2)
    z, answer, eps = rng.standard_normal((1, 4)), rng.standard_normal(8), rng.standard_normal((1, 4))
    one, shown = np.full((1, 1), 0.4), []
    noise = MultiTaskNoise(one, np.full((1, 3), 0.9), one, np.full((1, 3), 0.9), one, eps)
    roles = BlockRoles(np.array([[True, True, False]]), np.array([[False, False, True]]))

    def net(x):
        shown.append(x[0])
        return answer + 0.0 * x[..., :1]

    found = MultiTaskLoss(weight=0.3, predict="noise").losses(get_backend(z), SPACE, net, z, roles, noise)[0]
    t = 1e-5 + (1 - 1e-5) * 0.4
    a, sigma = SDE.mean_factor(np.array(t)), SDE.scale(np.array(t))
    # b has the size of a, which it joins.
    np.testing.assert_allclose(shown[0][0], a * z[0, 0] + sigma * eps[0, 0] + 0.7 * a * (1 - a) * z[0, 1])
    np.testing.assert_allclose(shown[0][1:], [0.0, *z[0, 2:], t, t, 0.0])
    np.testing.assert_allclose(found[0], 3.0 * (eps[0, 0] - answer[0]) ** 2)
    np.testing.assert_allclose(found[1], -0.3 * 3.0 * stats.norm(answer[1], np.exp(answer[5])).logpdf(z[0, 1]))
    assert not found[2:].any()


def test_some_block_is_always_diffused():
    learning = MultiTaskLoss(p_conditional=0.6, p_marginal=0.3, p_single=0.1)
    like = np.zeros((20_000, 4))
    noise = learning.draw(get_backend(like), np.random.default_rng(0), like, 3)
    present = np.ones((20_000, 3), bool)
    present[:500, 0] = False
    diffused, clean = learning.roles(SPACE, noise, present)
    assert not (diffused & clean).any()
    assert not (diffused | clean)[:500, 0].any()
    assert (diffused[:, 0] | diffused[:, 2]).all()
    # None is known where they are learned alone. Else a is, with c left to predict, in a quarter of the conditionals,
    # and in a sixteenth of those where blocks are hidden with probability a half.
    alone = noise.marginal[:, 0] >= 0.9
    assert np.array_equal(diffused[500:][alone[500:]], np.tile([True, False, True], (alone[500:].sum(), 1)))
    known = 0.6 * (0.3 / 0.9 / 16 + 0.6 / 0.9 / 4)
    assert clean[500:, 0][~alone[500:]].mean() == pytest.approx(known, abs=0.01)


def test_what_is_wrong_is_said():
    blocks = Blocks.of(SIZES)
    for primary in (("a", "d"), ("a", "a"), ()):
        with pytest.raises(ModalityError, match=r"primary block among \['a', 'b', 'c'\]"):
            SharedSpace(blocks, primary)
    with pytest.raises(ModalityError, match=r"heads of blocks among \['b'\]; got \['c'\]"):
        SharedSpace(blocks, ("a", "c"), heads={"c": NormalHead()})
    with pytest.raises(OptionError, match="p_conditional > 0 where several blocks diffuse, 'a, c'"):
        MultiTaskModel(SPACE, MultiTaskLoss(p_conditional=0.0))
