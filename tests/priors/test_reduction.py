"""Score ratio matching: spectra, certificates and ranks of Gaussians with known canonical correlations."""

from importlib import import_module

import numpy as np
import pytest
from scipy import stats

from mmppl._backend.numpy import BACKEND
from mmppl.batch import Batch
from mmppl.errors import DataError, OptionError
from mmppl.inference import find_subspaces
from mmppl.priors import Blocks
from mmppl.priors.reduction.score_ratio import denoising_ratio_losses, directions, linear_ratio, ratio_losses
from mmppl.priors.reduction.subspaces import Subspaces, bootstrap, spectra, whitening

RHO = np.array([0.9, 0.6, 0.2])
BLOCKS = Blocks.of({"a": 4, "b": 5})
CROSS = np.zeros((4, 5))
CROSS[range(3), range(3)] = RHO
COV = np.block([[np.eye(4), CROSS], [CROSS.T, np.eye(5)]])
EXACT = np.eye(9) - np.linalg.inv(COV)
ROOT = np.linalg.cholesky(EXACT @ COV @ EXACT.T + 1e-13 * np.eye(9))
LOC, WHITE = np.zeros(9), np.eye(9)
LOST = [1.0739, 0.2436, 0.0204, 0.0]  # the true divergence, with 0 to 3 directions of each block
BOUND = [4.8673, 0.6042, 0.0417, 0.0]


def samples(number, seed=0):
    return np.random.default_rng(seed).standard_normal((number, 9)) @ np.linalg.cholesky(COV).T


def exact_ratio():
    """Nine vectors whose second moment is the exact diagnostic matrix."""
    return 3.0 * ROOT.T


def test_the_spectrum_of_a_block_is_that_of_its_canonical_correlations():
    values, _ = spectra(BLOCKS, exact_ratio())
    np.testing.assert_allclose(values[0], [4.26316, 0.5625, 0.041667, 0.0], atol=1e-5)
    np.testing.assert_allclose(values[1], [4.26316, 0.5625, 0.041667, 0.0, 0.0], atol=1e-5)
    np.testing.assert_allclose(np.linalg.eigvalsh(ROOT @ ROOT.T)[::-1][:4], [8.1, 0.9, 0.42632, 0.225], atol=1e-5)


@pytest.mark.parametrize("rank", range(4))
def test_the_certificate_bounds_what_is_lost(rank):
    eps = BOUND[rank] + 1e-3
    found = Subspaces.fit(BLOCKS, np.zeros((1, 9)), exact_ratio(), eps=eps, loc=LOC, white=WHITE, learned=False)
    # At least one direction is kept: a density of nothing is none.
    assert found.ranks == ((rank, rank) if rank else (1, 0))
    if rank:
        assert found.certificate == pytest.approx(BOUND[rank], abs=2e-4)
    true = -0.5 * np.log1p(-(RHO[rank:] ** 2)).sum()
    assert true == pytest.approx(LOST[rank], abs=1e-4)
    assert true <= BOUND[rank] + 1e-9


def two_modes(x):
    return np.logaddexp(stats.norm(0.9, 0.19**0.5).logpdf(x), stats.norm(-0.9, 0.19**0.5).logpdf(x)) - np.log(2.0)


SHAPES = {
    "two modes": two_modes,
    "heavy tails": stats.t(4, scale=0.5**0.5).logpdf,
    "skewed": stats.gamma(6.0, loc=-(6.0**0.5), scale=6.0**-0.5).logpdf,
    "peaked": stats.hypsecant(scale=2.0 / np.pi).logpdf,
}


