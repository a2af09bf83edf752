"""The third stage of `sbm`: the energy that it trains, against the closed form of a pair whose density is a mixture."""

from dataclasses import replace
from importlib import import_module

import numpy as np
from scipy import special, stats

from mmppl import Batch, Modality, nets
from mmppl._backend import get_backend
from mmppl.inference import fit
from mmppl.nets import PairEnergy
from mmppl.sde import VP

MEAN, SAME = 0.9, 0.9  # signs that agree nine times in ten, with normal noise: each latent has unit variance
SIGNS = np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]])
ODDS = np.array([SAME, SAME, 1 - SAME, 1 - SAME]) / 2


def rows(number, rng):
    signs = SIGNS[rng.choice(4, number, p=ODDS)]
    return MEAN * signs + np.sqrt(1 - MEAN**2) * rng.standard_normal((number, 2))


def log_density(z, t, signs, odds):
    """Of diffused latents, ``(N, d)``."""
    factor, scale = VP().mean_factor(t), VP().scale(t)
    width = np.sqrt(factor**2 * (1 - MEAN**2) + scale**2)
    parts = stats.norm.logpdf(z[:, None], factor[:, None, None] * MEAN * signs, width[:, None, None]).sum(-1)
    return special.logsumexp(parts, axis=-1, b=odds)


def optimum(z, t):
    """The energy of least loss, see :mod:`mmppl.priors.score.guidance`."""
    one = [log_density(z[:, i : i + 1], t, np.array([[1], [-1]]), np.array([0.5, 0.5])) for i in (0, 1)]
    noise = stats.norm.logpdf(z, scale=VP().prior_scale).sum(-1)
    return np.logaddexp(one[0] + one[1], noise) - np.log(2.0) - log_density(z, t, SIGNS, ODDS)


def test_the_third_stage_learns_the_optimum(small, ppl):
    """Alone: latents are the data, and the score plays no part in it."""
    builder = import_module({"numpyro": "mmppl.nets.equinox", "pyro": "mmppl.nets.torch"}[ppl.host.NAME])

    def identity():
        net = ppl.host.build_all({"net": nets.MLP((1,), (1,), ())}, 0)["net"]
        return builder.load(net, {name: np.ones_like(w) * ("weight" in name) for name, w in builder.state(net).items()})

    rng = np.random.default_rng(0)
    train = rows(8000, rng).astype("float32")
    modalities = {name: Modality((1,), likelihood="normal", scale=0.1) for name in "ab"}
    coders = {name: (identity(), identity()) for name in "ab"}
    program = small("sbm", modalities, latent_dim=1, guidance=1.0, coders=coders)
    assert [stage.name for stage in program.stages] == ["prior", "guidance"]
    program = replace(program, stages=program.stages[1:], rebuild=None)
    data = Batch({"a": train[:, :1], "b": train[:, 1:]})
    fitted = fit(program, data, epochs=12, batch_size=400, learning_rate=3e-3, progress=False)
    own = {name.removeprefix("prior.pair."): w for name, w in fitted.weights.items() if name.startswith("prior.pair.")}
    energy = builder.load(ppl.host.build_all({"net": PairEnergy((1, 1))}, 0)["net"], own)
    t = rng.uniform(0.02, 0.7, 2000)
    z = VP().diffuse(rows(2000, rng), t[:, None], rng.standard_normal((2000, 2)))
    which = np.tile([1.0, 0.0, 0.0, 1.0], (2000, 1))
    like = ppl.host.zeros(1)
    backend = get_backend(like)
    x = np.concatenate([z, which, t[:, None]], axis=-1)
    found, exact = backend.to_numpy(energy(backend.asarray(x, like=like))), optimum(z, t)
    assert np.sqrt(np.mean((found - exact) ** 2)) < 0.45 * exact.std()
    assert np.corrcoef(found, exact)[0, 1] > 0.9
