"""A choice of hosts, and programs whose answers are known exactly."""

import importlib
import importlib.util
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

from mmppl import models
from mmppl._backend import get_backend
from mmppl.batch import Batch
from mmppl.data import LinearGaussian
from mmppl.inference import Fitted, Program
from mmppl.nets import ResidualScore
from mmppl.testing.drivers import driver


@pytest.fixture(params=["numpyro", "pyro"])
def ppl(request):
    """``mmppl.numpyro`` or ``mmppl.pyro``; tests with "pyro" need torch."""
    return importlib.import_module(f"mmppl.{request.param}")


@pytest.fixture
def host(ppl):
    """The same host, driven by tests."""
    return driver(ppl.host.NAME)


@pytest.fixture
def double(ppl):
    """Double precision: JAX's flag or torch's default type, for this test only."""
    if ppl.host.NAME == "numpyro":
        with importlib.import_module("jax").enable_x64(True):
            yield
        return
    torch = importlib.import_module("torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def truth():
    return LinearGaussian(2, {"a": 3, "b": 2, "c": 1}, seed=1, noise={"a": 0.5, "b": 0.7, "c": 0.4})


@pytest.fixture(scope="session")
def make_linear(truth):
    """Makes each program once, so that what is compiled for it serves every test."""

    @cache
    def make(ppl, *, shift=0.0, widen=1.0, tilt=None, noise=1.0):
        host, dist = ppl.host, ppl.host.dist
        backend = get_backend(host.zeros(1))
        weight = {m: backend.asarray(w) for m, w in truth.weight.items()}
        bias = {m: backend.asarray(b) for m, b in truth.bias.items()}
        origin, eye = backend.asarray(np.zeros(truth.latent_dim)), backend.asarray(np.eye(truth.latent_dim))
        theta = origin if tilt is None else backend.asarray(np.array(tilt))

        def energy(z):
            return z @ theta

        def model(batch):
            prior = dist.Normal(origin, 1.0).to_event(1)
            if tilt is not None:
                prior = ppl.EnergyTilted(prior, energy)
            with ppl.plate(batch):
                z = host.sample("z", prior)
                for m in batch.modalities:
                    ppl.observe(m, dist.Normal(z @ weight[m].T + bias[m], noise * truth.noise[m]).to_event(1), batch)

        def guide(batch):
            precision, pull = eye, theta
            for m in batch.modalities:
                scaled = weight[m] / (noise * truth.noise[m]) ** 2
                precision = precision + batch.present[m][..., None, None] * (scaled.T @ weight[m])
                pull = pull + batch.present[m][..., None] * ((batch[m] - bias[m]) @ scaled)
            loc = backend.xp.linalg.solve(precision, pull[..., None])[..., 0] + shift
            with ppl.plate(batch):
                host.sample("z", dist.MultivariateNormal(loc, precision_matrix=precision / widen))

        return Fitted(Program(model, guide, ppl.ELBO(), ppl, truth.modalities), {})

    return make


@pytest.fixture
def linear(ppl, double, make_linear):
    """Makes the linear-Gaussian model by hand, in double precision, with its exact posterior as the guide.

    ``shift`` and ``widen`` spoil the guide: its mean by an offset, its covariance by a factor. ``noise`` spoils the
    program: the deviations of the data by a factor, which the guide knows of. ``tilt`` puts the
    energy f(z) = tilt . z on the prior, which makes it N(tilt, I) with log Z = |tilt|^2 / 2; the guide knows.
    """
    return partial(make_linear, ppl)


@pytest.fixture
def learn(host):
    """Learns a joint density of latents by the host's own SVI, on the whole of ``z`` at every step."""

    def learn(kind, options, z, steps, *, outputs=None, present=None):
        make = getattr(host.mm, kind)
        net = host.mm.build(ResidualScore(options.blocks.sizes, width=32, depth=2, outputs=outputs), 0)

        def model(batch):
            prior = make(host.mm.net("score", net), options, density="denoising")
            with host.mm.plate(batch):
                host.ppl.sample("z", prior.marginal(batch.present), obs=options.blocks.join(batch.values))

        batch = Batch(options.blocks.split(z.astype("float32")), present or {})
        losses, weights = host.fit(host.mm.ELBO(), model, lambda batch: None, batch, steps=steps, rate=6e-3)
        assert np.mean(losses[-20:]) < np.mean(losses[:20])
        own = {name.removeprefix("score."): w for name, w in weights.items()}
        nets = importlib.import_module({"numpyro": "mmppl.nets.equinox", "pyro": "mmppl.nets.torch"}[host.name])
        return make(nets.load(net, own), options)

    return learn


@pytest.fixture(scope="module")
def declared():
    """Programs that tests of a file have declared: what is compiled for one serves the next test that has it."""
    return {}


@pytest.fixture
def small(ppl, declared):
    """Makes a published system with nets small enough for a test."""
    score = {"width": 8, "depth": 1, "steps": 6}
    sizes = dict.fromkeys(("ebm", "ebm_plus"), {"energy_hidden": 8, "chains": 16, "buffer": 64, "steps": 3})
    sizes |= {
        "mld": score,
        "mld_uni": score,
        "sbm": score,
        "mt_diffusion": score,
        "mld_inpaint": {**score, "steps": 12},
    }

    def make(name, modalities, **options):
        options = {"latent_dim": 2, "hidden": 8, **sizes.get(name, {}), **options}
        key = ppl, name, repr(modalities), repr(options), ppl.host.zeros(1).dtype
        if any(callable(value) or isinstance(value, dict) for value in options.values()):
            return models.make(name, modalities, ppl=ppl, **options)
        if key not in declared:
            declared[key] = models.make(name, modalities, ppl=ppl, **options)
        return declared[key]

    return make


@pytest.fixture(scope="session")
def numpy_host():
    """The host in numpy of ``numpy_host.py``, with which a fit takes no time."""
    spec = importlib.util.spec_from_file_location("numpy_host", Path(__file__).parent / "numpy_host.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
