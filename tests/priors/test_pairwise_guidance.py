"""The energy of pairs, against the optimum of its loss, which is known where latents take a few values."""

import numpy as np
import pytest

from mmppl._backend import get_backend
from mmppl._backend.numpy import BACKEND
from mmppl.errors import OptionError
from mmppl.priors import Blocks, PairwiseGuidance
from mmppl.sde import VE, VP, SubVP

BLOCKS = Blocks.of({"a": 1, "b": 2, "c": 1})
SPANS = [slice(0, 1), slice(1, 3), slice(3, 4)]
# Four tuples of latents, none of whose blocks is independent of another.
ATOMS = np.array([[-1.0, 1.2, 0.0, 1.0], [1.0, -0.6, 0.8, 1.0], [1.0, -0.6, -0.8, -1.5], [-1.0, 0.5, 1.0, -0.5]])
WEIGHTS = np.array([0.4, 0.3, 0.2, 0.1])


def optimum(sde, i, j, atoms=ATOMS, spans=SPANS, weights=WEIGHTS):
    """The least energy of a pair: log of the mean density of both kinds of negatives over that of real pairs."""
    widest = max(span.stop - span.start for span in spans)

    def energy(x):
        backend = get_backend(x)
        xp, t, end = backend.xp, x[..., -1], sde.prior_scale
        factor, scale = sde.mean_factor(t), sde.scale(t)
        log_weights, logs, blank = backend.asarray(np.log(weights), like=t), [], 0.0
        for half, place in ((x[..., :widest], i), (x[..., widest : 2 * widest], j)):
            span = spans[place]
            size = span.stop - span.start
            z, values = half[..., :size], backend.asarray(atoms[:, span], like=t)
            far = xp.sum((z[..., None, :] - factor[..., None, None] * values) ** 2, axis=-1)
            logs.append(-0.5 * far / scale[..., None] ** 2 - size * xp.log(scale)[..., None])
            blank = blank - 0.5 * xp.sum(z**2, axis=-1) / end**2 - size * np.log(end)
        real = backend.logsumexp(logs[0] + logs[1] + log_weights, -1)
        apart = backend.logsumexp(logs[0] + log_weights, -1) + backend.logsumexp(logs[1] + log_weights, -1)
        return backend.logsumexp(xp.stack([apart, blank], axis=-1), -1) - np.log(2.0) - real

    return energy


def optima(sde):
    """Those of all pairs, by name."""
    return {f"{'abc'[i]}.{'abc'[j]}": optimum(sde, i, j) for i, j in ((0, 1), (0, 2), (1, 2))}


# What the energy is moved by: of the first half, of both, of noise, and of early times alone, where all of it is.
def early(x):
    return get_backend(x).xp.exp(-30.0 * x[..., -1])


MOVES = {
    "all": lambda x: 1.0 + 0.0 * x[..., 0],
    "early": early,
    "left": lambda x: early(x) * x[..., 0] ** 2,
    "right": lambda x: early(x) * x[..., 2] ** 2,
    "together": lambda x: early(x) * x[..., 0] * x[..., 2],
    "late": lambda x: x[..., -1] * x[..., 0] * x[..., 2],
}


def rows(number, seed=0):
    return ATOMS[np.random.default_rng(seed).choice(len(ATOMS), number, p=WEIGHTS)]


def slopes(host, guide, energies, z, present):
    """By each move, the derivative of the mean loss at energies, in its standard errors."""
    x, there = host.array(z), host.array(present)
    backend = get_backend(x)

    def losses(by):
        def moved(own):
            return lambda y: own(y) + sum(by[..., k] * move(y) for k, move in enumerate(MOVES.values()))

        each = {name: moved(own) for name, own in energies.items()}
        return guide.losses(backend, host.mm.host.random(), each, x, there)

    by = host.array(np.zeros((len(z), len(MOVES))))
    slope = host.numpy(host.call(lambda: backend.value_and_grad(losses, by)[1], 3))
    # Rows share a latent with the row before: means of ten rows have all of the variance.
    means = slope.reshape(-1, 10, len(MOVES)).mean(1)
    out = means.mean(0) / (means.std(0, ddof=1) / len(means) ** 0.5)
    return dict(zip(MOVES, out.round(1).tolist(), strict=True))


@pytest.mark.parametrize("sde", [VP(), SubVP(), VE(0.01, 5.0)], ids=lambda s: type(s).__name__)
def test_no_move_betters_the_density_ratio(host, sde):
    number = 40_000
    found = slopes(host, PairwiseGuidance(BLOCKS, sde=sde), optima(sde), rows(number), np.ones((number, 3), bool))
    assert max(abs(s) for s in found.values()) < 4.5, found


def test_missing_blocks_do_not_change_the_density_ratio(host):
    """Pairs are seldom whole, and mismatched ones yet more seldom: both kinds count as if nothing were missing."""
    number, rng = 80_000, np.random.default_rng(1)
    whole, z = rng.random(number) < 0.4, rows(number)
    present = np.stack([whole | (rng.random(number) < 0.1), whole, whole & (rng.random(number) < 0.5)], axis=1)
    z = np.where(np.repeat(present, BLOCKS.sizes, axis=1), z, 30.0)
    found = slopes(host, PairwiseGuidance(BLOCKS), optima(VP()), z, present)
    assert max(abs(s) for s in found.values()) < 4.5, found


def test_mismatched_pairs_have_the_noise_of_the_time_that_is_told():
    """With latents at 0 nothing but noise is left, whose size says the time."""
    seen, sde = [], VP()

    def spy(x):
        seen.append(x)
        return 0.0 * x[..., 0]

    number = 100_000
    guide = PairwiseGuidance(Blocks.of({"a": 1, "b": 1}))
    guide.losses(BACKEND, np.random.default_rng(0), spy, np.zeros((number, 2)), np.ones((number, 2), bool))
    for x in seen[:2]:
        for half in (0, 1):
            ratio = x[:, half] / sde.scale(x[:, -1])
            for first, last in ((0.0, 0.1), (0.4, 0.5), (0.9, 1.0)):
                near = ratio[(x[:, -1] > first) & (x[:, -1] < last)]
                assert np.mean(near**2) == pytest.approx(1.0, abs=5.0 * (2.0 / len(near)) ** 0.5)
        assert abs(np.corrcoef(x[:, 0], x[:, 1])[0, 1]) < 0.02
    np.testing.assert_allclose(seen[2][:, :2].std(0), 1.0, atol=0.02)
    with pytest.raises(OptionError, match="Expected two rows or more, to mismatch pairs; got one"):
        guide.losses(BACKEND, np.random.default_rng(0), spy, np.zeros((1, 2)), np.ones((1, 2), bool))
