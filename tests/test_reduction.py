"""Score ratio matching: spectra, certificates and ranks of Gaussians with known canonical correlations."""

import dataclasses
from importlib import import_module

import numpy as np
import pytest

from mmppl._backend.numpy import BACKEND
from mmppl.batch import Batch
from mmppl.errors import DataError, OptionError
from mmppl.inference import RatioLearning, find_subspaces
from mmppl.inference.ratio_learning import penalty
from mmppl.priors import Blocks
from mmppl.priors.ratio import denoising_ratio_losses, directions, linear_ratio, ratio_losses
from mmppl.priors.subspaces import Subspaces, bootstrap, spectra, whitening

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
    found = Subspaces.fit(BLOCKS, np.zeros((1, 9)), exact_ratio(), eps=eps, loc=LOC, white=WHITE)
    # At least one direction is kept: a density of nothing is none.
    assert found.ranks == ((rank, rank) if rank else (1, 0))
    if rank:
        assert found.certificate == pytest.approx(BOUND[rank], abs=2e-4)
    true = -0.5 * np.log1p(-(RHO[rank:] ** 2)).sum()
    assert true == pytest.approx(LOST[rank], abs=1e-4)
    assert true <= BOUND[rank] + 1e-9


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


def test_a_ratio_learned_by_denoising_is_that_of_blurred_latents():
    x, scale = samples(4000, seed=13), 0.3
    found = learned(x, 0.9, net="free", blur=scale)
    cross = np.array([[1.0, 0.9], [0.9, 1.0]])
    ratio = np.eye(2) / (1.0 + scale**2) - np.linalg.inv(cross + scale**2 * np.eye(2))
    wanted = (ratio @ cross @ ratio.T)[0, 0]
    assert wanted < 0.5 * 4.263
    np.testing.assert_allclose(found.eigenvalues[[0, 4]], wanted, rtol=0.15)
    assert found.ranks == (1, 1)


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
    found = Subspaces.fit(BLOCKS, z, ratio, eps=0.7, loc=loc, white=white)
    assert found.ranks == (1, 1)
    y = (z - found.loc) @ found.turn.T
    assert abs(np.corrcoef(y[:, 0], x[:, 0])[0, 1]) > 0.99
    assert abs(np.corrcoef(y[:, 4], x[:, 4])[0, 1]) > 0.99
    assert found.reduced.sizes == (1, 1)


@pytest.mark.parametrize("name", ["numpyro", "pyro"])
def test_a_reduced_prior_is_the_prior_on_what_is_kept_and_the_reference_on_the_rest(name):
    from scipy import stats

    from mmppl.testing.drivers import driver

    host = driver(name)
    mix = np.zeros((9, 9))
    rng = np.random.default_rng(11)
    mix[:4, :4], mix[4:, 4:] = rng.standard_normal((4, 4)), rng.standard_normal((5, 5))
    truth = mix @ COV @ mix.T
    z = samples(20_000, seed=12) @ mix.T + 1.0
    loc, white = whitening(BLOCKS, z)
    x = (z - loc) @ white.T
    space = Subspaces.fit(BLOCKS, z, x @ linear_ratio(x).T, eps=0.1, loc=loc, white=white)
    assert space.ranks == (2, 2)
    with host.double():
        y = ((z - loc) @ space.turn.T)[:, space.kept]
        own = np.cov(y.T)
        base = host.dist.MultivariateNormal(host.array(np.zeros(4)), covariance_matrix=host.array(own))
        prior = host.mm.Reduced(base, space)
        assert tuple(prior.event_shape) == (9,)
        # Two of three canonical pairs are kept, so the covariance is right but for the third.
        draws = host.sample(prior, (40_000,), seed=0)
        scale = np.sqrt(np.outer(np.diag(truth), np.diag(truth)))
        np.testing.assert_allclose(np.cov(draws.T) / scale, truth / scale, atol=0.16)
        value = z[:7]
        t = (value - loc) @ space.turn.T
        wanted = stats.multivariate_normal(np.zeros(4), own).logpdf(t[:, space.kept])
        wanted += stats.norm().logpdf(t[:, ~space.kept]).sum(-1) + np.linalg.slogdet(space.turn)[1]
        np.testing.assert_allclose(host.log_prob(prior, value), wanted, rtol=1e-9)
        # Little is lost: no more than the certificate, and the linear ratio's own error.
        lost = stats.multivariate_normal(np.ones(9), truth).logpdf(z[:4000]) - host.log_prob(prior, z[:4000])
        assert -0.02 < lost.mean() < space.certificate + 0.02


