"""What importing does to a fresh process: which frameworks it loads, and that it changes no setting."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
HOSTS = {"pyro": ("torch", "pyro"), "numpyro": ("jax", "numpyro")}

SNAPSHOT = """
import logging, os, random, sys, warnings
import numpy as np
sys.path.append({tests!r})
from conftest import global_state

def snapshot():
    state = global_state()
    state["python random"] = random.getstate()
    state["numpy random"] = str(np.random.get_state())
    state["root logger"] = (logging.root.level, list(logging.root.handlers), logging.root.disabled)
    state["warning filters"] = list(warnings.filters)
    state["environment"] = dict(os.environ)
    if "torch" in sys.modules:
        state["torch random"] = sys.modules["torch"].get_rng_state().tolist()
    return state

{hosts}
before = snapshot()
{statement}
after = snapshot()
print([name for name in before if before[name] != after[name]])
"""


def run(code: str, folder: Path) -> str:
    """Runs code in a fresh process in another folder; its last line of output."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().rpartition("\n")[2]


def loaded(statement: str, folder: Path) -> set[str]:
    """The frameworks that a statement loads."""
    return set(run(f"import sys\n{statement}\nprint(*{{m.partition('.')[0] for m in sys.modules}})", folder).split())


@pytest.mark.parametrize("module", ["mmppl", "mmppl.batch", "mmppl.data", "mmppl.inference", "mmppl.models"])
def test_shared_rooms_load_no_framework(module, tmp_path):
    assert not loaded(f"import {module}", tmp_path) & {"torch", "jax", "pyro", "numpyro", "equinox", "optax"}


@pytest.mark.parametrize("host", ["numpyro", "pyro"])
def test_a_package_of_a_host_loads_its_own_host_only(host, tmp_path):
    names = loaded(f"import mmppl.{host}", tmp_path)
    assert {host for host, frameworks in HOSTS.items() if names & set(frameworks)} == {host}
    assert set(HOSTS[host]) <= names


@pytest.mark.parametrize("host", ["numpyro", "pyro"])
def test_importing_a_package_of_a_host_changes_no_setting(host, tmp_path):
    hosts = "\n".join(
        f"import {name}, {name}.distributions" if "pyro" in name else f"import {name}" for name in HOSTS[host]
    )
    code = SNAPSHOT.format(tests=str(TESTS), hosts=hosts, statement=f"import mmppl.{host}")
    assert run(code, tmp_path) == "[]"


def test_a_changed_setting_is_noticed(tmp_path):
    code = SNAPSHOT.format(tests=str(TESTS), hosts="", statement="np.seterr(all='raise'); logging.root.setLevel(10)")
    assert run(code, tmp_path) == "['numpy errors', 'root logger']"


@pytest.mark.parametrize("first", ["numpyro", "pyro"])
@pytest.mark.pyro
def test_both_hosts_live_in_one_process_with_the_same_names(first, tmp_path):
    second = {"numpyro": "pyro", "pyro": "numpyro"}[first]
    code = f"""
import mmppl.{first}, mmppl.{second}
import jax.numpy as jnp, torch
from mmppl import Batch
a, b = Batch({{"x": jnp.ones((2, 3))}}), Batch({{"x": torch.ones(2, 3)}})
assert type(a.present["x"]) is type(jnp.ones(1)) and type(b.present["x"]) is torch.Tensor
names = mmppl.pyro.__all__
missing = [n for n in names for host in (mmppl.pyro, mmppl.numpyro) if not hasattr(host, n)]
print(list(mmppl.pyro.__all__) == list(mmppl.numpyro.__all__) and len(names) > 0 and not missing)
"""
    assert run(code, tmp_path) == "True"


@pytest.mark.parametrize("name", ["models", "inference"])
def test_no_bare_top_level_name(name, tmp_path):
    code = f"import importlib.util, mmppl.{name}\nprint(importlib.util.find_spec({name!r}))"
    assert run(code, tmp_path) == "None"
