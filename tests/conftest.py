"""What every test gets: no global state may change, doubles on request, and a choice of hosts.

Tests that need torch or Pyro carry the marker ``pyro``. It is set here: on every test in a folder or a
file with the word ``pyro``, ``torch`` or ``parity`` in its name (``tests/pyro/``, ``test_nets_torch.py``), and on every
test one of whose parameters is ``"pyro"`` or ``"torch"``. Only the files so named may import torch or Pyro at the top.
``pytest -m "not pyro"`` then runs, and even reads, nothing that needs torch; without it a missing torch is an error.
"""

import gc
import importlib
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("mmppl", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("mmppl")


def quick_to_compile() -> str:
    """XLA's flags for tests, which compile much and run little; an unknown flag would end the process.

    Where there are few cores, a program that is cut into parts, to be compiled beside each other, takes longer.
    """
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    flags += " --xla_cpu_parallel_codegen_split_count=1"
    try:
        slow_emitters = tuple(map(int, version("jax").split(".")[:2])) < (0, 11)
    except PackageNotFoundError:
        return flags
    return f"{flags} --xla_cpu_use_fusion_emitters=false" if slow_emitters else flags


os.environ.setdefault("XLA_FLAGS", quick_to_compile())

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
    """Drops what JAX compiled for a file of tests: thousands of programs in one process exhaust its memory maps."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


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
    from mmppl.testing import driver

    drive = driver(request.param)
    with drive.double():
        yield drive


@pytest.fixture
def d(host):
    """The same, for tests that mention it in every line."""
    return host