@pytest.mark.parametrize("name", ["numpyro", "pyro"])
def test_a_reduced_score_is_conditioned_as_it_is(name):
    from mmppl.priors import MultiTime, ScoreModel
    from mmppl.testing.drivers import driver
    from mmppl.testing.gaussian_score import GaussianScore

    host = driver(name)
    space = Subspaces.fit(BLOCKS, np.zeros((1, 9)), exact_ratio(), eps=0.1, loc=LOC + 2.0, white=WHITE)
    own = space.turn @ COV @ space.turn.T
    net = GaussianScore(dict(space.reduced.items()), own[np.ix_(space.kept, space.kept)])
    with host.double():
        prior = host.mm.Reduced(host.mm.JointScore(net, ScoreModel(space.reduced, MultiTime(predict="noise"))), space)
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


LEARNED = {
    "lowrank": {"net": "lowrank", "rank": 3},
    "potential": {"net": "potential"},
    "free, nuclear norm": {"net": "free", "penalty": "nuclear", "strength": 0.02, "probes": 2},
    "score": {"net": "score"},
    "lowrank, group": {"net": "lowrank", "penalty": "group", "strength": 0.02},
    "deflation": {"net": "lowrank", "deflate": True, "rank": 2},
}


@pytest.mark.parametrize(
    ("name", "how"), [("numpyro", "lowrank"), ("numpyro", "potential"), *(("pyro", how) for how in LEARNED)]
)
def test_a_learned_ratio_finds_the_canonical_directions(name, how):
    from mmppl.testing.drivers import driver

    x = samples(2000, seed=13)
    latents = Batch({"a": x[:, :4], "b": x[:, 4:]})
    learning = RatioLearning(hidden=(24,), epochs=25, learning_rate=5e-3, **LEARNED[how])
    found = find_subspaces(latents, BLOCKS, eps=0.9, ppl=driver(name).mm, learning=learning)
    assert found.ranks == (1, 1)
    np.testing.assert_allclose(found.eigenvalues[[0, 4]], 4.263, rtol=0.3)
    y = (x - found.loc) @ found.turn.T
    assert abs(np.corrcoef(y[:, 0], x[:, 0])[0, 1]) > 0.97
    assert abs(np.corrcoef(y[:, 4], x[:, 4])[0, 1]) > 0.97


def learned(x, eps, **how):
    """Subspaces of the blocks of ``x`` by a ratio learned under Pyro."""
    learning = RatioLearning(**{"hidden": (24,), "epochs": 25, "learning_rate": 5e-3, **how})
    latents = Batch({"a": x[:, :4], "b": x[:, 4:]})
    return find_subspaces(latents, BLOCKS, eps=eps, ppl=import_module("mmppl.pyro"), learning=learning)


@pytest.mark.parametrize("deflate", [True, False])
def test_deflation_adds_one_direction_after_the_other(deflate):
    """Four joint directions span two canonical pairs; with a rank of one there is but the first of either block."""
    found = learned(samples(2000, seed=13), 0.2, net="lowrank", deflate=deflate, rank=4 if deflate else 1)
    if deflate:
        assert found.ranks == (2, 2)
        np.testing.assert_allclose(found.eigenvalues[[0, 1, 4, 5]], [4.263, 0.5625] * 2, rtol=0.4)
    else:
        assert np.all(found.eigenvalues[[1, 5]] < 0.1)


