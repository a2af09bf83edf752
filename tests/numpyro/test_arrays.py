"""Arrays go to JAX without a compilation for each shape, and share no memory with what they came from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmppl.numpyro as mm
from mmppl import Batch, Modality, models
from mmppl._backend.jax_arrays import copied, to_jax
from mmppl.inference import fit

COMPILED: list[float] = []


@pytest.fixture(scope="module", autouse=True)
def listening():
    jax.monitoring.register_event_duration_secs_listener(_note)
    yield
    jax.monitoring.unregister_event_duration_listener(_note)


def _note(name, seconds, **about):
    if name.endswith("backend_compile_duration"):
        COMPILED.append(seconds)


def compiled(call):
    """Number of programs that a call compiles, or reads from a folder."""
    COMPILED.clear()
    call()
    return len(COMPILED)


def aligned(number):
    """Memory as JAX on CPU likes to take over."""
    memory = np.zeros(4 * number + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + 4 * number].view(np.float32)


@pytest.mark.parametrize("number", [1, 173, 40_009])
def test_an_array_of_numpy_is_copied_and_nothing_is_compiled(number):
    x, kept = aligned(number), []
    assert compiled(lambda: kept.append(to_jax(x))) == 0
    x[:] = 1.0
    assert not np.asarray(kept[0]).any()
    assert compiled(lambda: to_jax(np.zeros((number, 3)), np.float16)) == 0
    assert compiled(lambda: jnp.asarray(np.zeros((number, 3)))) == 1, "where JAX itself compiles nothing, to_jax may go"


@pytest.mark.parametrize("x", [np.arange(3), np.ones(2), np.ones(2, np.float16), np.array([True]), 3.0, 2, [1.0, 2.0]])
@pytest.mark.parametrize("dtype", [None, float, np.float16])
def test_an_array_is_that_of_jnp(x, dtype):
    ours, theirs = to_jax(x, dtype), jnp.asarray(x, dtype)
    assert (ours.dtype, ours.weak_type, ours.shape) == (theirs.dtype, theirs.weak_type, theirs.shape)
    np.testing.assert_array_equal(ours, theirs)
    # The same within a function that is compiled, of a constant and of what is given.
    np.testing.assert_array_equal(jax.jit(lambda y: to_jax(x, dtype) + to_jax(y, dtype))(x), theirs + theirs)


def test_copies_outlive_what_they_are_of():
    tree = {"a": jnp.arange(3.0), "b": jax.random.key_data(jax.random.key(1))}
    copies = copied(tree)
    jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)(tree)
    assert tree["a"].is_deleted()
    np.testing.assert_array_equal(copies["a"], [0, 1, 2])


def test_a_fit_compiles_as_many_programs_of_many_networks_as_of_few():
    def program(sizes):
        names = {f"m{i}": Modality((size,)) for i, size in enumerate(sizes)}
        values = {n: np.random.default_rng(0).normal(size=(21, *m.shape)).astype(np.float32) for n, m in names.items()}
        own = models.mvae(names, ppl=mm, latent_dim=3, hidden=len(sizes) + 17)
        return lambda: fit(own, Batch(values), epochs=1, batch_size=7, progress=False)

    program([2, 3])()  # what is the same for all programs
    few, many = compiled(program([11, 13])), compiled(program([19, 23, 29, 31, 37]))
    assert many <= few + 1 < 20
