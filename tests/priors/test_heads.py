"""Heads of a multi-task diffusion: their masses against scipy's, and their draws."""

import numpy as np
import pytest
from scipy import special, stats

from mmppl._backend import get_backend
from mmppl.errors import ModalityError, OptionError
from mmppl.priors import (
    BernoulliHead,
    Blocks,
    CategoricalHead,
    MultiTaskLoss,
    MultiTaskModel,
    NormalHead,
    PoissonHead,
    SharedSpace,
)
from mmppl.priors.condition import BlockRoles
from mmppl.priors.multi_task.loss import MultiTaskNoise
from mmppl.sde import VP
from mmppl.sde.solvers import DPMSolver

OUT, EXTRA = np.array([[0.3, -1.2, 2.0, 0.1]]), np.array([[0.2, -0.5, 0.0, 0.4]])
LOGITS = OUT.reshape(2, 2)


def masses(head, x):
    if isinstance(head, NormalHead):
        return stats.norm(OUT, np.exp(EXTRA)).logpdf(x)
    if isinstance(head, BernoulliHead):
        return stats.bernoulli(special.expit(OUT)).logpmf(x)
    if isinstance(head, PoissonHead):
        return stats.poisson(np.exp(OUT)).logpmf(x)
    return (x.reshape(2, 2) * special.log_softmax(LOGITS, axis=-1)).reshape(1, 4)


HEADS = [
    (NormalHead(), [0.1, 2.0, -1.0, 0.5]),
    (BernoulliHead(), [0.0, 1.0, 1.0, 0.0]),
    (PoissonHead(), [0.0, 3.0, 12.0, 1.0]),
    (CategoricalHead(2), [1.0, 0.0, 0.0, 1.0]),
]


@pytest.mark.parametrize(("head", "x"), HEADS, ids=lambda x: type(x).__name__)
def test_masses_are_scipys_and_draws_have_them(to, head, x):
    backend, x = get_backend(to(OUT)), np.array([x])
    found = np.asarray(head.log_prob(backend, to(x), to(OUT), to(EXTRA)))
    np.testing.assert_allclose(found, masses(head, x), rtol=1e-10)
    number = 20_000
    noise = np.random.default_rng(0).standard_normal((number, 4))
    draws = np.asarray(head.draw(backend, to(noise), to(np.tile(OUT, (number, 1))), to(np.tile(EXTRA, (number, 1)))))
    mean = np.asarray(head.mean(backend, to(OUT)))[0]
    np.testing.assert_allclose(draws.mean(0), mean, atol=4 * draws.std(0).max() / number**0.5)
    if head.discrete:
        assert np.array_equal(draws, np.round(draws))
        each = draws[:, 2]
        for value in (0.0, 1.0):
            wanted = np.exp(masses(head, np.where(np.arange(4) == 2, value, [[1.0, 0.0, value, 1.0 - value]]))[0, 2])
            if isinstance(head, CategoricalHead) and value == 0.0:
                wanted = 1.0 - np.exp(special.log_softmax(LOGITS[1]))[0]
            assert (each == value).mean() == pytest.approx(wanted, abs=0.015)


def test_large_rates_have_the_moments_of_a_poisson():
    noise, rate = np.random.default_rng(1).standard_normal((40_000, 3)), np.array([[19.0, 25.0, 400.0]])
    draws = PoissonHead().draw(get_backend(noise), noise, np.log(rate) + 0 * noise, 0 * noise)
    np.testing.assert_allclose(draws.mean(0), rate[0], rtol=0.01)
    np.testing.assert_allclose(draws.var(0), rate[0], rtol=0.03)
    np.testing.assert_allclose(stats.skew(draws), rate[0] ** -0.5, atol=0.04)