@pytest.mark.parametrize("learned", [False, True])
def test_an_exact_ratio_bounds_what_is_lost_of_latents_of_any_shape(learned):
    """Four independent coordinates of two blocks, by quadrature; a ratio that was learned bounds nothing."""
    grid = np.linspace(-30.0, 30.0, 600_001)
    step, loss, ratios = grid[1] - grid[0], [], []
    rng, number = np.random.default_rng(22), 50_000
    for log_density in SHAPES.values():
        logs = np.maximum(log_density(grid), -1e4)
        density = np.exp(logs)
        loss.append(np.sum(density * (logs - stats.norm.logpdf(grid))) * step)
        x = np.interp(rng.random(number), np.cumsum(density) * step, grid)
        ratios.append(np.interp(x, grid, np.gradient(logs, step) + grid))
    ratio, blocks = np.stack(ratios, axis=1), Blocks.of({"a": 3, "b": 1})
    half, error = 0.5 * (ratio**2).mean(0), 0.5 * (ratio**2).std(0) / number**0.5
    for eps in (0.05, 0.15, 0.4, 0.8, 4.0):
        place = {"loc": np.zeros(4), "white": np.eye(4), "eps": eps, "learned": learned}
        found = Subspaces.fit(blocks, np.zeros((1, 4)), ratio, **place)
        # Which coordinates are left out: eigenvectors are all but the axes.
        axes = np.abs(found.matrix).argmax(1)
        assert np.abs(found.matrix).max(1).min() > 0.95
        left = axes[~found.kept]
        assert found.estimate == pytest.approx(half[left].sum(), rel=0.02, abs=1e-12)
        assert found.estimate < eps
        if learned and len(left):
            assert found.certificate is None
        else:
            assert found.certificate == found.estimate
            assert np.sum(np.array(loss)[left]) <= found.certificate + 4.0 * np.linalg.norm(error[left])
    assert found.ranks == (1, 0)


def test_the_linear_ratio_of_samples():
    x = samples(20_000)
    ratio = x @ linear_ratio(x).T
    np.testing.assert_allclose(linear_ratio(x), EXACT, atol=0.15)
    values, _ = spectra(BLOCKS, ratio)
    np.testing.assert_allclose(values[0][:3], [4.26, 0.5625, 0.0417], rtol=0.06, atol=0.005)
    low, high = bootstrap(BLOCKS, ratio)
    assert np.all(low <= high)
    assert np.all((low[:3] < [4.4, 0.6, 0.05]) & (high[:3] > [4.1, 0.5, 0.03]))
    assert high[0] - low[0] < 0.5


@pytest.mark.parametrize("probes", [None, 300])
def test_the_objective_is_least_at_the_score_ratio(probes):
    """Exact and sliced: minus half the trace of H at the ratio itself, and higher by the mean squared error else."""
    x = samples(4000, seed=1)
    along = directions(BACKEND, np.random.default_rng(2), x[:40], probes)
    sigma = x.T @ x / len(x)
    best = linear_ratio(x)

    def value(matrix):
        return np.mean(0.5 * ((x @ matrix.T) ** 2).sum(-1) - ((x @ matrix.T) * x).sum(-1)) + np.trace(matrix)

    assert value(best) == pytest.approx(-0.5 * np.trace(best @ sigma @ best.T), rel=1e-6)
    off = best + 0.1 * np.random.default_rng(3).standard_normal((9, 9))
    gap = 0.5 * np.trace((off - best) @ sigma @ (off - best).T)
    assert value(off) - value(best) == pytest.approx(gap, rel=1e-6)
    few = x[:40]
    found = ratio_losses(BACKEND, lambda y: y @ off.T, few, along)
    own = 0.5 * ((few @ off.T) ** 2).sum(-1) - ((few @ off.T) * few).sum(-1) + np.trace(off)
    if probes is None:
        np.testing.assert_allclose(found, own, atol=1e-9)
    else:
        assert abs((found - own).mean()) < 4.0 * (found - own).std() / 40**0.5 < 0.7


def test_the_denoising_form_is_least_at_the_ratio_of_blurred_densities():
    """Over noise whose moments are exact: at a linear ratio its mean and its gap are those of the blurred normals."""
    x, scale = samples(3000, seed=1), 0.4
    blurred = x.T @ x / len(x) + scale**2 * np.eye(9)
    best = np.eye(9) / (1.0 + scale**2) - np.linalg.inv(blurred)

    def value(matrix):
        each = [
            denoising_ratio_losses(BACKEND, lambda y: y @ matrix.T, x, 3.0 * np.eye(9)[[i] * len(x)], scale)
            for i in range(9)
        ]
        return np.mean(each)

    assert value(best) == pytest.approx(-0.5 * np.trace(best @ blurred @ best.T), rel=1e-9)
    off = best + 0.1 * np.random.default_rng(3).standard_normal((9, 9))
    assert value(off) - value(best) == pytest.approx(0.5 * np.trace((off - best) @ blurred @ (off - best).T), rel=1e-9)


