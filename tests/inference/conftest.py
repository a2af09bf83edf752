"""Hosts in their own precision, as programs run on them, and one in numpy alone."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture
def host(ppl_driver):
    """The driver of ``ppl``, in its own precision."""
    return ppl_driver


@pytest.fixture(scope="session")
def numpy_host():
    """The host in numpy of ``numpy_host.py``, with which a fit takes no time."""
    spec = importlib.util.spec_from_file_location("numpy_host", Path(__file__).parent / "numpy_host.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
