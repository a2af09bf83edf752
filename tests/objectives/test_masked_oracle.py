"""The closed-form oracle of the masked objective: a linear toy whose every optimum is known.

Two modalities of one dimension, three latents. Everything is quadratic in data and noise, so rows and draws with exact
second moments give exact expectations, and a quasi-Newton method finds the optimum of the very objective users train.
Wanted values: log|C|/2 is the rate, and the best mixture bound has the posterior at the conditional mean.
"""

import numpy as np
import pytest
from scipy import optimize

from mmppl import Batch
from mmppl._backend import get_backend
from mmppl.testing import driver

WEIGHT = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 10.0]])
COV = WEIGHT @ WEIGHT.T + np.eye(2)
ENTROPY = 0.5 * (2 * np.log(2 * np.pi * np.e) + np.linalg.slogdet(COV)[1])
SUBSETS = dict.fromkeys([(), ("a",), ("b",), ("a", "b")], 0.25)
DRAWS = 6


def moments(root):
    """Points of mean zero and covariance ``root root^T``, exactly."""
    points = np.sqrt(len(root)) * root.T
    return np.concatenate([points, -points])


ROWS = np.concatenate([moments(np.linalg.cholesky(COV))] * 4)
BATCH = Batch({"a": ROWS[:, :1], "b": ROWS[:, 1:]})
START = {
    "weight": np.random.default_rng(0).normal(size=(2, 3)),
    "free": 0.3 * np.random.default_rng(1).normal(size=(4, 3, 2)),
    "free.scale": np.zeros((4, 3)),
    "expert": 0.3 * np.random.default_rng(2).normal(size=(2, 3)),
    "expert.scale": np.zeros((2, 3)),
}


@pytest.fixture
def d(request, monkeypatch):
    """A host whose normal noise has exact moments over the draws, and whose rows take the subsets in turn."""
    d = driver(request.param)
    with d.double():
        backend, points = get_backend(d.array(np.zeros(1))), moments(np.eye(3))

        def normal(rng, shape, like):
            if DRAWS not in shape:  # the host's first run, for the shapes alone
                return backend.asarray(np.zeros(shape), like=like)
            sizes = [1] * (len(shape) - 1)
            sizes[shape.index(DRAWS)] = DRAWS
            return backend.asarray(np.broadcast_to(points.reshape(*sizes, 3), shape).copy(), like=like)

        def uniform(rng, shape, like):
            return backend.asarray((np.arange(shape[0]) // 4 + 0.5) / 4, like=like)

        monkeypatch.setattr(backend, "normal", normal)
        monkeypatch.setattr(backend, "uniform", uniform)
        yield d


def programs(d):
    """A linear model, and two guides with linear means and constant scales: free for each subset, and a product."""

    def param(name):
        return d.ppl.param(name, d.array(START[name]))

    def model(batch):
        weight = param("weight")
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(3)), 1.0).to_event(1))
            for name in batch.modalities:
                mean = (z * weight["ab".index(name)]).sum(-1)[..., None]
                d.mm.observe(name, d.dist.Normal(mean, 1.0).to_event(1), batch)

    def free(batch):
        slope, spread = param("free"), param("free.scale")
        xp = get_backend(slope).xp
        first, second = (xp.astype(batch.present[n], slope.dtype)[..., None] for n in "ab")
        loc, scale = 0.0, 0.0
        for i, own in enumerate(
            [(1 - first) * (1 - second), first * (1 - second), (1 - first) * second, first * second]
        ):
            loc = loc + own * (batch["a"] * first * slope[i, :, 0] + batch["b"] * second * slope[i, :, 1])
            scale = scale + own * xp.exp(spread[i])
        everyone = xp.ones(loc.shape[:-1], dtype=xp.bool)
        with d.mm.plate(batch):
            d.ppl.sample("z", d.mm.Product({"one": (loc, scale)}, {"one": everyone}, prior_expert=False))

    def product(batch):
        slope, spread = param("expert"), param("expert.scale")
        xp = get_backend(slope).xp
        experts = {n: (batch[n] * slope[i], xp.exp(spread[i]) + 0.0 * batch[n]) for i, n in enumerate("ab")}
        with d.mm.plate(batch):
            d.ppl.sample("z", d.mm.Product(experts, batch.present))

    return model, {"free": free, "product": product}


