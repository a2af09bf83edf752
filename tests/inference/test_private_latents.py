"""Conditioning with private latents, against the joint normal of a linear-Gaussian program with exact guides."""

from functools import partial

import numpy as np
import pytest

from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.inference import Fitted, Program, generate, infer, log_likelihood

DIMS = {"a": 3, "b": 2, "c": 1}
NOISE = {"a": 0.5, "b": 0.7, "c": 0.4}
RNG = np.random.default_rng(3)
LOAD = {m: RNG.standard_normal((d, 2)) for m, d in DIMS.items()}  # of the shared latent, of two dimensions
OWN = {m: RNG.standard_normal((d, 1)) for m, d in DIMS.items()}  # of the private one, of one
BIAS = {m: RNG.standard_normal(d) for m, d in DIMS.items()}
LATENTS = {"z": 2, **{f"{m}.w": 1 for m in DIMS}}
ROWS = ("a", "bc", "ac", "b")
PLACES = np.cumsum([0, *LATENTS.values(), *DIMS.values()])
SPAN = {n: np.arange(a, b) for n, a, b in zip([*LATENTS, *DIMS], PLACES, PLACES[1:], strict=False)}
ROOT = np.zeros((PLACES[-1], PLACES[-1]))
ROOT[:5, :5] = np.eye(5)
for name, size in DIMS.items():
    ROOT[np.ix_(SPAN[name], SPAN["z"])], ROOT[np.ix_(SPAN[name], SPAN[f"{name}.w"])] = LOAD[name], OWN[name]
    ROOT[np.ix_(SPAN[name], SPAN[name])] = NOISE[name] * np.eye(size)
COV = ROOT @ ROOT.T
MEAN = np.concatenate([np.zeros(5), *BIAS.values()])


def exact(row, given, wanted):
    """Mean and covariance of latents and modalities given those that a row has."""
    seen = np.concatenate([SPAN[m] for m in given])
    out = np.concatenate([SPAN[n] for n in wanted])
    gain = np.linalg.solve(COV[np.ix_(seen, seen)], COV[np.ix_(seen, out)]).T
    known = np.concatenate([row[m] for m in given])
    return MEAN[out] + gain @ (known - MEAN[seen]), COV[np.ix_(out, out)] - gain @ COV[np.ix_(seen, out)]


def evidence(row, given):
    seen = np.concatenate([SPAN[m] for m in given])
    off, cov = np.concatenate([row[m] for m in given]) - MEAN[seen], COV[np.ix_(seen, seen)]
    return -0.5 * (off @ np.linalg.solve(cov, off) + np.linalg.slogdet(2.0 * np.pi * cov)[1])


def assert_moments(draws, mean, cov, errors=4.5):
    num, variance = len(draws), np.diag(cov)
    assert np.all(np.abs(draws.mean(0) - mean) < errors * np.sqrt(variance / num)), (draws.mean(0), mean)
    spread = np.sqrt((np.outer(variance, variance) + cov**2) / num)
    assert np.all(np.abs(np.cov(draws.T) - cov) < errors * spread), np.cov(draws.T) - cov


