"""What every test gets: no global state may change, doubles, a choice of hosts, and programs with exact answers.

Tests that need torch or Pyro carry the marker ``pyro``. It is set here: on every test in a folder or a
file with the word ``pyro``, ``torch`` or ``parity`` in its name (``tests/pyro/``, ``test_nets_torch.py``), and on every
test one of whose parameters is ``"pyro"`` or ``"torch"``. Only the files so named may import torch or Pyro at the top.
``pytest -m "not pyro"`` then runs, and even reads, nothing that needs torch; without it a missing torch is an error.
"""

import gc
import importlib
import json
import os
import sys
import threading
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from mmppl import models
from mmppl._backend import get_backend
from mmppl.batch import Batch
from mmppl.data import LinearGaussian
from mmppl.inference import Fitted, Program
from mmppl.nets import ResidualScore
from mmppl.testing import driver

settings.register_profile("mmppl", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("mmppl")


def quick_to_compile() -> str:
    """XLA's flags for tests, which compile much and run little; an unknown flag would end the process.

    Where there are few cores, a program that is cut into parts, to be compiled beside each other, takes longer. The
    wider instructions of some machines take longer too, and round otherwise.
    """
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    flags += " --xla_cpu_parallel_codegen_split_count=1 --xla_cpu_max_isa=AVX2"
    try:
        slow_emitters = tuple(map(int, version("jax").split(".")[:2])) < (0, 11)
    except PackageNotFoundError:
        return flags
    return f"{flags} --xla_cpu_use_fusion_emitters=false" if slow_emitters else flags


os.environ.setdefault("XLA_FLAGS", quick_to_compile())
# Lines of source are not written into what is compiled.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
MOST_MAPS = 10_000


@pytest.fixture
def fast_to_run(monkeypatch):
    """What mmppl compiles in this test is compiled as it is for users: for tests that run for longer than they compile.

    XLA itself reads its flags once, before they are changed here.
    """
    importlib.import_module("jax").numpy.zeros(()).block_until_ready()
    flags = os.environ.get("XLA_FLAGS", "").split()
    monkeypatch.setenv("XLA_FLAGS", " ".join(flag for flag in flags if "optimization_level" not in flag))


TESTS = Path(__file__).parent
NEEDS_TORCH = {"pyro", "torch", "parity"}


def needs_torch(path: Path) -> bool:
    """Whether the name of a test file, or of a folder it is in, says that it needs torch."""
    parts = path.relative_to(TESTS).with_suffix("").parts
    return any(word in NEEDS_TORCH for part in parts for word in part.split("_"))


def pytest_ignore_collect(collection_path, config):
    """Reads no file that needs torch where such tests are not asked for."""
    inside = collection_path != TESTS and TESTS in collection_path.parents
    if config.option.markexpr == "not pyro" and inside and needs_torch(collection_path):
        return True
    return None


def pytest_collection_modifyitems(items):
    """Marks what needs torch or Pyro."""
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if needs_torch(item.path) or any(isinstance(p, str) and p in NEEDS_TORCH for p in params.values()):
            item.add_marker(pytest.mark.pyro)


def global_state() -> dict[str, object]:
    """The settings of the frameworks loaded so far that no test, and no part of mmppl, may change for others."""
    state: dict[str, object] = {"numpy errors": np.geterr()}
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        state["torch default dtype"] = torch.get_default_dtype()
        state["torch default device"] = torch.get_default_device()
        state["torch grad mode"] = torch.is_grad_enabled()
        state["torch threads"] = torch.get_num_threads()
        state["torch deterministic"] = torch.are_deterministic_algorithms_enabled()
    if "torch.distributions" in sys.modules:
        state["torch validation"] = sys.modules["torch.distributions"].Distribution._validate_args
    if "pyro" in sys.modules:
        state["pyro settings"] = sys.modules["pyro"].settings.get()
    if "jax" in sys.modules:
        config = sys.modules["jax"].config
        for name in ("enable_x64", "numpy_dtype_promotion", "numpy_rank_promotion", "debug_nans", "disable_jit"):
            state[f"jax {name}"] = getattr(config, f"jax_{name}")
        state["jax matmul precision"] = config.jax_default_matmul_precision
    if "numpyro.distributions" in sys.modules:
        state["numpyro validation"] = sys.modules["numpyro.distributions"].Distribution._validate_args
    return state


def changed(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """The settings known before that are different after."""
    return [f"{name}: {before[name]} -> {after[name]}" for name in before if before[name] != after[name]]


@pytest.fixture(autouse=True)
def guard_global_state():
    """Fails the test that changes a global setting of a framework."""
    if "pyro" in sys.modules:
        sys.modules["pyro"].clear_param_store()
    before = global_state()
    yield
    changes = changed(before, global_state())
    if changes:
        pytest.fail("The test changed global state: " + "; ".join(changes))


def pytest_collection_finish():
    """Lets Python look for garbage seldom, and not among what was imported: tracing makes objects by the million."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 10)


@pytest.fixture(autouse=True, scope="module")
def forget_compiled():
    """Drops what JAX compiled once it is much: thousands of programs in one process exhaust its memory maps."""
    yield
    if "jax" in sys.modules and memory_maps() > MOST_MAPS:
        sys.modules["jax"].clear_caches()


def memory_maps() -> float:
    """Number of memory maps of this process; as many as one likes where the system does not tell."""
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return float("inf")


@pytest.fixture(autouse=True, scope="session")
def one_context():
    """Lets JAX write programs in one MLIR context a thread: to make one takes as long as to write a small program."""
    mlir = importlib.import_module("jax._src.interpreters.mlir") if find_spec("jax") else None
    if not hasattr(mlir, "make_ir_context"):
        yield
        return
    make, kept = mlir.make_ir_context, threading.local()

    def context():
        # Types and constants of all its programs stay in it.
        if getattr(kept, "count", 0) % 500 == 0:
            kept.context = make()
        kept.count = getattr(kept, "count", 0) + 1
        return kept.context

    mlir.make_ir_context = context
    yield
    mlir.make_ir_context = make


@pytest.fixture
def handlers(host):
    """The host's effect handlers: ``scale``, ``mask`` and others."""
    return importlib.import_module("pyro.poutine" if host.name == "pyro" else "numpyro.handlers")


@pytest.fixture
def x64():
    """JAX in double precision, for this test only."""
    import jax

    with jax.enable_x64(True):
        yield


@pytest.fixture(params=["numpy", "jax", "torch"])
def to(request, x64):
    """Moves a numpy array to each of the backends, in double precision."""
    if request.param == "numpy":
        return np.asarray
    if request.param == "jax":
        import jax.numpy as jnp

        return jnp.asarray
    import torch

    return torch.as_tensor


@pytest.fixture(params=["numpyro", "pyro"])
def host(request):
    """Each host's driver, in double precision."""
    drive = driver(request.param)
    with drive.double():
        yield drive


@pytest.fixture
def d(host):
    """The same, for tests that mention it in every line."""
    return host


@pytest.fixture(params=["numpyro", "pyro"])
def ppl(request):
    """``mmppl.numpyro`` or ``mmppl.pyro``; tests with "pyro" need torch."""
    return importlib.import_module(f"mmppl.{request.param}")


@pytest.fixture
def ppl_driver(ppl):
    """The same host, driven by tests, in its own precision."""
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
def learn(ppl_driver):
    """Learns a joint density of latents by the host's own SVI, on the whole of ``z`` at every step."""
    host = ppl_driver

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


@pytest.fixture(scope="session")
def sizes():
    """Options of systems, by name, that make chains and scores small, beside ``latent_dim`` and ``hidden``."""
    score = {"width": 8, "depth": 1, "steps": 6}
    out = dict.fromkeys(("mld", "mld_uni", "sbm", "mt_diffusion"), score)
    out |= dict.fromkeys(("ebm", "ebm_plus"), {"energy_hidden": 8, "chains": 16, "buffer": 64, "steps": 3})
    return {**out, "mld_inpaint": {**score, "steps": 12}}


@pytest.fixture
def small(ppl, declared, sizes):
    """Makes a published system with nets small enough for a test."""

    def make(name, modalities, **options):
        options = {"latent_dim": 2, "hidden": 8, **sizes.get(name, {}), **options}
        key = ppl, name, repr(modalities), repr(options), ppl.host.zeros(1).dtype
        if any(callable(value) or isinstance(value, dict) for value in options.values()):
            return models.make(name, modalities, ppl=ppl, **options)
        if key not in declared:
            declared[key] = models.make(name, modalities, ppl=ppl, **options)
        return declared[key]

    return make


@pytest.fixture
def same_on_devices():
    """Holds what ``tests/inference/fit_on_devices.py`` says of one system to what one device gives."""

    def check(lines):
        found = [json.loads(line) for line in lines]
        assert [(one["devices"], one["what"]) for one in found] == [
            (2, "fit"),
            (4, "fit"),
            (2, "in parts too"),
            (1, "resumed from 2"),
            (2, "resumed from 1"),
            (2, "source"),
        ]
        for one in found:
            assert max(one["record"], one["weights"]) < 1e-5, one
            assert one["files"], one
            assert one["digest"], one

    return check