def optimum(d, guide, bound):
    """The optimum of a bound, and what the model there is worth."""
    model, guides = programs(d)

    def stepper(objective):
        return d.stepper(objective, model, guides[guide])

    step = stepper(d.mm.Masked(DRAWS, subsets=SUBSETS, bound=bound, average=True))
    names = sorted(step(BATCH, 0).grads)
    sizes = np.cumsum([START[n].size for n in names])[:-1]

    def named(flat):
        return {n: x.reshape(START[n].shape) for n, x in zip(names, np.split(flat, sizes), strict=True)}

    def loss(flat):
        out = step(BATCH, 0, named(flat))
        return out.loss / len(BATCH), np.concatenate([out.grads[n].ravel() for n in names]) / len(BATCH)

    start = np.concatenate([START[n].ravel() for n in names])
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 3000, "ftol": 1e-11})
    params = named(found.x)
    cov = params["weight"] @ params["weight"].T + np.eye(2)
    log_lik = -0.5 * (2 * np.log(2 * np.pi) + np.linalg.slogdet(cov)[1] + np.trace(np.linalg.solve(cov, COV)))
    full = stepper(d.mm.ELBO(DRAWS, average=True))(BATCH, 0, params).record
    cross = stepper(d.mm.Masked(DRAWS, subsets=SUBSETS, bound="tc", average=True))(BATCH, 0, params).record
    return {
        "objective": -found.fun,
        "gap": (-ENTROPY - log_lik) / ENTROPY,
        "rate": full["kl"],
        "reconstruction": full["log_lik.a"] + full["log_lik.b"],
        "cross rate": cross["kl"],
    }


@pytest.mark.parametrize(("d", "guide"), [("numpyro", "free"), ("pyro", "product")], indirect=["d"])
def test_the_masked_objective_reaches_the_truth(d, guide):
    out = optimum(d, guide, "masked")
    assert -ENTROPY - 3e-3 < out["objective"] < -ENTROPY
    assert 0.0 < out["gap"] < {"free": 1.2e-4, "product": 2e-4}[guide]
    rate = 0.5 * np.linalg.slogdet(COV)[1]
    np.testing.assert_allclose(out["rate"], rate, rtol=2e-3)
    np.testing.assert_allclose(out["reconstruction"], -ENTROPY + rate, rtol=2e-3)
    # E_S (log|C| - log|C_S|) / 2, the empty and the full subset counted.
    wanted = np.mean([rate, rate - 0.5 * np.log(COV[0, 0]), rate - 0.5 * np.log(COV[1, 1]), 0.0])
    np.testing.assert_allclose(out["cross rate"], wanted, rtol=2e-3)
    np.testing.assert_allclose([rate, wanted], [2.860, 1.430], atol=1e-3)


@pytest.mark.parametrize("d", ["numpyro"], indirect=True)
def test_the_mixture_bound_stays_away_from_it(d):
    """Its best model has the covariance of data in which what is missing is its conditional mean."""
    out = optimum(d, "free", "mixture")
    covs, spread = [], 0.0
    for known in ([], [0], [1], [0, 1]):
        rest = [i for i in range(2) if i not in known]
        fill = np.eye(2)
        fill[np.ix_(rest, rest)] = 0.0
        fill[np.ix_(rest, known)] = COV[np.ix_(rest, known)] @ np.linalg.inv(COV[np.ix_(known, known)])
        covs.append(fill @ COV @ fill.T)
        spread += np.trace(COV - covs[-1]) / 4
    mean = np.mean(covs, axis=0)
    size, turn = np.linalg.eigh(mean)
    best = (turn * np.maximum(size, 1.0)) @ turn.T
    log_det = np.linalg.slogdet(best)[1]
    objective = -0.5 * (2 * np.log(2 * np.pi) + log_det + np.trace(np.linalg.solve(best, mean)) + spread)
    gap = (0.5 * (2 * np.log(2 * np.pi) + log_det + np.trace(np.linalg.solve(best, COV))) - ENTROPY) / ENTROPY
    np.testing.assert_allclose([objective, gap], [-31.2116, 0.0541], atol=1e-4)
    np.testing.assert_allclose(out["objective"], objective, rtol=1e-5)
    np.testing.assert_allclose(out["gap"], gap, rtol=1e-2)
    np.testing.assert_allclose([out["rate"], out["cross rate"]], [2.8209, 25.205], rtol=1e-3)


@pytest.mark.parametrize("d", ["pyro"], indirect=True)
def test_the_mean_of_the_objective_never_exceeds_minus_the_entropy_of_the_data(d):
    """Whatever the parameters, and although single data may exceed the model's own likelihood."""
    model, guides = programs(d)
    excess = []
    for guide in guides:
        step = d.stepper(d.mm.Masked(DRAWS, subsets=SUBSETS, average=True), model, guides[guide])
        names = sorted(step(BATCH, 0).grads)
        for seed in range(20):
            rng = np.random.default_rng(seed)
            params = {n: START[n] + rng.normal(size=START[n].shape) * rng.choice([0.1, 1.0]) for n in names}
            excess.append(-step(BATCH, 0, params).loss / len(BATCH) + ENTROPY)
    assert max(excess) < 0.0
