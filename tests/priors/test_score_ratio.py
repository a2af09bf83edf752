"""Learning a score ratio: networks, penalties, deflation, references, early stopping."""

import dataclasses
from importlib import import_module

import numpy as np
import pytest

from mmppl.batch import Batch
from mmppl.errors import DataError, OptionError
from mmppl.inference import RatioLearning, find_subspaces
from mmppl.inference.reduction.ratio_learning import penalty
from mmppl.priors import Blocks

BLOCKS = Blocks.of({"a": 4, "b": 5})
CROSS = np.zeros((4, 5))
CROSS[range(3), range(3)] = [0.9, 0.6, 0.2]
COV = np.block([[np.eye(4), CROSS], [CROSS.T, np.eye(5)]])


def samples(number, seed):
    """Two white blocks with canonical correlations 0.9, 0.6 and 0.2."""
    return np.random.default_rng(seed).standard_normal((number, 9)) @ np.linalg.cholesky(COV).T


def learned(x, eps, **how):
    """Subspaces of the blocks of ``x`` by a ratio learned under Pyro."""
    learning = RatioLearning(**{"hidden": (24,), "epochs": 25, "learning_rate": 5e-3, **how})
    latents = Batch({"a": x[:, :4], "b": x[:, 4:]})
    return find_subspaces(latents, BLOCKS, eps=eps, ppl=import_module("mmppl.pyro"), learning=learning)


def test_a_ratio_learned_by_denoising_is_that_of_blurred_latents():
    x, scale = samples(4000, seed=13), 0.3
    found = learned(x, 0.9, net="free", blur=scale)
    cross = np.array([[1.0, 0.9], [0.9, 1.0]])
    ratio = np.eye(2) / (1.0 + scale**2) - np.linalg.inv(cross + scale**2 * np.eye(2))
    wanted = (ratio @ cross @ ratio.T)[0, 0]
    assert wanted < 0.5 * 4.263
    np.testing.assert_allclose(found.eigenvalues[[0, 4]], wanted, rtol=0.15)
    assert found.ranks == (1, 1)


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
    y = (x - found.loc) @ found.matrix.T
    assert abs(np.corrcoef(y[:, 0], x[:, 0])[0, 1]) > 0.97
    assert abs(np.corrcoef(y[:, 4], x[:, 4])[0, 1]) > 0.97


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


@pytest.mark.parametrize("name", ["numpyro", "pyro"])
def test_by_default_more_than_correlations_is_seen(name):
    """Two blocks share a direction; another of the first is alone, and has two modes: 0.474 nats against a normal."""
    from mmppl.testing.drivers import driver

    rng, number = np.random.default_rng(21), 2000
    shared = rng.standard_normal((number, 1))
    modes = 0.95 * rng.choice([-1.0, 1.0], (number, 1)) + (1 - 0.95**2) ** 0.5 * rng.standard_normal((number, 1))
    other = 0.9 * shared + 0.19**0.5 * rng.standard_normal((number, 1))
    latents, blocks = Batch({"a": np.concatenate([shared, modes], 1), "b": other}), Blocks.of({"a": 2, "b": 1})
    mm = driver(name).mm
    found = find_subspaces(latents, blocks, eps=0.1, ppl=mm)
    assert found.ranks == (2, 1)
    assert found.certificate == 0.0  # nothing is left out
    assert abs(found.matrix[0, 1]) > 5.0 * abs(found.matrix[0, 0])
    np.testing.assert_allclose(found.eigenvalues, [8.91, 4.26, 4.26], rtol=0.25)
    # The same ratio with a larger tolerance; the linear one, asked for, is blind to the modes.
    again = find_subspaces(latents, blocks, eps=4.0, ppl=mm)
    np.testing.assert_allclose(again.eigenvalues, found.eigenvalues, rtol=1e-12)
    assert sum(again.ranks) == 2
    assert again.certificate is None
    assert again.estimate == pytest.approx(0.5 * found.eigenvalues.min())
    blind = find_subspaces(latents, blocks, eps=0.1, ppl=mm, learning=RatioLearning("linear"))
    assert blind.ranks == (1, 1)
    assert blind.certificate is None
    assert blind.estimate < 0.01


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
    assert abs(np.corrcoef(((z - found.loc) @ found.matrix.T)[:, 2], x[:, 3])[0, 1]) > 0.9
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
    assert abs(found.matrix[0, 1]) > 5.0 * abs(found.matrix[0, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"net": "deep"}, "Expected net among"),
        ({"net": "free", "penalty": "ridge"}, "Expected penalty among"),
        ({"reference": "laplace"}, "Expected reference among"),
        ({"net": "free", "rank": 2}, "Expected net 'lowrank' or 'potential'"),
        ({"net": "potential", "deflate": True}, "Expected net 'lowrank' with deflate=True"),
        ({"holdout": 1.0}, "Expected holdout in"),
        ({"net": "linear", "blur": 0.1}, "above 0 a network, the normal reference and no probes; got 0.1, 'linear'"),
        ({"net": "free", "blur": 0.1, "probes": 2}, "and no probes; got 0.1, 'free', 'normal' and 2"),
    ],
)
def test_options_of_learning_a_ratio(options, message):
    with pytest.raises(OptionError, match=message):
        RatioLearning(**options)