@pytest.mark.parametrize("host", ["jax", "torch"])
def test_every_backend_has_the_same_losses_and_can_learn_by_them(host, x64):
    x = samples(50, seed=4)
    matrix = 0.1 * np.random.default_rng(5).standard_normal((9, 9))

    def total(backend, x, m):
        along = directions(backend, None, x, None)
        return backend.xp.mean(ratio_losses(backend, lambda y: backend.xp.tanh(y @ m), x, along))

    wanted = total(BACKEND, x, matrix)
    step = 1e-6 * np.random.default_rng(6).standard_normal((9, 9))
    slope = (total(BACKEND, x, matrix + step) - total(BACKEND, x, matrix - step)) / 2.0
    if host == "jax":
        import jax

        from mmppl._backend.jax import BACKEND as JAX

        value, grad = jax.value_and_grad(lambda m: total(JAX, jax.numpy.asarray(x), m))(jax.numpy.asarray(matrix))
    else:
        import torch

        from mmppl._backend.torch import BACKEND as TORCH

        m = torch.tensor(matrix, requires_grad=True)
        value = total(TORCH, torch.tensor(x), m)
        (grad,) = torch.autograd.grad(value, m)
        value = value.detach()
    assert float(value) == pytest.approx(wanted, rel=1e-10)
    assert float((np.asarray(grad) * step).sum()) == pytest.approx(slope, rel=1e-4)


def test_whitening_is_of_each_modality_alone():
    rng = np.random.default_rng(7)
    mix = rng.standard_normal((9, 9))
    z = samples(5000, seed=8) @ mix + 3.0
    loc, white = whitening(BLOCKS, z)
    x = (z - loc) @ white.T
    found = np.cov(x.T)
    np.testing.assert_allclose(found[:4, :4], np.eye(4), atol=1e-6)
    np.testing.assert_allclose(found[4:, 4:], np.eye(5), atol=1e-6)
    assert np.all(white[:4, 4:] == 0.0)
    assert np.abs(found[:4, 4:]).max() > 0.1
    dead = z.copy()
    dead[:, 2] = 3.0
    assert np.abs((dead - dead.mean(0)) @ whitening(BLOCKS, dead)[1].T).max() < 60.0


def test_canonical_directions_are_found_again():
    """Whatever basis the modalities come in, the subspace kept is that of the leading canonical pair."""
    rng = np.random.default_rng(9)
    mix = np.zeros((9, 9))
    mix[:4, :4], mix[4:, 4:] = rng.standard_normal((4, 4)), rng.standard_normal((5, 5))
    x = samples(20_000, seed=10)
    z = x @ mix.T
    loc, white = whitening(BLOCKS, z)
    white_z = (z - loc) @ white.T
    ratio = white_z @ linear_ratio(white_z).T
    found = Subspaces.fit(BLOCKS, z, ratio, eps=0.7, loc=loc, white=white, learned=True)
    assert found.ranks == (1, 1)
    y = (z - found.loc) @ found.matrix.T
    assert abs(np.corrcoef(y[:, 0], x[:, 0])[0, 1]) > 0.99
    assert abs(np.corrcoef(y[:, 4], x[:, 4])[0, 1]) > 0.99
    assert found.reduced.sizes == (1, 1)


@pytest.mark.parametrize("name", ["numpyro", "pyro"])
def test_a_reduced_prior_is_the_prior_on_what_is_kept_and_the_reference_on_the_rest(name):
    from mmppl.testing.drivers import driver

    host = driver(name)
    mix = np.zeros((9, 9))
    rng = np.random.default_rng(11)
    mix[:4, :4], mix[4:, 4:] = rng.standard_normal((4, 4)), rng.standard_normal((5, 5))
    truth = mix @ COV @ mix.T
    z = samples(20_000, seed=12) @ mix.T + 1.0
    loc, white = whitening(BLOCKS, z)
    x = (z - loc) @ white.T
    space = Subspaces.fit(BLOCKS, z, x @ linear_ratio(x).T, eps=0.1, loc=loc, white=white, learned=True)
    assert space.ranks == (2, 2)
    with host.double():
        y = ((z - loc) @ space.matrix.T)[:, space.kept]
        own = np.cov(y.T)
        base = host.dist.MultivariateNormal(host.array(np.zeros(4)), covariance_matrix=host.array(own))
        prior = host.mm.Reduced(base, space)
        assert tuple(prior.event_shape) == (9,)
        # Two of three canonical pairs are kept, so the covariance is right but for the third.
        draws = host.sample(prior, (40_000,), seed=0)
        scale = np.sqrt(np.outer(np.diag(truth), np.diag(truth)))
        np.testing.assert_allclose(np.cov(draws.T) / scale, truth / scale, atol=0.16)
        value = z[:7]
        t = (value - loc) @ space.matrix.T
        wanted = stats.multivariate_normal(np.zeros(4), own).logpdf(t[:, space.kept])
        wanted += stats.norm().logpdf(t[:, ~space.kept]).sum(-1) + np.linalg.slogdet(space.matrix)[1]
        np.testing.assert_allclose(host.log_prob(prior, value), wanted, rtol=1e-9)
        # Little is lost: no more than is estimated, and the linear ratio's own error.
        lost = stats.multivariate_normal(np.ones(9), truth).logpdf(z[:4000]) - host.log_prob(prior, z[:4000])
        assert -0.02 < lost.mean() < space.estimate + 0.02


