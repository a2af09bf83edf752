"""Joint scores, on Gaussians whose every conditional is known, with the exact network."""

import numpy as np
import pytest
from scipy import stats

from mmppl.errors import DataError, ModalityError, OptionError
from mmppl.priors import Blocks, Conditioning, MultiTimeScoreMatching, ProbabilityFlow, ScoreModel
from mmppl.sde import VE, VP, SubVP
from mmppl.sde.solvers import Ancestral, AnnealedLangevin, DPMSolver, EulerMaruyama, Heun, PredictorCorrector, RePaint
from mmppl.testing.gaussian_score import GaussianScore

SIZES = {"a": 2, "b": 1, "c": 1}
ROOT = np.array([[1.0, 0.0, 0.0, 0.0], [0.5, 0.8, 0.0, 0.0], [0.7, -0.3, 0.6, 0.0], [-0.4, 0.5, 0.5, 0.5]])
COV = ROOT @ ROOT.T / np.sqrt(np.outer(np.diag(ROOT @ ROOT.T), np.diag(ROOT @ ROOT.T)))
# At the end of this diffusion nothing is left of the data: the usual one leaves 0.0066 of them, and with it an error of
# as much times the conditional's mean in the flow's density.
SDE = VP(0.1, 40.0)
NET = GaussianScore(SIZES, COV, SDE)
LOC, SCALE = np.array([1.0, -2.0, 0.5, 3.0]), np.array([0.5, 2.0, 1.5, 0.8])
WIDE = {"a": [0, 1], "b": [2], "c": [3]}
PATTERNS = [(), ("a",), ("b",), ("c",), ("a", "b"), ("b", "c"), ("a", "c")]


def make(host, solver=None, **options):
    more = {"learning": MultiTimeScoreMatching(SDE, predict="noise")} | ({} if solver is None else {"solver": solver})
    return host.mm.JointScore(
        NET,
        ScoreModel(Blocks.of(SIZES), **more, **options),
        loc=host.array(LOC),
        scale=host.array(SCALE),
    )


def coordinates(names):
    out = np.zeros(4, bool)
    out[[i for name in names for i in WIDE[name]]] = True
    return out


def exact(z, known, wanted):
    mean, cov = NET.given((z - LOC) / SCALE, known, wanted)
    return LOC[wanted] + SCALE[wanted] * mean, np.outer(SCALE[wanted], SCALE[wanted]) * cov


OBSERVED = LOC + SCALE * np.array([1.2, -0.4, 0.9, -1.1])


def conditional(host, prior, names, number, **options):
    """The conditional given some blocks of the observed row, in so many rows."""
    values = {n: host.array(np.tile(OBSERVED[WIDE[n]], (number, 1))) for n in names}
    return prior.conditional(values, **options)


def check_moments(draws, mean, cov, slack=0.0):
    """Moments within five Monte-Carlo standard errors and ``slack`` standard deviations."""
    error = np.sqrt(np.diag(cov) / len(draws))
    assert np.all(np.abs(draws.mean(0) - mean) < 5 * error + slack * np.sqrt(np.diag(cov)))
    spread = np.sqrt((np.outer(np.diag(cov), np.diag(cov)) + cov**2) / len(draws))
    scale = np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
    assert np.all(np.abs(np.cov(draws.T).reshape(cov.shape) - cov) < 5 * spread + slack * scale)


SOLVERS = {
    "heun": (Heun(19), 0.03),
    "dpm": (DPMSolver(20), 0.01),
    "euler": (EulerMaruyama(500), 0.05),
    "ancestral": (Ancestral(250), 0.03),
    "corrector": (PredictorCorrector(100), 0.05),
    "repaint": (RePaint(200, 10, 2), 0.05),
    "langevin": (AnnealedLangevin(40, 10), 0.05),
}
# Steps at ever smaller noise are many, and are the same for every subset.
DRAWN = [(solver, names) for solver in SOLVERS for names in ((), ("a",), ("b", "c")) if solver != "langevin"]
DRAWN += [("langevin", ("a",))]