class Oracle:
    """A standard normal pair, and the best guess of the sign of its first coordinate, without joining."""

    def __init__(self, sde):
        self.sde = sde

    def __call__(self, x):
        backend = get_backend(x)
        xp, t = backend.xp, x[..., 4:5]
        z, a, sigma = x[..., :2], self.sde.mean_factor(t), self.sde.scale(t)
        up = backend.ndtr(a * z[..., :1] / xp.where(sigma > 1e-9, sigma, 1e-9 + 0.0 * sigma))
        up = xp.clip(up, 1e-12, 1.0 - 1e-12)
        logits = xp.concat([xp.log(1.0 - up), xp.log(up)], axis=-1)
        return xp.concat([sigma * z, logits, xp.zeros_like(x[..., :4])], axis=-1)


def entropy(a, sigma):
    """Mean entropy of the sign given z_t, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    p = stats.norm.cdf(a * nodes / sigma)
    each = special.entr(p) + special.entr(1 - p)
    return (each * weights).sum() / weights.sum()


def test_cross_entropy_of_a_label_is_the_analytic_one(host):
    """By the loss at a time: no head does better than the entropy of the label given z_t."""
    sde = VP()
    space = SharedSpace(Blocks.of({"z": 2, "label": 2}), strength=0.0, sde=sde, heads={"label": CategoricalHead(2)})
    z = np.random.default_rng(0).standard_normal((20_000, 2))
    up = (z[:, :1] > 0).astype(float)
    values = host.array(np.concatenate([z, 1 - up, up], axis=1))
    roles = BlockRoles(host.array(np.ones((1, 2), bool)), host.array(np.zeros((1, 2), bool)))
    for time in (0.1, 0.3, 0.6):
        one = np.full((1, 1), time)
        eps = np.random.default_rng(1).standard_normal((len(z), 4))
        noise = MultiTaskNoise(*(host.array(x) for x in (one, one, one, one, one, eps)))
        learning = MultiTaskLoss(0.5, predict="noise")  # of two coordinates to one label
        found = host.numpy(learning.losses(get_backend(values), space, Oracle(sde), values, roles, noise))
        t = np.array(1e-5 + (1 - 1e-5) * time)
        assert found[:, 2:].sum(1).mean() == pytest.approx(entropy(sde.mean_factor(t), sde.scale(t)), abs=0.01)


def test_joint_draws_agree_with_their_labels_up_to_the_error_of_bayes(host):
    """Read at the end, nothing is unsure; a label given is the sign of what is drawn."""
    sde = VP()
    space = SharedSpace(Blocks.of({"z": 2, "label": 2}), sde=sde, strength=0.0, heads={"label": CategoricalHead(2)})
    options = MultiTaskModel(space, MultiTaskLoss(p_conditional=0.0, predict="noise"))
    prior = host.mm.MultiTask(Oracle(sde), options)
    draws = host.sample(prior, (2000,), seed=0)
    assert np.array_equal(draws[:, 2:].sum(1), np.ones(2000))
    assert ((draws[:, 0] > 0) == (draws[:, 3] == 1)).mean() > 0.99
    assert draws[:, 3].mean() == pytest.approx(0.5, abs=0.05)
    told = host.sample(prior.conditional({"label": host.array(np.tile([[0.0, 1.0]], (2000, 1)))}), (), seed=1)
    assert np.array_equal(told[:, 2:], np.tile([[0.0, 1.0]], (2000, 1)))
    assert (told[:, 0] > 0).mean() > 0.97
    assert told[:, 0].mean() == pytest.approx((2 / np.pi) ** 0.5, abs=0.06)
    assert told[:, 1].var() == pytest.approx(1.0, abs=0.12)


def test_density_has_the_mass_of_a_label(host):
    sde = VP()
    space = SharedSpace(Blocks.of({"z": 2, "label": 2}), sde=sde, strength=0.0, heads={"label": CategoricalHead(2)})
    prior = host.mm.MultiTask(Oracle(sde), MultiTaskModel(space, MultiTaskLoss(p_conditional=0.0, predict="noise")))
    values = np.array([[0.7, -1.0, 0.0, 1.0], [-0.4, 0.3, 1.0, 0.0]])
    found = host.numpy(prior.log_prob(host.array(values)))
    np.testing.assert_allclose(found, stats.norm.logpdf(values[:, :2]).sum(1), atol=2e-3)


class Told:
    """Normals of two means, by the label where it is known; where it is not, nothing is right but its frequency."""

    means, spread, share = (-1.0, 2.0), 0.6, 0.3

    def __init__(self, sde):
        self.sde = sde

    def __call__(self, x):
        xp = get_backend(x).xp
        z, label, t, known = x[..., :1], x[..., 1:3], x[..., 3:4], x[..., 4:5] == 0.0
        a, sigma = self.sde.mean_factor(t), self.sde.scale(t)
        mean = self.means[0] * label[..., :1] + self.means[1] * label[..., 1:]
        noise = sigma * (z - a * mean) / (a * a * self.spread**2 + sigma * sigma)
        logits = [np.log(p) + 0.0 * z for p in (1.0 - self.share, self.share)]
        return xp.concat([xp.where(known, noise, 0.0 * z), *logits, *3 * [0.0 * z]], axis=-1)


def test_labels_come_first_and_what_is_drawn_is_of_them(host):
    sde = VP(0.1, 30.0)
    space = SharedSpace(Blocks.of({"z": 1, "label": 2}), strength=0.0, sde=sde, heads={"label": CategoricalHead(2)})
    prior = host.mm.MultiTask(Told(sde), MultiTaskModel(space, MultiTaskLoss(predict="noise"), solver=DPMSolver(20)))
    draws, number = host.sample(prior, (3000,), seed=0), 3000
    second = draws[:, 2] == 1.0
    assert np.array_equal(draws[:, 1:].sum(1), np.ones(number))
    assert second.mean() == pytest.approx(Told.share, abs=4 * (0.21 / number) ** 0.5)
    for rows, mean in zip((draws[~second, 0], draws[second, 0]), Told.means, strict=True):
        assert rows.mean() == pytest.approx(mean, abs=4 * Told.spread / len(rows) ** 0.5 + 0.02)
        assert rows.std() == pytest.approx(Told.spread, rel=0.08)
    few = draws[:5]
    wanted = stats.norm(np.take(Told.means, few[:, 2].astype(int)), Told.spread).logpdf(few[:, 0])
    wanted += np.log(np.where(few[:, 2] == 1.0, Told.share, 1.0 - Told.share))
    np.testing.assert_allclose(host.numpy(prior.log_prob(host.array(few))), wanted, atol=3e-3)


@pytest.mark.parametrize("host", ["pyro"], indirect=True)
def test_a_label_of_what_is_known_takes_one_evaluation(host):
    sde, asked = VP(0.1, 30.0), []
    oracle = Told(sde)
    space = SharedSpace(Blocks.of({"z": 1, "label": 2}), strength=0.0, sde=sde, heads={"label": CategoricalHead(2)})

    def net(x):
        asked.append(1)
        return oracle(x)

    prior = host.mm.MultiTask(net, MultiTaskModel(space, MultiTaskLoss(predict="noise"), solver=DPMSolver(20)))
    host.sample(prior.conditional({"z": host.array(np.zeros((4, 1)))}), (), seed=0)
    assert len(asked) <= 2


def with_and_without(host):
    """Losses and gradients: the network an encoder, its images constants, and neither."""
    sizes, rng = Blocks.of({"z": 2, "label": 3}), np.random.default_rng(0)
    values = host.array(np.concatenate([rng.standard_normal((4, 2)), np.eye(3)[[0, 1, 2, 1]]], axis=1))
    one, eps = np.full((4, 1), 0.6), rng.standard_normal((4, 5))
    noise = MultiTaskNoise(*(host.array(x) for x in (one, one, one, one, one, eps)))
    roles = BlockRoles(host.array(np.ones((4, 2), bool)), host.array(np.zeros((4, 2), bool)))
    weight, learning, backend = rng.standard_normal((7, 10)), MultiTaskLoss(), get_backend(values)

    def space(encoder):
        heads = {"label": CategoricalHead(3)}
        return SharedSpace(sizes, heads=heads, encoders={} if encoder is None else {"label": encoder})

    def loss(where):
        def of(params):
            net = lambda x: backend.xp.tanh(x @ params["w"])  # noqa: E731
            return learning.losses(backend, where, net, values, roles, noise).sum()

        return host.value_and_grad(of, {"w": weight}, 0)

    net = lambda x: backend.xp.tanh(x @ host.array(weight))  # noqa: E731
    x = space("network").joins(roles, values)
    images = learning.shift(backend, space("network"), net, x)[..., :2]
    assert host.numpy(images).std() > 0.1
    return loss(space("network")), loss(space(lambda part: images)), loss(space(None))


def test_the_network_as_an_encoder_learns_from_the_decoding_alone(host):
    (value, grad), (wanted, constant), (other, _) = with_and_without(host)
    assert value == pytest.approx(wanted, rel=1e-9)
    assert value != pytest.approx(other, rel=1e-6)
    np.testing.assert_allclose(np.asarray(grad["w"]), np.asarray(constant["w"]), rtol=1e-7, atol=1e-12)


def test_a_map_of_the_users_joins_in_place_of_the_rotation(to):
    matrix = np.array([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]])
    z = to(np.array([[9.0, 9.0, 1.0, 0.0, 2.0], [9.0, 9.0, 0.0, 0.0, 0.0]]))
    for encoder in (matrix, lambda x: x @ to(matrix) + 1.0):
        space = SharedSpace(Blocks.of({"z": 2, "x": 3}), encoders={"x": encoder})
        extra = 1.0 if callable(encoder) else 0.0
        wanted = np.zeros((2, 5))
        wanted[0, :2] = np.array([1.0, 0.0, 2.0]) @ matrix + extra
        np.testing.assert_allclose(np.asarray(space.shift(z)), wanted)  # what is 0 does not join
    same = [SharedSpace(space.blocks, sde=space.sde, encoders={"x": matrix + i}) for i in (0.0, 0.0, 1.0)]
    assert (same[0] == same[1], hash(same[0]) == hash(same[1]), same[0] == same[2]) == (True, True, False)


def test_what_is_wrong_is_said():
    blocks = Blocks.of({"z": 2, "x": 3})
    with pytest.raises(OptionError, match=r"Block 'x': expected one-hot vectors of 2 classes .*; got size 3"):
        SharedSpace(blocks, heads={"x": CategoricalHead(2)})
    with pytest.raises(ModalityError, match=r"heads of blocks among \['x'\]; got \['z'\]"):
        SharedSpace(blocks, heads={"z": NormalHead()})
    with pytest.raises(OptionError, match=r"encoder of block 'x' to map into the primary block 'z', \(3, 2\); got"):
        SharedSpace(blocks, encoders={"x": np.eye(3)})
    with pytest.raises(OptionError, match="encoder that is a map, or 'network'; got 'image'"):
        SharedSpace(blocks, encoders={"x": "image"})
    space = SharedSpace(blocks, encoders={"x": lambda x: x})
    with pytest.raises(OptionError, match=r"\(1, 2\); got \(1, 3\)"):
        space.shift(np.ones((1, 5)))
    with pytest.raises(OptionError, match="two classes or more"):
        CategoricalHead(1)
    with pytest.raises(OptionError, match="p_marginal \\+ p_single <= 1"):
        MultiTaskLoss(p_marginal=0.6, p_single=0.6)
    network = SharedSpace(blocks, encoders={"x": "network"})
    with pytest.raises(OptionError, match="where the network is an encoder"):
        MultiTaskLoss(p_conditional=0.0).shift(get_backend(np.ones(1)), network, lambda x: x, np.ones((1, 5)))


def test_single_tasks_hide_everything_else():
    space, like = SharedSpace(Blocks.of({"z": 2, "x": 1, "y": 1})), np.zeros((20_000, 4))
    learning = MultiTaskLoss(p_conditional=0.0, p_marginal=0.2, p_single=0.3)
    noise = learning.draw(get_backend(like), np.random.default_rng(0), like, 3)
    diffused, _ = learning.roles(space, noise, np.ones((20_000, 3), bool))
    assert diffused[:, 0].all()
    alone = ~diffused[:, 1] & ~diffused[:, 2]
    assert alone.mean() == pytest.approx(0.3 + 0.2 * 0.25, abs=0.01)