def test_a_penalty_on_the_trace_shrinks_the_ratio_as_computed():
    """With half the loss's own square on top, the best ratio is half, and its spectrum a quarter."""
    found = learned(samples(4000, seed=17), 0.2, net="free", penalty="trace", strength=0.5)
    np.testing.assert_allclose(found.eigenvalues[[0, 4]], 4.263 / 4.0, rtol=0.25)


def test_a_ratio_is_kept_from_before_it_overfits():
    """Independent noise has no ratio; learned to the end from few rows there is a large one."""
    x = np.random.default_rng(18).standard_normal((80, 9))
    how = {"net": "free", "hidden": (64,), "epochs": 80, "batch_size": 32}
    assert learned(x, 0.1, patience=5, **how).eigenvalues.max() < 0.3


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_penalties_are_their_formulas(backend, x64):
    backend = import_module(f"mmppl._backend.{backend}").BACKEND
    rng = np.random.default_rng(16)
    s, a = rng.standard_normal((6, 9)), rng.standard_normal((9, 3))
    own = [backend.asarray(x, like=backend.asarray(np.zeros(1))) for x in (s, a)]
    wanted = {
        "trace": (s**2).sum(-1),
        "nuclear": np.sqrt(np.linalg.eigvalsh(s @ s.T).clip(0.0)).sum() / 6**0.5,
        "group": sum(np.linalg.norm(column) for column in a.T),
    }
    for name, value in wanted.items():
        np.testing.assert_allclose(backend.to_numpy(penalty(backend, name, *own)), value, rtol=1e-6)


def test_what_is_not_gaussian_within_a_block_counts_unless_the_reference_is_the_marginals():
    """Block b is bimodal and alone: a direction of its own against the normal, none against its marginal."""
    rng = np.random.default_rng(14)
    a = rng.standard_normal((2000, 2))
    b = 0.95 * rng.choice([-1.0, 1.0], (2000, 1)) + 0.31 * rng.standard_normal((2000, 1))
    latents, blocks = Batch({"a": a, "b": b}), Blocks.of({"a": 2, "b": 1})
    mm = import_module("mmppl.pyro")
    how = {"net": "free", "hidden": (32,), "epochs": 60, "learning_rate": 1e-2}
    against = {
        r: find_subspaces(latents, blocks, eps=0.5, ppl=mm, learning=RatioLearning(reference=r, **how))
        for r in ("normal", "marginals")
    }
    assert against["normal"].eigenvalues[2] > 4.0
    assert against["marginals"].eigenvalues.max() < 0.5


@pytest.mark.parametrize("net", ["linear", "free"])
def test_the_score_of_any_reference_may_be_given(net):
    """A normal with twice the variance of the data along the fourth coordinate of a: there s = (1/2 - 1) x."""
    x, variance = samples(4000, seed=20), np.array([1.0, 1, 1, 2, 1, 1, 1, 1, 1])
    z = 3.0 * x + 2.0
    learning = RatioLearning(net, hidden=(24,), epochs=30, learning_rate=5e-3)
    latents, mm = Batch({"a": z[:, :4], "b": z[:, 4:]}), import_module("mmppl.pyro")

    def against(score):
        own = dataclasses.replace(learning, reference=score)
        return find_subspaces(latents, BLOCKS, eps=0.09, ppl=mm, learning=own)

    found = against(lambda z: -(z - 2.0) / (9.0 * variance))
    np.testing.assert_allclose(found.eigenvalues[:4], [4.263, 0.5625, 0.25, 0.0417], rtol=0.3, atol=0.03)
    np.testing.assert_allclose(found.eigenvalues[4:7], [4.263, 0.5625, 0.0417], rtol=0.3, atol=0.03)
    assert found.ranks == (3, 2)
    assert abs(np.corrcoef(((z - found.loc) @ found.turn.T)[:, 2], x[:, 3])[0, 1]) > 0.9
    with pytest.raises(DataError, match=r"score to be finite and of shape \(4000, 9\); got shape \(4000, 4\)"):
        against(lambda z: z[:, :4])