@pytest.mark.parametrize(("solver", "names"), DRAWN)
def test_draws_have_the_moments_of_the_conditional(host, solver, names):
    solver, slack = SOLVERS[solver]
    assert solver.evaluations <= 20 or slack > 0.01
    number, known = 4000, coordinates(names)
    prior = make(host, solver)
    shape = (number,) if not names else ()
    fn = conditional(host, prior, names, number) if names else prior
    draws = host.sample(fn, shape, seed=1)
    assert draws.shape == (number, 4)
    assert np.array_equal(draws[:, known], np.tile(OBSERVED[known], (number, 1)))
    check_moments(draws[:, ~known], *exact(OBSERVED, known, ~known), slack)


def rows(host, patterns):
    values = {n: host.array(np.tile(OBSERVED[WIDE[n]], (len(patterns), 1))) for n in SIZES}
    present = {n: np.array([n in names for names in patterns]) for n in SIZES}
    return values, {n: host.array(mask) for n, mask in present.items()}


def test_every_row_has_a_pattern_of_its_own(host):
    values, present = rows(host, PATTERNS)
    # What lies where nothing is present does not matter.
    values = {n: host.array(np.where(host.numpy(present[n])[:, None], host.numpy(values[n]), np.nan)) for n in SIZES}
    draws = host.sample(make(host).conditional(values, present), (3000,), seed=2)
    assert draws.shape == (3000, len(PATTERNS), 4)
    for row, names in enumerate(PATTERNS):
        known = coordinates(names)
        assert np.all(draws[:, row, known] == OBSERVED[known])
        check_moments(draws[:, row, ~known], *exact(OBSERVED, known, ~known), 0.01)


def test_blocks_not_wanted_are_not_made(host):
    fn = conditional(host, make(host), ("c",), 4000, want=("a",))
    draws = host.sample(fn, (), seed=3)
    known, wanted = coordinates(("c",)), coordinates(("a",))
    assert np.all(draws[:, 2] == LOC[2])
    check_moments(draws[:, wanted], *exact(OBSERVED, known, wanted), 0.01)


def test_known_blocks_may_be_draws(host):
    number, width = 4000, 0.7
    values = {"b": (host.array(np.full((number, 1), OBSERVED[2])), host.array(np.full((number, 1), width)))}
    fn = make(host).conditional(values)
    draws = host.sample(fn, (), seed=4)
    assert draws[:, 2].std() == pytest.approx(width, rel=0.05)
    known = coordinates(("b",))
    gain = COV[~known][:, known] / COV[2, 2] * SCALE[~known, None] / SCALE[2]
    mean, cov = exact(OBSERVED, known, ~known)
    check_moments(draws[:, ~known], mean, cov + gain @ gain.T * width**2, 0.01)
    value = draws[:5]
    wanted = np.array([stats.norm(OBSERVED[2], width).logpdf(z[2]) for z in value])
    wanted += [stats.multivariate_normal(*exact(z, known, ~known)).logpdf(z[~known]) for z in value]
    few = {"b": tuple(x[:5] for x in values["b"])}
    np.testing.assert_allclose(host.log_prob(make(host).conditional(few), value), wanted, atol=1e-3)


@pytest.mark.parametrize("names", [(), ("a",), ("b", "c")])
def test_the_density_by_the_flow_is_exact(host, names):
    rng, known = np.random.default_rng(5), coordinates(names)
    value = LOC + SCALE * (rng.standard_normal((6, 4)) @ np.linalg.cholesky(COV).T)
    value[:, known] = OBSERVED[known]
    prior = make(host)
    fn = conditional(host, prior, names, 6) if names else prior
    truth = stats.multivariate_normal(*exact(OBSERVED, known, ~known))
    np.testing.assert_allclose(host.log_prob(fn, value), truth.logpdf(value[:, ~known]), rtol=1e-4, atol=1e-3)
    _, grads = host.value_and_grad(lambda p: fn.log_prob(p["z"]).sum(), {"z": value}, seed=0)
    mean, cov = exact(OBSERVED, known, ~known)
    slope = -np.linalg.solve(cov, (value[:, ~known] - mean).T).T
    np.testing.assert_allclose(grads["z"][:, ~known], slope, rtol=1e-2, atol=1e-2)