def make(ppl, shift=0.0):
    """The program, with the private latents' posteriors as ``shift`` spoils their means."""
    host, dist = ppl.host, ppl.host.dist
    backend = get_backend(host.zeros(1))
    xp, to = backend.xp, partial(backend.asarray, like=host.zeros(1))
    eye = to(np.eye(2))
    widest = max(DIMS.values())
    # Of w given x and z: precision 1 + |B|^2 / s^2, mean B (x - A z - b) / s^2 over it; sums over the padded features.
    precision = {m: 1.0 + float((OWN[m] ** 2).sum()) / NOISE[m] ** 2 for m in DIMS}
    pull = {m: OWN[m][:, 0] / NOISE[m] ** 2 / precision[m] for m in DIMS}
    rows = to(np.stack([np.pad(pull[m], (0, widest - DIMS[m])) for m in DIMS]))
    back = to(np.stack([pull[m] @ LOAD[m] for m in DIMS]))
    scales = to(np.array([[precision[m] ** -0.5] for m in DIMS]))

    def net(elements, mask):
        features, z = elements[..., :widest], elements[..., widest:]
        loc = xp.sum(rows * features, axis=-1) - xp.sum(back * z, axis=-1) + shift
        return loc[..., None], scales + 0.0 * loc[..., None]

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", dist.Normal(host.zeros(2), 1.0).to_event(1))
            for m in DIMS:
                w = host.sample(f"{m}.w", dist.Normal(host.zeros(1), 1.0).to_event(1))
                mean = z @ to(LOAD[m].T) + w @ to(OWN[m].T) + to(BIAS[m])
                ppl.observe(m, dist.Normal(mean, NOISE[m]).to_event(1), batch)

    def guide(batch):
        information, h, features = eye, host.zeros(2), {}
        for m in DIMS:
            within = np.linalg.inv(OWN[m] @ OWN[m].T + NOISE[m] ** 2 * np.eye(DIMS[m]))
            here, off = to(batch.present[m])[..., None] * 1.0, batch[m] - to(BIAS[m])
            information = information + here[..., None] * to(LOAD[m].T @ within @ LOAD[m])
            h = h + here * (off @ to(within @ LOAD[m]))
            features[m] = xp.concat([off, xp.zeros_like(off[..., :1]) + host.zeros(widest - DIMS[m])], axis=-1)
        loc = xp.linalg.solve(information, h[..., None])[..., 0]
        with ppl.plate(batch):
            z = host.sample("z", dist.MultivariateNormal(loc, precision_matrix=information))
            for m, fn in ppl.private_posteriors(features, batch.present, net, z).items():
                host.sample(f"{m}.w", fn)

    modalities = {m: Modality((d,), likelihood="normal", scale=NOISE[m]) for m, d in DIMS.items()}
    return Fitted(Program(model, guide, ppl.ELBO(), ppl, modalities), {})


@pytest.fixture
def given():
    draws = MEAN + np.random.default_rng(5).standard_normal((len(ROWS), len(MEAN))) @ ROOT.T
    values = {m: draws[:, SPAN[m]] for m in DIMS}
    return Batch(values, {m: np.array([m in row for row in ROWS]) for m in DIMS})


def row_of(given, i):
    return {m: np.asarray(given[m])[i] for m in DIMS}


@pytest.mark.parametrize("spoilt", [False, True], ids=["exact guide", "mala mends the guide"])
def test_what_is_missing_has_its_exact_conditional(ppl, double, given, spoilt):
    """Every row has another pattern; a missing modality needs its own private latent, from the prior."""
    fitted = make(ppl, shift=0.7 if spoilt else 0.0)
    out = generate(fitted, given, 1000 if spoilt else 4000, sampler="mala" if spoilt else None, seed=1)
    for i, pattern in enumerate(ROWS):
        missing = [m for m in DIMS if m not in pattern]
        assert_moments(np.concatenate([out[m][:, i] for m in missing], -1), *exact(row_of(given, i), pattern, missing))
        for m in pattern:
            np.testing.assert_array_equal(out[m][:, i], np.broadcast_to(given[m][i], out[m][:, i].shape))


def test_latents_have_their_exact_joint_posterior(ppl, double, given):
    """The shared latent with the private ones of what is there, and of what is not."""
    draws = infer(make(ppl), given, method="guide", num_samples=3000, seed=2).draws
    for i, pattern in enumerate(ROWS):
        found = np.concatenate([np.asarray(draws[n])[0, :, i] for n in LATENTS], axis=-1)
        assert_moments(found, *exact(row_of(given, i), pattern, LATENTS))


def test_the_evidence_without_error(ppl, double, given):
    out = log_likelihood(make(ppl), given, num=200, seed=3)
    np.testing.assert_allclose(out.value, [evidence(row_of(given, i), row) for i, row in enumerate(ROWS)], rtol=1e-9)
    np.testing.assert_allclose(out.error, 0.0, atol=1e-9)