def test_of_a_bayesian_model_are_found_the_parameters_that_data_inform():
    """Data y of the first of two parameters; the second has two modes that no data ever tell apart."""
    rng = np.random.default_rng(19)
    modes = 0.9 * rng.choice([-1.0, 1.0], (4000, 1)) + 0.436 * rng.standard_normal((4000, 1))
    x = np.concatenate([modes, rng.standard_normal((4000, 1))], axis=1)
    y = 2.0 * x[:, 1:] + rng.standard_normal((4000, 1))
    blocks = Blocks.of({"parameters": 2, "data": 1})
    learning = RatioLearning("free", hidden=(32,), epochs=60, learning_rate=1e-2, reference="marginals")
    mm = import_module("mmppl.pyro")
    found = find_subspaces(Batch({"parameters": x, "data": y}), blocks, eps=0.5, ppl=mm, learning=learning)
    # E of the squared gradient of log p(y | x) is 2^2; of log p(y | x) / p(y), in units of y's deviation, as much.
    np.testing.assert_allclose(found.eigenvalues[[0, 2]], 4.0, rtol=0.3)
    assert found.eigenvalues[1] < 0.3  # 2.9 against a normal
    assert found.ranks == (1, 1)
    assert abs(found.turn[0, 1]) > 5.0 * abs(found.turn[0, 0])


def test_incomplete_rows_are_left_out():
    x = samples(3000, seed=15)
    hidden = np.arange(3000) % 3 == 0
    wild = np.where(hidden[:, None], np.nan, x[:, 4:])
    mm = import_module("mmppl.numpyro")
    found = find_subspaces(Batch({"a": x[:, :4], "b": wild}, {"b": ~hidden}), BLOCKS, eps=0.9, ppl=mm)
    alone = find_subspaces(Batch({"a": x[~hidden, :4], "b": x[~hidden, 4:]}), BLOCKS, eps=0.9, ppl=mm)
    assert np.array_equal(found.turn, alone.turn)
    with pytest.raises(DataError, match="at least 36 rows with all of"):
        find_subspaces(Batch({"a": x[:20, :4], "b": x[:20, 4:]}), BLOCKS, eps=0.9, ppl=mm)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"net": "deep"}, "Expected net among"),
        ({"net": "free", "penalty": "ridge"}, "Expected penalty among"),
        ({"reference": "laplace"}, "Expected reference among"),
        ({"net": "free", "rank": 2}, "Expected net 'lowrank' or 'potential'"),
        ({"net": "potential", "deflate": True}, "Expected net 'lowrank' for deflation"),
        ({"holdout": 1.0}, "0 < holdout < 1"),
        ({"blur": 0.1}, "above 0 a network, the normal reference and no probes; got 0.1, 'linear'"),
        ({"net": "free", "blur": 0.1, "probes": 2}, "and no probes; got 0.1, 'free', 'normal' and 2"),
    ],
)
def test_options_of_learning_a_ratio(options, message):
    with pytest.raises(OptionError, match=message):
        RatioLearning(**options)


def test_bad_input():
    with pytest.raises(OptionError, match="Expected eps > 0"):
        Subspaces.fit(BLOCKS, np.zeros((1, 9)), exact_ratio(), eps=0.0, loc=LOC, white=WHITE)
    with pytest.raises(DataError, match="finite latents"):
        Subspaces.fit(BLOCKS, np.full((1, 9), np.nan), exact_ratio(), eps=1.0, loc=LOC, white=WHITE)
    with pytest.raises(OptionError, match="probes >= 1"):
        directions(BACKEND, np.random.default_rng(0), np.zeros((2, 9)), 0)