@pytest.mark.parametrize("name", ["numpyro", "pyro"])
def test_a_reduced_score_is_conditioned_as_it_is(name):
    from mmppl.priors import MultiTimeScoreMatching, ScoreModel
    from mmppl.testing.drivers import driver
    from mmppl.testing.gaussian_score import GaussianScore

    host = driver(name)
    space = Subspaces.fit(BLOCKS, np.zeros((1, 9)), exact_ratio(), eps=0.1, loc=LOC + 2.0, white=WHITE, learned=False)
    own = space.matrix @ COV @ space.matrix.T
    net = GaussianScore(dict(space.reduced.items()), own[np.ix_(space.kept, space.kept)])
    with host.double():
        prior = host.mm.Reduced(
            host.mm.JointScore(net, ScoreModel(space.reduced, MultiTimeScoreMatching(predict="noise"))), space
        )
        value = 2.0 + np.array([1.5, -1.0, 0.5, 0.3])
        given = prior.conditional({"a": host.array(np.tile(value, (4000, 1)))})
        draws = host.sample(given, (), seed=1)
    assert np.all(draws[:, :4] == value)
    wanted = 2.0 + np.array([0.9 * 1.5, -0.6, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(draws[:, 4:].mean(0), wanted, atol=0.08)
    np.testing.assert_allclose(draws[:, 4:].var(0), [1 - 0.81, 1 - 0.36, 1, 1, 1], atol=0.1)
    with pytest.raises(OptionError, match="prior that can be conditioned"):
        host.mm.Reduced(host.dist.Normal(host.array(np.zeros(4)), 1.0).to_event(1), space).conditional({})
    with pytest.raises(OptionError, match="event shape"):
        host.mm.Reduced(host.dist.Normal(host.array(np.zeros(3)), 1.0).to_event(1), space)


def test_incomplete_rows_are_left_out():
    x = samples(3000, seed=15)
    hidden = np.arange(3000) % 3 == 0
    wild = np.where(hidden[:, None], np.nan, x[:, 4:])
    mm = import_module("mmppl.numpyro")
    found = find_subspaces(Batch({"a": x[:, :4], "b": wild}, {"b": ~hidden}), BLOCKS, eps=0.9, ppl=mm)
    alone = find_subspaces(Batch({"a": x[~hidden, :4], "b": x[~hidden, 4:]}), BLOCKS, eps=0.9, ppl=mm)
    assert np.array_equal(found.matrix, alone.matrix)
    with pytest.raises(DataError, match="at least 36 rows with all of"):
        find_subspaces(Batch({"a": x[:20, :4], "b": x[:20, 4:]}), BLOCKS, eps=0.9, ppl=mm)


def test_who_fits_subspaces_says_whether_the_ratio_was_learned():
    """A ratio of zeros is what a learner gives that sees nothing: its certificate would be 0 nats, whatever is lost."""
    place = {"eps": 0.1, "loc": LOC, "white": WHITE}
    with pytest.raises(TypeError, match="learned"):
        Subspaces.fit(BLOCKS, np.zeros((1, 9)), np.zeros((1, 9)), **place)
    with pytest.raises(TypeError, match="learned"):
        Subspaces(BLOCKS, (1, 0), LOC, WHITE, np.zeros(9))
    assert Subspaces.fit(BLOCKS, np.zeros((1, 9)), np.zeros((1, 9)), **place, learned=True).certificate is None


def test_bad_input():
    with pytest.raises(OptionError, match="Expected eps > 0"):
        Subspaces.fit(BLOCKS, np.zeros((1, 9)), exact_ratio(), eps=0.0, loc=LOC, white=WHITE, learned=False)
    with pytest.raises(DataError, match="finite latents"):
        Subspaces.fit(BLOCKS, np.full((1, 9), np.nan), exact_ratio(), eps=1.0, loc=LOC, white=WHITE, learned=False)
    with pytest.raises(OptionError, match="probes >= 1"):
        directions(BACKEND, np.random.default_rng(0), np.zeros((2, 9)), 0)
