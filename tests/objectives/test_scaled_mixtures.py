"""Scales around latents of a mixture over subsets are outside its logarithm, as they are with any density."""

import numpy as np
import pytest

from mmppl import Batch
from mmppl._backend import get_backend
from mmppl.errors import ObjectiveError

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


def test_scales_that_differ_are_refused(d, handlers):
    scale, plain = (lambda batch, s=s: handlers.scale(scale=s) for s in (0.25, 1.0))
    for pair in ((scale, plain), (plain, scale)):
        with pytest.raises(ObjectiveError, match=r"latents \['z', 'y'\] together; got scales that they do not share"):
            one_step(d, d.mm.MMVAE(), *pair)
        assert np.isfinite(one_step(d, d.mm.ELBO(), *pair)[0])


def test_a_mask_leaves_latents_out_of_the_mixture(d, handlers):
    hidden = lambda batch: handlers.mask(mask=False)  # noqa: E731
    loss, _ = one_step(d, d.mm.MMVAE(beta=0.0), *[lambda batch: handlers.scale(scale=1.0)] * 2)
    np.testing.assert_allclose(one_step(d, d.mm.MMVAE(), hidden, hidden)[0], loss, rtol=1e-5)
