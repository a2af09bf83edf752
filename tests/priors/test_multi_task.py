"""Multi-task diffusions against closed forms of linear-Gaussian models, on both hosts."""

from functools import cache

import numpy as np
import pytest
from scipy import stats

from mmppl._backend import get_backend
from mmppl.errors import ModalityError, OptionError
from mmppl.priors import Blocks, MultiTaskLoss, MultiTaskModel, SharedSpace
from mmppl.priors.condition import BlockRoles, Condition, Query
from mmppl.priors.multi_task.loss import MultiTaskNoise
from mmppl.sde import VP
from mmppl.sde.solvers import Ancestral, DPMSolver, EulerMaruyama
from mmppl.testing import GaussianMultiTask

SDE = VP(0.1, 30.0)  # at its end next to nothing of the data is left
# The second block has another dimension than the primary one, which is the last.
SIZES = {"a": 2, "b": 1, "c": 2}
LOAD = np.array([[0.8, 0.0], [-0.3, 0.5], [0.6, 0.6]])  # of a and b on c
NOISE = np.array([[0.36, 0.0, 0.0], [0.0, 0.5, 0.25], [0.0, 0.25, 0.2]])  # a and b share something beyond c
COV = np.block([[LOAD @ LOAD.T + NOISE, LOAD], [LOAD.T, np.eye(2)]])
ALONE = np.block([[LOAD @ LOAD.T + np.diag(np.diag(NOISE)), LOAD], [LOAD.T, np.eye(2)]])
WIDE = {"a": [0, 1], "b": [2], "c": [3, 4]}
LOC, SCALE = np.array([1.0, -2.0, 0.5, 3.0, 0.0]), np.array([0.5, 2.0, 1.5, 0.8, 1.0])
OBSERVED = LOC + SCALE * np.array([1.2, -0.4, 0.9, -1.1, 0.3])


def model(conditioned=True, strength=0.7, **options):
    space = SharedSpace(Blocks.of(SIZES), "c", strength, SDE)
    learning = MultiTaskLoss(p_conditional=0.5 if conditioned else 0.0, predict="noise")
    return MultiTaskModel(space, learning, **options)


@cache
def oracle(space, conditional):
    """The exact network, one for all tests, so that what is compiled for it serves each."""
    return GaussianMultiTask(space, COV if conditional else ALONE)


def make(host, **options):
    options = model(**options)
    net = oracle(options.space, options.learning.conditional)
    return host.mm.MultiTask(net, options, loc=host.array(LOC), scale=host.array(SCALE))


def given(names, conditioned=True):
    """Mean and covariance of all coordinates but those of the blocks ``names`` given them."""
    joint = COV if conditioned else ALONE
    known = np.isin(np.arange(5), [i for name in names for i in WIDE[name]])
    cov = joint * SCALE * SCALE[:, None]
    gain = cov[np.ix_(~known, known)] @ np.linalg.inv(cov[np.ix_(known, known)]) if known.any() else np.zeros((5, 0))
    mean = LOC[~known] + gain @ (OBSERVED - LOC)[known]
    return known, mean, cov[np.ix_(~known, ~known)] - gain @ cov[np.ix_(known, ~known)]


def conditional(host, prior, names, number, **options):
    values = {n: host.array(np.tile(OBSERVED[WIDE[n]], (number, 1))) for n in names}
    return prior.conditional(values, **options)


def slope(host, f, values):
    """The gradient of a scalar function of an array."""
    return host.value_and_grad(lambda params: f(params["z"]), {"z": values}, 0)[1]["z"]


# The head of one coordinate pulls rightly; of several there are particles, see below.
CASES = [(names, True) for names in [(), ("a",), ("a", "b"), ("c",), ("b", "c")]] + [(("c",), False)]
# The sampler is the same mathematics on both hosts, see below; what compiles slowly is drawn by one of them.
DRAWN = [("pyro", Ancestral(250), *case) for case in CASES] + [("pyro", DPMSolver(30), *CASES[1])]
DRAWN += [("numpyro", Ancestral(250), *CASES[i]) for i in (1, 3, 5)]


