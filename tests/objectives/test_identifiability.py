"""A latent is identified through a label, and is not under a standard normal prior; linear, so that it is quick."""

import numpy as np
import pytest
from scipy import optimize

from mmppl._backend import get_backend
from mmppl.data import LabelledMixture
from mmppl.metrics import mean_correlation
from mmppl.testing import driver

TRUTH = LabelledMixture(2, labels=4, noise=0.5, slope=1.0, seed=4)
BATCH, LATENT = TRUTH.sample_with_latent(400, 1)
DRAWS = 4
RNG = np.random.default_rng(3)
START = {
    "weight": RNG.normal(size=(2, 2)),
    "slope": 0.3 * RNG.normal(size=(4, 2, 2)),
    "offset": np.zeros((4, 2)),
    "spread": np.zeros((4, 2)),
    "loc": RNG.normal(size=(4, 2)),
    "scale": np.zeros((4, 2)),
}


@pytest.fixture(params=["numpyro", "pyro"])
def d(request, monkeypatch):
    """A host whose normal noise has exact moments over the draws: the objective is a plain function of parameters."""
    d = driver(request.param)
    with d.double():
        backend = get_backend(d.array(np.zeros(1)))
        points = np.sqrt(2.0) * np.concatenate([np.eye(2), -np.eye(2)])

        def normal(rng, shape, like):
            sizes = [1] * (len(shape) - 1)
            if DRAWS in shape[:-1]:
                sizes[shape.index(DRAWS)] = DRAWS
            chosen = points if DRAWS in sizes else points[:1]
            return backend.asarray(np.broadcast_to(chosen.reshape(*sizes, 2), shape).copy(), like=like)

        monkeypatch.setattr(backend, "normal", normal)
        yield d


def recovered(d, identifiable):
    """The means of the fitted posterior of each row, ``(N, 2)``."""

    def param(name):
        return d.ppl.param(name, d.array(START[name]))

    def model(batch):
        weight, xp = param("weight"), get_backend(param("weight")).xp
        prior = d.dist.Normal(d.array(np.zeros(2)), 1.0).to_event(1)
        if identifiable:
            label, present = batch["label"], batch.present["label"]
            prior = d.mm.Conditional(param("loc"), xp.exp(param("scale")), label=label, present=present)
        with d.mm.plate(batch):
            z = d.ppl.sample("z", prior)
            d.mm.observe("x", d.dist.Normal(z @ weight, TRUTH.noise).to_event(1), batch)

    def guide(batch):
        xp = get_backend(batch["x"]).xp
        own = d.array(np.eye(4))[batch["label"][:, 0]]
        slope = (own[:, :, None, None] * param("slope")).sum(1)
        loc = (batch["x"][:, None, :] @ slope)[:, 0] + own @ param("offset")
        with d.mm.plate(batch):
            one = {"one": (loc, xp.exp(own @ param("spread")))}
            d.ppl.sample("z", d.mm.Product(one, {"one": batch.present["x"]}, prior_expert=False))

    step = d.stepper(d.mm.ELBO(DRAWS, average=True), model, guide)
    names = sorted(step(BATCH, 0).grads)
    sizes = np.cumsum([START[n].size for n in names])[:-1]

    def named(flat):
        return {n: x.reshape(START[n].shape) for n, x in zip(names, np.split(flat, sizes), strict=True)}

    def loss(flat):
        out = step(BATCH, 0, named(flat))
        return out.loss / len(BATCH), np.concatenate([out.grads[n].ravel() for n in names]) / len(BATCH)

    start = np.concatenate([START[n].ravel() for n in names])
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 400, "ftol": 1e-9})
    params, label = named(found.x), BATCH["label"][:, 0]
    return np.einsum("ni,nij->nj", BATCH["x"], params["slope"][label]) + params["offset"][label]


def test_the_label_identifies_the_latent(d):
    conditional, normal = (recovered(d, identifiable) for identifiable in (True, False))
    strong = mean_correlation(LATENT, conditional).value
    assert strong > 0.95
    assert mean_correlation(LATENT, normal).value < strong - 0.05
    # What is lost is the rotation: linear combinations of the latents are there under either prior.
    assert min(mean_correlation(LATENT, z, "weak").value for z in (conditional, normal)) > 0.9