def test_the_density_of_a_marginal(host):
    present = {n: host.array(np.full(6, n != "a")) for n in SIZES}
    fn = make(host).marginal(present)
    value = LOC + SCALE * np.random.default_rng(6).standard_normal((6, 4))
    seen = coordinates(("b", "c"))
    truth = stats.multivariate_normal(*exact(value[0], ~coordinates(SIZES), seen))
    np.testing.assert_allclose(host.log_prob(fn, value), truth.logpdf(value[:, seen]), atol=1e-3)


def test_probes_give_the_density_with_an_error(host):
    prior = make(host, flow=ProbabilityFlow(probes=64))
    value = LOC + SCALE * np.random.default_rng(7).standard_normal((20, 4))
    out, error = host.call(lambda: tuple(host.numpy(x) for x in prior.log_density(host.array(value))), 0)
    again, _ = host.call(lambda: tuple(host.numpy(x) for x in prior.log_density(host.array(value))), 1)
    assert np.array_equal(out, again)
    truth = stats.multivariate_normal(LOC, np.outer(SCALE, SCALE) * COV).logpdf(value)
    assert np.all(error > 0.0)
    assert 0.5 < np.sqrt(np.mean(((out - truth) / error) ** 2)) < 2.0


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3])
def test_the_error_of_the_flow_knows_its_integrator(host, tolerance):
    """It is larger than what the density is off by, and not by orders of magnitude."""
    value = LOC + SCALE * np.random.default_rng(9).standard_normal((20, 4))
    prior = make(host, flow=ProbabilityFlow(rtol=tolerance, atol=tolerance))
    out, error = host.call(lambda: tuple(host.numpy(x) for x in prior.log_density(host.array(value))), 0)
    np.testing.assert_allclose(out, host.log_prob(prior, value), rtol=1e-12)
    off = np.abs(out - stats.multivariate_normal(LOC, np.outer(SCALE, SCALE) * COV).logpdf(value))
    assert error.mean() > off.mean() > 0.01 * error.mean()


def test_the_denoising_bound_is_tight_for_the_exact_network(host):
    learning = MultiTimeScoreMatching(SDE, predict="noise", p_conditional=0.0, time_sampling="importance", first=1e-4)
    prior = host.mm.JointScore(
        NET,
        ScoreModel(Blocks.of(SIZES), learning=learning),
        loc=host.array(LOC),
        scale=host.array(SCALE),
        density="denoising",
    )
    rng = np.random.default_rng(8)
    value = LOC + SCALE * (rng.standard_normal((40_000, 4)) @ np.linalg.cholesky(COV).T)
    found = host.log_prob(prior, value)
    truth = stats.multivariate_normal(LOC, np.outer(SCALE, SCALE) * COV).logpdf(value)
    error = (found - truth).std() / np.sqrt(len(value))
    assert error < 0.2
    assert abs((found - truth).mean()) < 4 * error + 1e-3


OTHERS = {"SubVP": SubVP(0.1, 40.0), "VE": VE(0.01, 50.0)}
FIRST = 0.05


def other(host, name, **options):
    """The same density under another diffusion, without standardisation."""
    sde = OTHERS[name]
    learning = MultiTimeScoreMatching(sde, predict="noise", p_conditional=0.0, time_sampling="likelihood", first=FIRST)
    density = options.pop("density", "flow")
    settings = ScoreModel(Blocks.of(SIZES), learning, **options)
    return host.mm.JointScore(GaussianScore(SIZES, COV, sde), settings, density=density)