@pytest.mark.parametrize(("host", "solver", "names", "conditioned"), DRAWN, indirect=["host"])
def test_draws_have_the_moments_of_the_conditional(host, solver, names, conditioned):
    number, slack = 2000, 0.05
    prior = make(host, conditioned=conditioned, solver=solver)
    fn = conditional(host, prior, names, number) if names else prior
    draws = host.sample(fn, () if names else (number,), seed=1)
    known, mean, cov = given(names, conditioned)
    assert np.array_equal(draws[:, known], np.tile(OBSERVED[known], (number, 1)))
    free, sd = draws[:, ~known], np.sqrt(np.diag(cov))
    assert np.all(np.abs(free.mean(0) - mean) < (5 / np.sqrt(number) + slack) * sd)
    spread = np.sqrt((np.outer(sd**2, sd**2) + cov**2) / number)
    assert np.all(np.abs(np.cov(free.T).reshape(cov.shape) - cov) < 5 * spread + slack * np.outer(sd, sd))


def check_pulled(draws, names, free):
    """Moments within four standard errors, and what is left of the bias of so many particles."""
    known, mean, cov = given(names, conditioned=False)
    assert np.array_equal(draws[:, known], np.tile(OBSERVED[known], (len(draws), 1)))
    draws, sd, slack = draws[:, ~known], np.sqrt(np.diag(cov)), 0.03
    assert draws.shape[1] == free
    assert np.all(np.abs(draws.mean(0) - mean) < (4 / len(draws) ** 0.5 + slack) * sd)
    spread = np.sqrt((np.outer(sd**2, sd**2) + cov**2) / len(draws))
    assert np.all(np.abs(np.cov(draws.T).reshape(cov.shape) - cov) < 4 * spread + 2 * slack * np.outer(sd, sd))


@pytest.mark.parametrize(("names", "free"), [(("a", "b"), 2), (("a",), 3)])
def test_an_unconditional_network_is_right_for_several_known_coordinates(host, names, free):
    """Two blocks that are known, and one of two coordinates. The product of their heads is off by 0.24 deviations."""
    fn = conditional(host, make(host, conditioned=False), names, 800)
    draws, size = (host.numpy(x) for x in host.call(lambda: draw_with_size(host, fn), 1))
    check_pulled(draws, names, free)
    assert np.all((size >= 1.0 - 1e-6) & (size <= 16.0 + 1e-6))
    assert size.mean() > 10.0
    with pytest.raises(OptionError, match="at most one known coordinate, or a known primary block"):
        fn.log_prob(host.array(draws))


def draw_with_size(host, fn):
    if host.name == "pyro":
        return fn.sample_with_size()
    from mmppl.numpyro.driver import jit_of_loops

    return jit_of_loops(lambda fn, key: fn.sample_with_size(key))(fn, host.mm.host.numpyro.prng_key())


