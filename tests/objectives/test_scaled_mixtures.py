"""Scales around latents of a mixture over subsets are outside its logarithm, each on its latent given those before."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from mmppl import Batch
from mmppl._backend import get_backend
from mmppl._backend.numpy import BACKEND
from mmppl.errors import ObjectiveError
from mmppl.inference.objectives.mixtures import mixed
from mmppl.inference.objectives.terms import Draws

RNG = np.random.default_rng(0)
BATCH = Batch({"a": RNG.normal(size=(6, 1)), "b": RNG.normal(size=(6, 1))}, {"b": np.arange(6) != 2})
PARAMS = {"a": np.array(0.9), "b": np.array(-0.8)}


def program(d, first, second=None, size=None):
    """One or two latents, each within handlers of its own, of experts far from each other."""

    def model(batch):
        with d.mm.plate(batch, size):
            with first(batch):
                z = d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(1)), 1.0).to_event(1))
            y = 0.0
            if second:
                with second(batch):
                    y = d.ppl.sample("y", d.dist.Normal(0.5 * z, 1.0).to_event(1))
            for m in batch.modalities:
                d.mm.observe(m, d.dist.Normal(z + y, 0.5).to_event(1), batch)

    def guide(batch):
        p = {n: d.ppl.param(n, d.array(x)) for n, x in PARAMS.items()}
        one = batch["a"] * 0.0 + 1.0
        parts = {"a": (p["a"] * one, 0.7 * one), "b": (p["b"] * one, 0.4 * one)}
        with d.mm.plate(batch, size):
            with first(batch):
                z = d.ppl.sample("z", d.mm.MixtureOfExperts(parts, batch.present))
            if second:
                with second(batch):
                    d.ppl.sample("y", d.dist.Normal(get_backend(z).xp.tanh(z), 0.6).to_event(1))

    return model, guide


def one_step(d, objective, *args):
    found = d.stepper(objective, *program(d, *args))(BATCH, 0, PARAMS)
    return float(found.loss), {name: float(grad) for name, grad in found.grads.items()}


OBJECTIVES = {
    "MMVAE": lambda mm, beta: mm.MMVAE(beta=beta),
    "MoPoE": lambda mm, beta: mm.MoPoE(density="mixture", beta=beta),
    "MMVAE, dreg": lambda mm, beta: mm.MMVAE(3, beta=beta, gradient="dreg"),
}


@pytest.mark.parametrize(("name", "size"), [("MMVAE", None), ("MoPoE", 60), ("MMVAE, dreg", 60)])
def test_one_scale_on_all_latents_is_a_beta(d, handlers, name, size):
    """With the same draws: a scale that is a number, or one of each row."""
    ways = {
        "plain": lambda batch: handlers.scale(scale=1.0),
        "number": lambda batch: handlers.scale(scale=0.25),
        "rows": lambda batch: handlers.scale(scale=0.25 + 0.0 * batch["a"][..., 0]),
    }
    make = OBJECTIVES[name]
    for way, several in (("number", True), ("rows", False)):
        plain, scaled = ([ways[w], ways[w] if several else None, size] for w in ("plain", way))
        loss, grads = one_step(d, make(d.mm, 0.25), *plain)
        got, others = one_step(d, make(d.mm, 1.0), *scaled)
        np.testing.assert_allclose(got, loss, rtol=1e-5)
        if "dreg" not in name:  # whose gradient has the same mean, and is another for each draw
            for param, grad in grads.items():
                np.testing.assert_allclose(others[param], grad, rtol=1e-4, atol=1e-5)


def test_scales_that_differ_are_of_each_latent_given_those_before_it(d, handlers):
    """Where y has nothing to do with the subset, the bound is linear in both scales, and a mask is the scale 0."""
    ways = {
        "plain": lambda batch: handlers.scale(scale=1.0),
        "number": lambda batch: handlers.scale(scale=0.25),
        "rows": lambda batch: handlers.scale(scale=0.25 + 0.0 * batch["a"][..., 0]),
        "hidden": lambda batch: handlers.mask(mask=False),
    }

    def loss(first, second, size=None):
        return one_step(d, d.mm.MMVAE(), ways[first], ways[second], size)[0]

    whole = loss("plain", "plain")
    for way in ("number", "rows"):
        np.testing.assert_allclose(loss(way, "plain"), 0.75 * loss("hidden", "plain") + 0.25 * whole, rtol=1e-5)
        np.testing.assert_allclose(loss("plain", way), 0.75 * loss("plain", "hidden") + 0.25 * whole, rtol=1e-5)
    # Arrays that are equal, made for each latent by itself, are one scale; the whole data set's size is beside it.
    np.testing.assert_allclose(loss("rows", "rows"), loss("number", "number"), rtol=1e-5)
    np.testing.assert_allclose(loss("rows", "plain", 60), 10 * loss("rows", "plain"), rtol=1e-5)


def test_the_chain_rule_of_a_mixture():
    """Log q = 2 log q(z) + 0.3 log q(y | z), of a mixture of two in which y depends on the subset."""
    z, y = RNG.normal(size=(2, 1, 1, 4))
    loc, share = np.array([[-1.0, 0.7], [1.5, -0.4]]), np.array([0.3, 0.7])
    logs = [[stats.norm(loc[u, i], 0.5).logpdf(x) for u in range(2)] for i, x in enumerate((z, y))]
    q_z = logsumexp([np.log(share[u]) + logs[0][u] for u in range(2)], axis=0)
    q_zy = logsumexp([np.log(share[u]) + logs[0][u] + logs[1][u] for u in range(2)], axis=0)
    factors = {"z": 2.0, "y": np.full(4, 0.3)}
    across = {n: factors[n] * np.stack(logs[i], axis=2) for i, n in reversed(list(enumerate("zy")))}
    draws = Draws({}, {}, (), (), {"z": 0, "y": 0}, {}, np.zeros(()), factors=factors, shape=(1, 1, 4))
    run = SimpleNamespace(backend=BACKEND, like=np.zeros(()))
    found = mixed(run, draws, across, np.broadcast_to(share[:, None], (2, 4)))
    np.testing.assert_allclose(found, 2.0 * q_z + 0.3 * (q_zy - q_z), rtol=1e-12)


def test_scales_within_a_row_are_refused(d, handlers):
    def model(batch, guide=False):
        with d.mm.plate(batch):
            loc = d.array(np.zeros((2, 6)))
            with d.ppl.plate("views", 2, dim=-2), handlers.scale(scale=d.array(np.array([[0.5], [1.0]]))):
                z = d.ppl.sample("z", d.dist.Normal(loc, 1.0))
            for m in () if guide else batch.modalities:
                d.mm.observe(m, d.dist.Normal(z.sum(0)[..., None], 0.5).to_event(1), batch)

    with pytest.raises(ObjectiveError, match="is of whole rows; got 'z' with scales that differ within a row"):
        d.stepper(d.mm.MMVAE(), model, lambda batch: model(batch, guide=True))(BATCH, 0, {})


def test_a_mask_leaves_latents_out_of_the_mixture(d, handlers):
    hidden = lambda batch: handlers.mask(mask=False)  # noqa: E731
    loss, _ = one_step(d, d.mm.MMVAE(beta=0.0), *[lambda batch: handlers.scale(scale=1.0)] * 2)
    np.testing.assert_allclose(one_step(d, d.mm.MMVAE(), hidden, hidden)[0], loss, rtol=1e-5)
