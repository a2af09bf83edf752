"""Learning one score for every subset: roles, losses, and what is learned."""

import itertools

import numpy as np
import pytest

from mmppl._backend.numpy import BACKEND
from mmppl.batch import Batch
from mmppl.errors import ModalityError, OptionError
from mmppl.priors import Blocks, MultiTimeScoreMatching, PairwiseGuidance
from mmppl.priors.condition import BlockRoles
from mmppl.priors.coordinates import statistics
from mmppl.sde import VE, VP, SubVP

BLOCKS = Blocks.of({"a": 2, "b": 3, "c": 1})


def draw(learning, rows, blocks=BLOCKS, seed=0):
    like = np.zeros((rows, blocks.dim))
    return learning.draw(BACKEND, np.random.default_rng(seed), like, len(blocks))


def subsets(roles):
    return np.unique(roles.clean @ (2 ** np.arange(roles.clean.shape[-1])), return_counts=True)


def test_conditions_are_uniform_over_proper_subsets():
    learning, rows = MultiTimeScoreMatching(p_conditional=0.7), 60_000
    roles = learning.roles(BACKEND, draw(learning, rows), np.ones((rows, 3), bool))
    assert not np.any(roles.clean & roles.diffused)
    assert np.all(roles.clean | roles.diffused)
    found, counts = subsets(roles)
    assert found.tolist() == [0, 1, 2, 3, 4, 5, 6]  # never the full set
    np.testing.assert_allclose(counts / rows, [0.3, *[0.7 / 6] * 6], atol=0.008)


