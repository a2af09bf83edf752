"""Draws are a tree of JAX: its functions map over the arrays, in the order in which a dictionary's keys stand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmppl.numpyro  # noqa: F401
from mmppl import Modality
from mmppl.inference import Draws


@pytest.fixture
def draws():
    """Draws of two modalities from a prior."""
    rng = np.random.default_rng(0)
    modalities = {"b": Modality((2,)), "a": Modality((3,))}
    values = {name: rng.normal(size=(5, *m.shape)).astype(np.float32) for name, m in modalities.items()}
    return Draws(values, modalities, given=False)


def test_a_map_over_draws_gives_draws(draws):
    doubled = jax.tree.map(lambda x: 2 * x, draws)
    assert isinstance(doubled, Draws)
    assert doubled.modalities == draws.modalities
    assert not doubled.given
    for name in ("a", "b"):
        np.testing.assert_array_equal(doubled[name], 2 * draws[name])
    summed = jax.tree.map(lambda x, y: x + y, draws, doubled)
    np.testing.assert_allclose(summed["a"], 3 * draws["a"], rtol=1e-6)
    doubled.show()


def test_leaves_stand_as_those_of_a_dictionary(draws):
    assert list(draws) == ["b", "a"]
    flat, _ = jax.tree_util.tree_flatten_with_path(draws)
    plain, _ = jax.tree_util.tree_flatten_with_path(dict(draws))
    assert [path for path, _ in flat] == [path for path, _ in plain]
    assert all(x is y for (_, x), (_, y) in zip(flat, plain, strict=True))


def test_draws_go_through_a_compiled_function(draws):
    means = jax.jit(lambda d: jax.tree.map(lambda x: jnp.mean(x, 0), d))(draws)
    np.testing.assert_allclose(means["b"], draws["b"].mean(0), rtol=1e-5)