def test_rows_of_an_unconditional_network_may_differ(host):
    """Nothing known, one coordinate, several, and the primary block."""
    patterns, each = [(), ("b",), ("a", "b"), ("c", "b")], 300
    present = {n: host.array(np.repeat([n in names for names in patterns], each)) for n in SIZES}
    values = {n: host.array(np.tile(OBSERVED[WIDE[n]], (4 * each, 1))) for n in SIZES}
    fn = make(host, conditioned=False).conditional(values, present)
    draws = host.sample(fn, (), seed=2)
    for i, names in enumerate(patterns):
        check_pulled(draws[i * each : (i + 1) * each], names, 5 - sum(len(WIDE[n]) for n in names))
    with pytest.raises(OptionError, match="at most one known coordinate"):
        fn.log_prob(host.array(draws))
    if host.name == "numpyro":  # whose compiled programs cannot look at what is known
        few = {n: x[:: each // 5] for n, x in values.items()}, {n: x[:: each // 5] for n, x in present.items()}
        some = make(host, conditioned=False).conditional(*few)
        lost = np.isnan(host.log_prob(some, draws[:: each // 5])).reshape(4, 5)
        assert lost.all(1).tolist() == lost.any(1).tolist() == [False, False, True, False]
    # Where the primary block is known, the density is that of the heads.
    fn = conditional(host, make(host, conditioned=False), ("b", "c"), 3)
    known, mean, cov = given(("b", "c"), conditioned=False)
    exact = stats.multivariate_normal(mean, cov).logpdf(draws[-3:, ~known])
    np.testing.assert_allclose(host.log_prob(fn, draws[-3:]), exact, atol=2e-3)


@pytest.mark.parametrize(
    ("host", "names", "conditioned"),
    [("numpyro", *CASES[1]), *(("pyro", *CASES[i]) for i in (0, 1, 3))],
    indirect=["host"],
)
def test_density_is_exact(host, names, conditioned):
    prior = make(host, conditioned=conditioned)
    known, mean, cov = given(names, conditioned)
    rng = np.random.default_rng(0)
    values = np.tile(OBSERVED, (4, 1))
    values[:, ~known] = mean + rng.standard_normal((4, len(mean))) @ np.linalg.cholesky(cov).T
    fn = conditional(host, prior, names, 4) if names else prior
    found, error = (host.numpy(x) for x in fn.log_density(host.array(values)))
    exact = stats.multivariate_normal(mean, cov).logpdf(values[:, ~known])
    np.testing.assert_allclose(found, exact, atol=2e-3)
    assert np.all(error < 1e-2)


def test_marginal_leaves_blocks_out(host):
    present = {n: host.array(np.array([n != "a"])) for n in SIZES}
    fn = make(host).marginal(present)
    cov, keep = COV * SCALE * SCALE[:, None], WIDE["b"] + WIDE["c"]
    found = host.numpy(fn.log_prob(host.array(OBSERVED[None])))
    exact = stats.multivariate_normal(LOC[keep], cov[np.ix_(keep, keep)]).logpdf(OBSERVED[keep])
    np.testing.assert_allclose(found, [exact], atol=2e-3)
    assert np.array_equal(host.sample(fn, (), seed=0)[0, :2], LOC[:2])
    alone = make(host).marginal({n: host.array(np.array([n != "c"])) for n in SIZES})
    assert np.isnan(host.numpy(alone.log_prob(host.array(OBSERVED[None])))).all()


def test_gradient_of_the_density_is_that_of_the_normal(host):
    prior = make(host)
    values = np.stack([OBSERVED, LOC + 0.3])
    found = slope(host, lambda z: prior.log_prob(z).sum(), values)
    exact = -np.linalg.solve(COV * SCALE * SCALE[:, None], (values - LOC).T).T
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-3)


def pair_net(space, r):
    """The best predictors of a pair of correlation r, one dimension each, by formulas of their own."""

    def net(x):
        xp, (z, known, t, code) = get_backend(x).xp, (x[..., i : i + 1] for i in range(4))
        a, sigma, joined = SDE.mean_factor(t), SDE.scale(t), space.weight(t)
        conditioned, both = code == 0, r * a + joined
        spread = xp.where(conditioned, a**2 * (1 - r**2) + sigma**2, 1 + joined**2 + 2 * r * a * joined)
        noise = sigma * (z - xp.where(conditioned, both * known, 0.0 * z)) / spread
        return xp.concat([noise, both * z / spread, 0.0 * z, 0.5 * xp.log(1 - both**2 / spread + 0.0 * z)], axis=-1)

    return net


@pytest.mark.parametrize(
    ("host", "strength", "conditioned"),
    [("numpyro", 1.0, True)] + [("pyro", *case) for case in ((0.0, True), (1.0, True), (1.0, False))],
    indirect=["host"],
)
def test_oracle_of_one_pair(host, strength, conditioned):
    """Correlation 0.8: a pair of unit variances, and conditionals of slope 0.8 and variance 0.36."""
    space, number = SharedSpace(Blocks.of({"z": 1, "x": 1}), strength=strength, sde=SDE), 5000
    learning = MultiTaskLoss(p_conditional=0.5 * conditioned, predict="noise")
    options = MultiTaskModel(space, learning, solver=Ancestral(400))
    prior = host.mm.MultiTask(pair_net(space, 0.8), options)
    draws = host.sample(prior, (number,), seed=0)
    np.testing.assert_allclose(np.cov(draws.T), [[1.0, 0.8], [0.8, 1.0]], atol=0.08)
    assert np.corrcoef(draws.T)[0, 1] == pytest.approx(0.8, abs=0.015)
    known = np.linspace(-2.0, 2.0, number)[:, None]
    for name, other in (("x", 0), ("z", 1)):
        drawn = host.sample(prior.conditional({name: host.array(known)}), (), seed=1)[:, other]
        line = np.polyfit(known[:, 0], drawn, 1)
        assert line[0] == pytest.approx(0.8, abs=0.02)
        assert np.var(drawn - np.polyval(line, known[:, 0])) == pytest.approx(0.36, abs=0.03)


def test_density_by_the_pull_of_a_head(host):
    space = SharedSpace(Blocks.of({"z": 1, "x": 1}), strength=0.0, sde=SDE)
    options = MultiTaskModel(space, MultiTaskLoss(p_conditional=0.0, predict="noise"))
    values = np.array([[0.3, 1.0], [-1.0, 0.5]])
    fn = host.mm.MultiTask(pair_net(space, 0.8), options).conditional({"x": host.array(values[:, 1:])})
    exact = stats.norm(0.8 * values[:, 1], 0.6).logpdf(values[:, 0])
    np.testing.assert_allclose(host.numpy(fn.log_prob(host.array(values))), exact, atol=2e-3)


def replayed_draw(host, options, net, start, xi):
    """The primary block ``(N, 2)`` by the ancestral sampler from ``start`` with the noise ``xi``, all asked for."""
    start = host.array(start)
    backend = get_backend(start)
    everything = backend.asarray(np.ones((len(start), 3), bool))
    roles = BlockRoles(everything, ~everything)

    class Replayed:
        def __getattr__(self, name):
            return getattr(backend, name)

        def fold_in(self, rng, i):
            return i

        def normal(self, rng, shape, like):
            return like if rng == "start" else host.array(xi)[rng]

    free = options.blocks.spread(options.space.is_primary(roles))
    query = Query(Replayed(), net, Condition(start, None, roles), None)
    z = options._ancestral("start", None, query, start, free)
    return host.numpy(z)[:, 3:], roles


def test_steps_are_the_published_ones(host):
    """The sampler with replayed noise, by weights of single steps and alpha of each, as in the paper's theorem."""
    options = model(solver=Ancestral(20))
    space, grid, rng = options.space, options.solver.grid, np.random.default_rng(0)
    said, xi = rng.standard_normal(5), rng.standard_normal((len(grid) - 1, 2, 5))
    scale = np.array([0.5, 1.5, 0.8, 1.0, 1.0])  # of the heads
    answer = host.array(np.concatenate([said, np.log(scale)]))
    start = rng.standard_normal((2, 5))
    found, _ = replayed_draw(host, options, lambda x: answer + 0.0 * x[..., :1], start, xi)
    z = SDE.prior_scale * start[:, 3:]
    for t, u, noise in zip(grid[:-1], grid[1:], xi, strict=True):
        a_t, a_u = SDE.mean_factor(t), SDE.mean_factor(u)
        alpha, bar, before = (a_t / a_u) ** 2, a_t**2, a_u**2
        w = space.weight(t) / np.sqrt(alpha) - space.weight(u)
        shift = space.shift(np.where(np.arange(5) < 3, said + scale * noise, 0.0))[:, 3:]
        mean = (z - (1 - alpha) / np.sqrt(1 - bar) * said[3:]) / np.sqrt(alpha) - w * shift
        z = mean + np.sqrt((1 - alpha) * (1 - before) / (1 - bar)) * noise[:, 3:]
    np.testing.assert_allclose(found, z, rtol=1e-6)


def test_forward_marginal_follows_from_its_steps():
    space, grid = model().space, np.linspace(0.0, 1.0, 400)
    rng = np.random.default_rng(1)
    z, x = rng.standard_normal((2, 5))
    mean = z[3:].copy()
    for u, t in zip(grid[:-1], grid[1:], strict=True):
        ratio = SDE.mean_factor(t) / SDE.mean_factor(u)
        mean = ratio * (mean + (space.weight(t) / ratio - space.weight(u)) * space.shift(x)[3:])
    roles = BlockRoles(np.ones((1, 3), bool), np.zeros((1, 3), bool))
    wanted = space.diffuse(np.concatenate([x[:3], z[3:]])[None], roles, np.ones((1, 1)), np.zeros((1, 5)))
    np.testing.assert_allclose(mean, wanted[0, 3:], rtol=1e-9)
    assert space.weight(np.ones(())) < 0.01
    assert space.weight(np.zeros(())) == 0.0


def test_without_joining_the_primary_block_is_an_ordinary_diffusion(host):
    """With the same noise."""
    options = model(strength=0.0, solver=Ancestral(12))
    net, xi = GaussianMultiTask(options.space, COV), np.random.default_rng(0).standard_normal((13, 3, 5))
    start = np.tile([0.0, 0.0, 0.0, 0.4, -0.2], (3, 1))
    ours, roles = replayed_draw(host, options, net, start, xi)
    begin = host.array(np.where(np.arange(5) < 3, start, SDE.prior_scale * start))
    backend, free = get_backend(begin), options.blocks.spread(options.space.is_primary(roles))
    score = options.score(Query(backend, net, Condition(begin, None, roles), None))
    theirs = options.solver.run(backend, SDE, score, begin, lambda i: host.array(xi)[i], free)
    np.testing.assert_allclose(ours, host.numpy(theirs)[:, 3:], rtol=1e-12)


def test_loss_is_its_formula():
    space = SharedSpace(Blocks.of(SIZES), "c", 0.7, SDE)
    rng = np.random.default_rng(2)
    z, answer, eps = rng.standard_normal((1, 5)), rng.standard_normal(10), rng.standard_normal((1, 5))
    u = np.full((1, 1), 0.4)
    noise = MultiTaskNoise(u, np.full((1, 3), 0.9), u, np.full((1, 3), 0.9), u, eps)
    clean = np.array([[False, True, False]])
    roles = BlockRoles(np.array([[True, False, True]]), clean)
    for predict in ("noise", "velocity"):
        learning = MultiTaskLoss(weight=0.3, predict=predict)
        found = learning.losses(get_backend(z), space, lambda x: answer + 0.0 * x[..., :1], z, roles, noise)
        t = np.array(1e-5 + (1 - 1e-5) * 0.4)
        a, sigma = SDE.mean_factor(t), SDE.scale(t)
        joined = 0.7 * a * (1 - a) * space.shift(z)[0, 3:]
        wanted = eps[0, 3:] if predict == "noise" else a * eps[0, 3:] - sigma * (z[0, 3:] + joined / a)
        heads = stats.norm(answer[:2], np.exp(answer[5:7])).logpdf(z[0, :2])
        np.testing.assert_allclose(found[0, 3:], (wanted - answer[3:5]) ** 2, rtol=1e-9)
        np.testing.assert_allclose(found[0, :2], -0.3 * heads, rtol=1e-9)
        assert found[0, 2] == 0.0
    lost = BlockRoles(np.array([[True, False, False]]), clean)
    assert not learning.losses(get_backend(z), space, lambda x: answer + 0.0 * x[..., :1], z, lost, noise).any()


def test_the_network_sees_what_is_known_and_nothing_else():
    space, shown = SharedSpace(Blocks.of(SIZES), "c"), []
    z, t = np.arange(1.0, 6.0)[None], np.array([[0.25]])

    def net(x):
        shown.append(x[0])
        return np.zeros((1, 10))

    roles = BlockRoles(np.array([[True, False, True]]), np.array([[False, True, False]]))
    MultiTaskLoss().answer(get_backend(z), space, net, roles, z, t)
    np.testing.assert_array_equal(shown[0], [0, 0, 3, 4, 5, 0.25, 0, 0.25])
    roles = BlockRoles(np.array([[False, False, True]]), np.array([[False, True, False]]))
    MultiTaskLoss().answer(get_backend(z), space, net, roles, z, t)
    np.testing.assert_array_equal(shown[1], [0, 0, 3, 4, 5, -1, 0, 0.25])


def test_states_keep_the_primary_block():
    space, learning = SharedSpace(Blocks.of(SIZES), "c"), MultiTaskLoss(p_conditional=0.6, p_marginal=0.4)
    like = np.zeros((20_000, 5))
    noise = learning.draw(get_backend(like), np.random.default_rng(0), like, 3)
    present = np.ones((20_000, 3), bool)
    present[:100, 2] = False
    diffused, clean = learning.roles(space, noise, present)
    assert np.array_equal(diffused[:, 2], present[:, 2])
    assert not clean[:, 2].any()
    hidden = ~(diffused | clean)
    assert hidden[100:, :2].mean() == pytest.approx(0.4 * 0.5, abs=0.01)
    assert clean[100:, 0].mean() == pytest.approx(0.8 * 0.3, abs=0.01)


def test_no_gradient_passes_through_what_joins(host):
    space, backend = model().space, get_backend(host.array(np.zeros(1)))
    everything = backend.asarray(np.ones((1, 3), bool))
    roles = BlockRoles(everything, ~everything)
    zero, t = host.array(np.zeros((1, 5))), host.array(np.full((1, 1), 0.5))

    def primary(z):
        return space.diffuse(z, roles, t, zero)[..., 3:].sum()

    found = slope(host, primary, OBSERVED[None])
    np.testing.assert_allclose(found, [[0, 0, 0, *[float(SDE.mean_factor(np.array(0.5)))] * 2]])


def test_what_is_wrong_is_said(host):
    with pytest.raises(ModalityError, match=r"primary block among \['a', 'b', 'c'\]; got 'd'"):
        SharedSpace(Blocks.of(SIZES), "d")
    with pytest.raises(OptionError, match="strength >= 0; got -1"):
        SharedSpace(Blocks.of(SIZES), strength=-1.0)
    with pytest.raises(OptionError, match=r"p_marginal in \[0, 1\]; got 2"):
        MultiTaskLoss(p_marginal=2.0)
    with pytest.raises(OptionError, match="weights of heads >= 0"):
        MultiTaskLoss(weight=-0.1)
    with pytest.raises(OptionError, match="Expected predict among"):
        MultiTaskLoss(predict="data")
    with pytest.raises(OptionError, match="guidance >= -1"):
        model(guidance=-1.1)
    with pytest.raises(OptionError, match="adds no noise .*; got EulerMaruyama"):
        model(solver=EulerMaruyama(10))
    with pytest.raises(OptionError, match="particles=None"):
        conditional(host, make(host), ("a",), 1, particles=3)
    short = host.mm.MultiTask(lambda x: x[..., :5], SIZES)
    with pytest.raises(OptionError, match="Build it with outputs=10"):
        host.sample(short, (), seed=0)