def test_hidden_blocks_are_uniform_over_proper_subsets_too():
    learning, rows = MultiTimeScoreMatching(p_conditional=0.0, p_marginal=0.5), 60_000
    roles = learning.roles(BACKEND, draw(learning, rows), np.ones((rows, 3), bool))
    seen, counts = np.unique(roles.diffused @ np.array([1, 2, 4]), return_counts=True)
    assert seen.tolist() == [1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(counts / rows, [*[0.5 / 7] * 6, 0.5 + 0.5 / 7], atol=0.008)


@pytest.mark.parametrize("p_marginal", [0.0, 1.0])
def test_what_is_missing_is_neither_diffused_nor_a_condition(p_marginal):
    learning, rows = MultiTimeScoreMatching(p_conditional=1.0, p_marginal=p_marginal), 5000
    present = np.random.default_rng(1).random((rows, 3)) < 0.6
    roles = learning.roles(BACKEND, draw(learning, rows), present)
    assert not np.any((roles.clean | roles.diffused) & ~present)
    assert np.all(roles.diffused.any(-1) == present.any(-1))
    assert not np.any(roles.clean[present.sum(-1) == 1])
    if not p_marginal:
        assert np.all((roles.clean | roles.diffused) == present)


@pytest.mark.parametrize("sde", [VP(), SubVP(), VE(0.01, 20.0)], ids=lambda s: type(s).__name__)
def test_the_network_sees_unit_scale_at_every_time(sde):
    learning, rows, inputs = MultiTimeScoreMatching(sde, p_conditional=0.5), 20_000, []

    def spy(x):
        inputs.append(x)
        return 0.0 * x[..., : BLOCKS.dim]

    noise, z = draw(learning, rows), np.random.default_rng(1).standard_normal((rows, BLOCKS.dim))
    learning.bound(BACKEND, BLOCKS, spy, z, np.ones((rows, 3), bool), noise)
    seen, times = inputs[0][:, : BLOCKS.dim], BLOCKS.spread(inputs[0][:, BLOCKS.dim :])
    for low in (0.0, 0.3, 0.8):
        np.testing.assert_allclose(seen[(times > low) & (times < low + 0.2)].std(), 1.0, atol=0.03)
    assert np.array_equal(seen[times == 0.0], z[times == 0.0])  # conditions as they are


def net(x):
    return 0.3 * x[..., : BLOCKS.dim] + 0.1 * x[..., BLOCKS.dim :].sum(-1, keepdims=True)


@pytest.mark.parametrize("clean", [c for n in range(3) for c in itertools.combinations(range(3), n)])
def test_the_loss_is_the_published_formula(clean):
    """D / D_A times the squared error of the noise on the diffused blocks; exactly 0 on the clean ones."""
    learning = MultiTimeScoreMatching(predict="noise")
    noise, z = draw(learning, 7), np.random.default_rng(2).standard_normal((7, 6))
    mask = np.zeros((7, 3), bool)
    mask[:, clean] = True
    losses = learning.losses(BACKEND, BLOCKS, net, z, BlockRoles(~mask, mask), noise)
    wide = BLOCKS.spread(mask)
    assert np.all(losses[wide] == 0.0)
    t = 1e-5 + (1 - 1e-5) * noise.time[:, :1]
    noisy = np.where(wide, z, VP().mean_factor(t) * z + VP().scale(t) * noise.noise)
    out = net(np.concatenate([noisy, np.where(mask, 0.0, t)], -1))
    moved = np.where(wide, 0.0, (noise.noise - out) ** 2)
    factor = 6 / (~wide).sum(-1)
    np.testing.assert_allclose(losses.sum(-1), factor * moved.sum(-1), rtol=1e-10)


@pytest.mark.parametrize("predict", ["noise", "velocity"])
@pytest.mark.parametrize("loss", ["exact", "sliced"])
def test_implicit_losses_have_the_mean_of_the_denoising_one(loss, predict, x64):
    """For any network, here a bent one, and any blocks diffused; the fixed data show that they need not be Gaussian."""
    learning, rows = MultiTimeScoreMatching(SubVP(), loss=loss, predict=predict, time_sampling="likelihood"), 60_000
    z = np.array([0.5, -1.0, 2.0, 0.3, -0.2, 1.5]) * np.ones((rows, 1))
    noise = draw(learning, rows)
    # Times at which neither loss is dominated by a few rows.
    noise = noise._replace(time=0.3 + 0.6 * noise.time)
    clean = np.array([[False, True, False], [False, False, True]])[np.arange(rows) % 2]
    roles = BlockRoles(~clean, clean)

    from mmppl._backend.jax import BACKEND as JAX

    def bent(x):
        return JAX.xp.tanh(x[..., : BLOCKS.dim] @ MIX) + 0.1 * x[..., : BLOCKS.dim] ** 2

    def losses(noise):
        args = [JAX.xp.asarray(z), BlockRoles(*map(JAX.xp.asarray, roles))]
        noise = noise._replace(**{k: JAX.xp.asarray(v) for k, v in noise._asdict().items() if v is not None})
        return np.asarray(learning.losses(JAX, BLOCKS, bent, *args, noise))

    implicit, denoising = losses(noise), losses(noise._replace(along=None))
    assert np.all(implicit[BLOCKS.spread(clean)] == 0.0)
    gap = (implicit - denoising).sum(-1)
    error = gap.std() / rows**0.5
    assert abs(gap.mean()) < 3.0 * error
    assert error < 0.03 * denoising.sum(-1).mean()


MIX = np.random.default_rng(9).standard_normal((BLOCKS.dim, BLOCKS.dim)) / BLOCKS.dim**0.5


@pytest.mark.parametrize("predict", ["velocity", "data"])
def test_predictions_are_the_noise_in_other_words(predict):
    """What stands for the same noise has the same noise predicted, and the squared error of its own."""
    other_way, learning = MultiTimeScoreMatching(predict=predict), MultiTimeScoreMatching(predict="noise")
    noise, z = draw(learning, 7), np.random.default_rng(2).standard_normal((7, 6))
    roles = BlockRoles(np.ones((7, 3), bool), np.zeros((7, 3), bool))

    def other(x):
        t = BLOCKS.spread(x[..., 6:])
        a, s = VP().mean_factor(t), VP().scale(t)
        return (net(x) - s * x[..., :6]) / a if predict == "velocity" else (x[..., :6] - s * net(x)) / a

    t = 1e-5 + (1 - 1e-5) * noise.time[:, :1]
    noisy = VP().diffuse(z, t, noise.noise)
    same = [
        learn.noise(BACKEND, BLOCKS, f, roles, noisy, t + np.zeros((7, 3)))
        for learn, f in ((learning, net), (other_way, other))
    ]
    np.testing.assert_allclose(*same, rtol=1e-9)
    losses = other_way.losses(BACKEND, BLOCKS, other, z, roles, noise)
    target = VP().mean_factor(t) * noise.noise - VP().scale(t) * z if predict == "velocity" else z
    out = other(np.concatenate([noisy, t + np.zeros((7, 3))], -1))
    np.testing.assert_allclose(losses, (target - out) ** 2, rtol=1e-6)


def test_independent_times_differ_by_block():
    learning = MultiTimeScoreMatching(independent=True, p_conditional=0.0, predict="noise")
    seen = []

    def spy(x):
        seen.append(x[..., 6:])
        return net(x)

    roles = BlockRoles(np.ones((7, 3), bool), np.zeros((7, 3), bool))
    learning.losses(BACKEND, BLOCKS, spy, np.zeros((7, 6)), roles, draw(learning, 7))
    assert np.all(np.ptp(seen[0], axis=-1) > 0.0)


def test_many_modalities_need_no_list_of_subsets():
    blocks = Blocks.of({f"m{i}": 1 for i in range(40)})
    learning, rows = MultiTimeScoreMatching(p_conditional=1.0), 500
    roles = learning.roles(BACKEND, draw(learning, rows, blocks), np.ones((rows, 40), bool))
    assert 0.4 < roles.clean.mean() < 0.6
    assert len(np.unique(roles.clean, axis=0)) == rows


def test_what_is_hidden_never_enters():
    learning = MultiTimeScoreMatching(p_conditional=0.5, p_marginal=0.3)
    noise, z = draw(learning, 50), np.random.default_rng(3).standard_normal((50, 6))
    present = np.random.default_rng(4).random((50, 3)) < 0.5
    other = np.where(BLOCKS.spread(present), z, 1e6)
    args = BACKEND, BLOCKS, net
    assert np.array_equal(learning.bound(*args, z, present, noise), learning.bound(*args, other, present, noise))


def test_bad_options():
    with pytest.raises(OptionError, match="p_conditional in"):
        MultiTimeScoreMatching(p_conditional=1.5)
    with pytest.raises(OptionError, match="p_marginal in"):
        MultiTimeScoreMatching(p_marginal=-0.1)
    with pytest.raises(OptionError, match="Expected time_sampling among"):
        MultiTimeScoreMatching(time_sampling="sometimes")
    with pytest.raises(OptionError, match="Expected predict among"):
        MultiTimeScoreMatching(predict="future")
    with pytest.raises(OptionError, match="Expected a loss among"):
        MultiTimeScoreMatching(loss="blind")
    with pytest.raises(ModalityError, match="got none for"):
        BLOCKS.join({"a": np.zeros((1, 2))})
    with pytest.raises(ModalityError, match="who is present"):
        BLOCKS.stack({"a": np.ones(1, bool)})


def test_statistics_are_of_what_is_present_and_name_what_is_dead():
    rng = np.random.default_rng(5)
    values = {"a": rng.normal(3.0, 2.0, (400, 2)), "b": rng.normal(-1.0, 0.5, (400, 1))}
    present = {"a": rng.random(400) < 0.5}
    latents = Batch(values, present)
    loc, scale = statistics(latents, ("b", "a"))
    seen = values["a"][present["a"]]
    np.testing.assert_allclose(loc, [values["b"].mean(), *seen.mean(0)])
    np.testing.assert_allclose(scale, [values["b"].std(), *seen.std(0)])
    values["a"][:, 1] = 7.0
    with pytest.warns(UserWarning, match=r"a\[1\] do not vary"):
        _, scale = statistics(Batch(values), ("a", "b"))
    assert scale[1] == pytest.approx(1e-3 * scale[0])


def test_pairs_pull_only_where_one_is_known_and_the_other_is_made():
    guide = PairwiseGuidance(BLOCKS, 2.0)
    z, t = np.random.default_rng(6).standard_normal((4, 6)), np.array(0.3)

    def energy(x):
        return 0.5 * (x**2).sum(-1)

    clean = np.array([[True, False, False], [True, True, True], [False, False, False], [True, True, False]])
    roles = BlockRoles(~clean, clean)
    score = guide.score(BACKEND, energy, roles)(z, t)
    # Each pair of a known and a missing block adds -2 z to both of its blocks.
    known, made = clean.sum(-1, keepdims=True), (~clean).sum(-1, keepdims=True)
    times = np.where(clean, made, known)
    np.testing.assert_allclose(score, -2.0 * BLOCKS.spread(times) * z, atol=1e-12)
    alone = guide.score(BACKEND, energy, BlockRoles(roles.diffused[:1], roles.clean[:1]))(z[:1], t)
    np.testing.assert_allclose(alone, score[:1])  # the strength does not depend on the batch


def test_pair_losses_are_of_pairs_that_are_there():
    guide = PairwiseGuidance(BLOCKS)
    z = np.random.default_rng(7).standard_normal((50, 6))

    def zero(x):
        return 0.0 * x[..., 0]

    full = guide.losses(BACKEND, np.random.default_rng(0), zero, z, np.ones((50, 3), bool))
    np.testing.assert_allclose(full, 2.0 * np.log(2.0))
    present = np.tile([True, True, False], (50, 1))
    two = guide.losses(BACKEND, np.random.default_rng(0), zero, z, present)
    np.testing.assert_allclose(two, 2.0 * np.log(2.0) / 3.0)
    with pytest.raises(OptionError, match="two blocks or more"):
        PairwiseGuidance(Blocks.of({"a": 1}))