@pytest.mark.parametrize("name", OTHERS)
def test_densities_and_bounds_of_other_diffusions(host, name):
    """By the flow, and by the denoising bound, which is tight for the exact network."""
    value = np.random.default_rng(8).standard_normal((40_000, 4)) @ np.linalg.cholesky(COV).T
    truth = stats.multivariate_normal(np.zeros(4), COV).logpdf(value)
    np.testing.assert_allclose(host.log_prob(other(host, name), value[:6]), truth[:6], rtol=1e-3, atol=5e-3)
    found = host.log_prob(other(host, name, density="denoising"), value)
    error = found.std() / np.sqrt(len(value))
    # The bound knows the data up to the noise of its first time: the entropy is that of S + v I, v = (sigma / a)^2.
    factor, scale = OTHERS[name].mean_factor(np.array(FIRST)), OTHERS[name].scale(np.array(FIRST))
    noisy = factor**2 * COV + scale**2 * np.eye(4)
    assert error < 0.25
    assert abs(found.mean() + 0.5 * np.linalg.slogdet(2.0 * np.pi * np.e * noisy)[1]) < 4 * error


@pytest.mark.parametrize(("host", "name"), [("numpyro", "VE"), ("pyro", "SubVP")], indirect=["host"])
def test_particles_are_right_under_other_diffusions(host, name):
    number, known = 400, coordinates(("a",))
    fn = other(host, name).conditional({"a": host.array(np.tile([1.2, -0.4], (number, 1)))}, particles=24)
    draws = host.sample(fn, (), seed=12)
    check_moments(draws[:, ~known], *NET.given(np.array([1.2, -0.4, 0.0, 0.0]), known, ~known), 0.05)


@pytest.mark.parametrize("how", ["fresh", "fixed", "clean", "legacy"])
def test_replacement_is_biased(host, how):
    """Each way of replacement keeps what is observed, and none has the conditional's mean and covariance."""
    names, number = ("a",), 6000
    known = coordinates(names)
    draws = host.sample(
        conditional(host, make(host, Ancestral(200), conditioning=Conditioning(how)), names, number), (), 9
    )
    assert np.all(draws[:, known] == OBSERVED[known])
    mean, cov = exact(OBSERVED, known, ~known)
    off = np.abs(np.cov(draws[:, ~known].T) - cov) / np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
    away = np.abs(draws[:, ~known].mean(0) - mean) / np.sqrt(np.diag(cov))
    assert max(off.max(), away.max()) > 0.1
    assert np.all(away < 1.5)


def test_particles_remove_the_bias(host):
    """What replacement gets wrong (see above), twisted particles get right."""
    names, number = ("a",), 600
    known = coordinates(names)
    prior = make(host, conditioning=Conditioning("fixed"))
    few, many = (conditional(host, prior, names, number, particles=p) for p in (2, 24))
    draws, size = (host.numpy(x) for x in host.call(lambda: draw_with_size(host, many), 12))
    assert np.all(draws[:, known] == OBSERVED[known])
    mean, cov = exact(OBSERVED, known, ~known)
    check_moments(draws[:, ~known], mean, cov, 0.05)
    assert size.shape == (number,)
    assert np.all((size >= 1.0 - 1e-6) & (size <= 24.0 + 1e-6))
    _, little = (host.numpy(x) for x in host.call(lambda: draw_with_size(host, few), 12))
    assert little.mean() < 2.0 < size.mean()
    with pytest.raises(OptionError, match="Expected a conditional with particles"):
        host.call(lambda: draw_with_size(host, prior), 0)
    with pytest.raises(OptionError, match="Expected number >= 2"):
        prior.conditional({"a": host.array(np.zeros((1, 2)))}, particles=1)


def draw_with_size(host, fn):
    if host.name == "pyro":
        return fn.sample_with_size()
    return fn.sample_with_size(host.mm.host.numpyro.prng_key())


