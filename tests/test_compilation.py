"""The folder of what JAX has compiled: JAX's own settings, and a second process that compiles nothing."""

import os
import subprocess
import sys

import pytest

import mmppl
from mmppl.cli import main
from mmppl.errors import OptionError

SAID = ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
TWICE = """
import sys, mmppl
early = sys.argv[1] == "early"
if early:
    mmppl.cache_compilation(sys.argv[2])
import jax
import jax.numpy as jnp
if not early:
    mmppl.cache_compilation(sys.argv[2])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
found = []
jax.monitoring.register_event_listener(lambda name, **about: found.append(name))
jax.jit(lambda x: jnp.sin(x) + 1)(jnp.ones(3))
print(jax.config.jax_compilation_cache_dir, "/jax/compilation_cache/cache_hits" in found)
"""


@pytest.fixture
def unset(monkeypatch):
    """A process without a folder of compiled programs, whose settings come back."""
    jax = sys.modules.pop("jax", None)
    for name in SAID:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    yield monkeypatch
    os.environ.clear()
    os.environ.update(before)
    if jax:
        sys.modules["jax"] = jax


@pytest.mark.parametrize("when", ["early", "late"])
def test_the_next_process_compiles_nothing(when, tmp_path):
    env = {name: value for name, value in os.environ.items() if name not in SAID}
    out = [
        subprocess.run(
            [sys.executable, "-c", TWICE, when, str(tmp_path / "kept")], env=env, capture_output=True, text=True
        )
        for _ in range(2)
    ]
    kept = str(tmp_path / "kept")
    assert [run.stdout.split() for run in out] == [[kept, "False"], [kept, "True"]], out


def test_the_folder_is_the_users_of_caches(unset, tmp_path):
    unset.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert mmppl.cache_compilation() == tmp_path / "mmppl" / "jax"
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "mmppl" / "jax")
    assert float(os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"]) == 2**30


def test_a_folder_that_jax_knows_stays(unset, tmp_path):
    unset.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "own"))
    assert mmppl.cache_compilation() == tmp_path / "own"
    assert not (tmp_path / "own").exists()
    assert mmppl.cache_compilation(tmp_path / "named") == tmp_path / "named"


def test_the_command_line_keeps_what_it_compiles_where_it_can(unset, tmp_path, capsys):
    """As a process of its own, that is with the words of the process; called with words it leaves JAX alone."""
    unset.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["data"]) == 0
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
    unset.setattr(sys, "argv", ["mmppl", "data"])
    assert main() == 0
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "mmppl" / "jax")
    assert "polydigits" in capsys.readouterr().out


def test_the_command_line_goes_on_where_nothing_can_be_kept(unset, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    unset.setattr(sys, "argv", ["mmppl", "data"])
    nobody = f"~{'x' * 40}"  # no user, as there is none in a container that runs under a number
    unset.setattr("mmppl.compilation.HOME", nobody)
    with pytest.raises(OptionError, match="for compiled programs; got ~x"):
        mmppl.cache_compilation()
    assert main() == 0
    unset.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert main() == 0
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
    assert capsys.readouterr().err == ""


def test_a_folder_that_cannot_be_made_is_refused(unset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="folder that can be made for compiled programs"):
        mmppl.cache_compilation(tmp_path / "file" / "inside")
