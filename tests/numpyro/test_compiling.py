"""How much effort the compiler is asked for, and that a bar says it is waited for."""

import jax
import jax.numpy as jnp
import pytest

from mmppl.numpyro import compiling

LEVEL = "xla_backend_optimization_level"


@pytest.mark.parametrize(
    ("make", "flags", "asked"),
    [
        (compiling.compiled, "", {LEVEL: 1}),
        (compiling.compiled_once, "--xla_dump_to=x", {LEVEL: 0}),
        (compiling.compiled, f"--{LEVEL}=3", None),  # who has said a level himself has it
    ],
)
def test_a_level_that_the_user_has_said_stays(monkeypatch, make, flags, asked):
    seen = []

    def jit(fn, compiler_options):
        seen.append(compiler_options)
        return fn

    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr(compiling.eqx, "filter_jit", jit)
    assert make(lambda x: x + 1)(1) == 2
    assert seen == ([asked] if jax.default_backend() == "cpu" else [None])


def test_within_another_function_no_level_is_asked(monkeypatch):
    """JAX takes options of what is compiled as a whole alone."""
    monkeypatch.setenv("XLA_FLAGS", "")
    inner = compiling.compiled(lambda x: x + 1)
    assert float(jax.jit(lambda x: inner(x) * 2)(jnp.ones(()))) == 4.0
    assert float(inner(jnp.ones(()))) == 2.0
