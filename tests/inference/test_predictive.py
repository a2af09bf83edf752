"""Draws of what is missing, by the hosts' own ``Predictive``."""

from importlib import import_module

import numpy as np
import pytest

from mmppl import Batch, Modality, inference, models

HOSTS = ("numpyro", "pyro")
ROWS, DRAWS = 5, 3000
PRESENT = np.array([True, False, True, False, True])


def predicted(host, model, batch, given=None):
    """Draws of every site, ``(DRAWS, N, *event)``."""
    batch = import_module(f"mmppl.{host}").as_batch(batch)
    if host == "numpyro":
        import jax
        from numpyro.infer import Predictive

        draws = Predictive(model, given, num_samples=DRAWS)(jax.random.key(0), batch)
    else:
        import pyro
        from pyro.infer import Predictive

        pyro.set_rng_seed(0)
        draws = Predictive(model, given, num_samples=DRAWS, parallel=True)(batch)
    return {name: np.asarray(value) for name, value in draws.items()}


def around(host, likelihood):
    """A program of one latent of the rows, with the likelihood ``likelihood(dist, z)`` of "x"."""
    mm = import_module(f"mmppl.{host}")
    dist = import_module("pyro.distributions" if host == "pyro" else "numpyro.distributions")
    sample = import_module(host).sample

    def model(batch):
        with mm.plate(batch):
            z = sample("z", dist.Normal(0.0, 1.0))
            mm.observe("x", likelihood(dist, z), batch)

    return model


@pytest.mark.parametrize("host", HOSTS)
def test_missing_rows_are_drawn_and_the_others_stay(host):
    model = around(host, lambda dist, z: dist.Normal(z[..., None] + 2.0, 0.5).expand((*z.shape, 2)).to_event(1))
    data = np.full((ROWS, 2), 7.0, np.float32)
    x = predicted(host, model, Batch({"x": data}, {"x": PRESENT}))["x"]
    assert x.shape == (DRAWS, ROWS, 2)
    assert (x[:, PRESENT] == 7.0).all()
    drawn = x[:, ~PRESENT].reshape(DRAWS, -1)
    # Marginally normal(2, 1 + 0.25); the two elements of a row share z, and rows share nothing.
    assert np.allclose(drawn.mean(0), 2.0, atol=4 * (1.25 / DRAWS) ** 0.5)
    wanted = np.kron(np.eye(2), np.ones((2, 2))) + 0.25 * np.eye(4)
    assert np.allclose(np.cov(drawn.T), wanted, atol=4 * 1.25 * (2 / DRAWS) ** 0.5)


@pytest.mark.parametrize("host", HOSTS)
def test_missing_elements_are_drawn(host):
    model = around(host, lambda dist, z: dist.Normal(z[..., None], 0.5).expand((*z.shape, 2)).to_event(1))
    there = np.stack([PRESENT, np.ones(ROWS, bool)], -1)
    x = predicted(host, model, Batch({"x": np.full((ROWS, 2), 7.0, np.float32)}, {"x": there}))["x"]
    assert (x[:, there] == 7.0).all()
    assert abs(x[:, ~there].std() - 1.25**0.5) < 0.05


@pytest.mark.parametrize("host", HOSTS)
def test_a_likelihood_without_the_plate_of_the_rows_is_drawn_for_each(host):
    model = around(host, lambda dist, z: dist.Normal(0.0 * z.sum() + 1.0, 1.0))
    x = predicted(host, model, Batch({"x": np.zeros(ROWS, np.float32)}, {"x": PRESENT}))["x"]
    first, second = x[:, ~PRESENT].T
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    assert len(np.unique(first)) > DRAWS - 5


@pytest.mark.parametrize("host", HOSTS)
def test_labels_that_are_missing_are_drawn_as_integers(host):
    mm = import_module(f"mmppl.{host}")
    model = around(host, lambda dist, z: dist.Categorical(logits=z[..., None] * mm.host.zeros(3)))
    x = predicted(host, model, Batch({"x": np.full(ROWS, 2)}, {"x": PRESENT}))["x"]
    assert x.dtype.kind == "i"
    assert np.allclose(np.bincount(x[:, ~PRESENT].ravel(), minlength=3) / (2 * DRAWS), 1 / 3, atol=0.03)


@pytest.mark.parametrize("host", HOSTS)
def test_a_system_of_the_catalogue_fills_what_is_missing(host):
    mm = import_module(f"mmppl.{host}")
    program = models.mopoe({"x": Modality((2,)), "y": Modality((3,))}, ppl=mm, latent_dim=2, hidden=4)
    rng = np.random.default_rng(0)
    values = {"x": rng.normal(size=(ROWS, 2)).astype("f4"), "y": rng.normal(size=(ROWS, 3)).astype("f4")}
    batch = Batch(values, {"x": PRESENT})
    fitted = inference.fit(program, batch, epochs=1, progress=False)
    x = predicted(host, fitted.model, batch)["x"]
    assert (x[:, PRESENT] == values["x"][PRESENT]).all()
    assert (x[:, ~PRESENT].std(0) > 0.1).all()


@pytest.mark.parametrize("host", HOSTS)
def test_a_site_that_a_program_masks_adds_no_latent(host):
    mm, ppl = import_module(f"mmppl.{host}"), import_module(host)
    dist = import_module("pyro.distributions" if host == "pyro" else "numpyro.distributions")
    mask = ppl.poutine.mask if host == "pyro" else ppl.handlers.mask

    def model(batch):
        with mm.plate(batch):
            z = ppl.sample("z", dist.Normal(0.0, 1.0))
            mm.observe("x", dist.Normal(z, 1.0), batch)
            with mask(mask=False):
                mm.observe("y", dist.Normal(z, 1.0), batch)

    def guide(batch):
        with mm.plate(batch):
            ppl.sample("z", dist.Normal(ppl.param("m", mm.host.zeros(1)), 1.0))

    ones = np.ones(ROWS, np.float32)
    program = inference.Program(
        ppl=mm, model=model, guide=guide, objective=mm.ELBO(), modalities={"x": Modality(()), "y": Modality(())}
    )
    fitted = inference.fit(program, Batch({"x": ones, "y": ones}, {"y": PRESENT}), epochs=1, progress=False)
    assert fitted.latents == ("z",)