def test_a_diffusion_is_a_score_of_one_block(host):
    net = GaussianScore({"z": 4}, COV, SDE)
    prior = host.mm.Diffusion(net, ScoreModel(Blocks.of({"z": 4}), MultiTimeScoreMatching(SDE, predict="noise")))
    draws = host.sample(prior, (4000,), seed=13)
    check_moments(draws, np.zeros(4), COV, 0.01)
    assert host.mm.Diffusion(lambda x: x[..., :3], 3).event_shape == (3,)
    with pytest.raises(OptionError, match="Expected one block"):
        host.mm.Diffusion(net, ScoreModel(Blocks.of(SIZES)))


def test_a_plate_of_rows_and_masks(host):
    prior = make(host)

    def program():
        with host.ppl.plate("rows", 3):
            return host.ppl.sample("z", prior)

    assert host.numpy(host.call(program, 0)).shape == (3, 4)
    values = np.tile(OBSERVED, (3, 1))
    single = host.log_prob(prior, OBSERVED[None])[0]
    assert host.log_joint(program, {"z": values}) == pytest.approx(3 * single, rel=1e-6)


def test_bad_input(host):
    prior = make(host)
    good = {"a": host.array(np.zeros((2, 2)))}
    with pytest.raises(OptionError, match="at least one known block; got none"):
        prior.conditional({})
    with pytest.raises(ModalityError, match=r"Expected blocks among \['a', 'b', 'c'\]; got \['d'\]"):
        prior.conditional({"d": host.array(np.zeros((2, 1)))})
    with pytest.raises(ModalityError, match=r"got \['e'\]"):
        prior.conditional(good, want=("e",))
    with pytest.raises(ModalityError, match="Block 'a': expected dimension 2; got 1"):
        prior.conditional({"a": host.array(np.zeros((2, 1)))})
    with pytest.raises(DataError, match="Block 'a' is not finite"):
        prior.conditional({"a": host.array(np.full((2, 2), np.nan))})
    with pytest.raises(OptionError, match="pairs"):
        prior.conditional({**good, "b": (host.array(np.zeros((2, 1))), host.array(np.ones((2, 1))))})
    with pytest.raises(OptionError, match="Expected a density among"):
        host.mm.JointScore(NET, SIZES, density="exact")
    with pytest.raises(OptionError, match="dimension of at least 1"):
        host.mm.JointScore(NET, {"a": 0})
    with pytest.raises(OptionError, match="Fresh noise at every step"):
        host.sample(make(host, Heun(9), conditioning=Conditioning("fresh")).conditional(good), (), 0)
    short = host.mm.JointScore(lambda x: x[..., :3], SIZES)
    with pytest.raises(OptionError, match=r"latents of dimension 4; got \(2, 3\). Build it for the sizes \(2, 1, 1\)"):
        host.sample(short, (2,), 0)
    with pytest.raises(OptionError, match="guidance 0 where conditions are replaced"):
        Conditioning("fixed", guidance=1.0)
    with pytest.raises(OptionError, match="Expected method among"):
        Conditioning("maybe")


def test_everything_known_comes_back(host):
    values, _ = rows(host, [()])
    draws = host.sample(make(host).conditional(values), (2,), seed=0)
    assert np.all(draws == OBSERVED)


def test_another_diffusion(host):
    net = GaussianScore(SIZES, COV, VE(0.01, 20.0))
    prior = host.mm.JointScore(
        net, ScoreModel(Blocks.of(SIZES), MultiTimeScoreMatching(VE(0.01, 20.0), predict="noise"), DPMSolver(30))
    )
    values = {"a": host.array(np.tile([[1.0, 0.5]], (4000, 1)))}
    draws = host.sample(prior.conditional(values), (), seed=11)
    mean, cov = net.given(np.array([1.0, 0.5, 0.0, 0.0]), coordinates("a"), ~coordinates("a"))
    check_moments(draws[:, 2:], mean, cov, 0.03)
