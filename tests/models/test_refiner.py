"""Draws of data given what a decoder made of them."""

import numpy as np
import pytest

from mmppl import models
from mmppl.batch import Batch, Modality
from mmppl.data import load
from mmppl.errors import DataError, ModalityError
from mmppl.inference import fit, generate
from mmppl.models import coarse_pairs, refiner

LINEAR = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=64, num_test=10)


@pytest.mark.pyro
def test_what_is_drawn_has_the_conditional_mean_and_spread():
    """Of pairs that are normal, the fine ones correlated with the coarse: a wrong condition would show in both."""
    import mmppl.pyro as mm

    rng = np.random.default_rng(0)
    coarse = rng.standard_normal((4000, 2)).astype(np.float32)
    fine = (coarse @ np.array([[0.8, 0.0], [0.6, 0.5]]) + 0.5 * rng.standard_normal((4000, 2)) + 1.0).astype(np.float32)
    program = refiner(Modality((2,)), ppl=mm, width=32, depth=2, steps=20)
    fitted = fit(program, Batch({"coarse": coarse, "fine": fine}), epochs=40, learning_rate=3e-3, progress=False)
    given = np.array([[1.0, 0.0], [0.0, 1.5], [-1.0, 1.0]], np.float32)
    drawn = generate(fitted, Batch({"coarse": given}), 3000, want=["fine"])["fine"]
    np.testing.assert_allclose(drawn.mean(0), given @ np.array([[0.8, 0.0], [0.6, 0.5]]) + 1.0, atol=0.12)
    np.testing.assert_allclose(drawn.std(0), 0.5, atol=0.08)


@pytest.mark.pyro
def test_a_narrow_network_draws_what_lies_among_the_data():
    """On a line in 20 dimensions, half of which the condition picks; of the velocity a fifth would lie off the line."""
    import mmppl.pyro as mm

    rng = np.random.default_rng(1)
    line, place = rng.standard_normal(20), 1.0 + 0.3 * rng.standard_normal((2000, 1))
    sign = rng.choice([-1.0, 1.0], (2000, 1))
    pairs = {"coarse": sign * np.ones(20), "fine": sign * place * line}
    fitted = fit(
        refiner(Modality((20,)), ppl=mm, width=24, depth=2, steps=20),
        Batch({name: x.astype(np.float32) for name, x in pairs.items()}),
        epochs=100,
        learning_rate=3e-3,
        progress=False,
    )
    given = np.array([[1.0], [-1.0]], np.float32) * np.ones(20, np.float32)
    drawn = generate(fitted, Batch({"coarse": given}), 500, want=["fine"])["fine"]
    along = drawn @ line / (line @ line)
    off = drawn - along[..., None] * line
    assert (off**2).sum(-1).mean() < 0.03 * (line @ line)
    np.testing.assert_allclose(along.mean(0), [1.0, -1.0], atol=0.1)
    np.testing.assert_allclose(along.std(0), 0.3, atol=0.08)


def test_pairs_are_what_the_decoder_makes_of_data(ppl):
    """Row by row, as much of it at once as is wanted; rows without the modality are left out."""
    program = models.make("mvtcae", LINEAR.modalities, ppl=ppl, latent_dim=2, hidden=8)
    fitted = fit(program, LINEAR.train, epochs=1, batch_size=64, learning_rate=1e-30, progress=False)
    batch = Batch(LINEAR.test.values, {"b": np.arange(10) != 4})
    pairs = coarse_pairs(fitted, "b", batch)
    np.testing.assert_array_equal(pairs["fine"], np.delete(LINEAR.test["b"], 4, 0))
    host = ppl.host
    rows = batch[np.delete(np.arange(10), 4)]
    hidden = host.latents(fitted.model, fitted.guide, rows, 1, 0, np.zeros(9, bool))
    np.testing.assert_array_equal(pairs["coarse"], host.decode(fitted.model, hidden, rows, 5, True)["b"][0])
    assert np.abs(pairs["coarse"] - pairs["fine"]).min() > 0
    assert coarse_pairs(fitted, "b", batch, chunk=4)["coarse"].shape == (9, 2)


def test_refiner_refuses(ppl):
    program = models.make("mvtcae", LINEAR.modalities, ppl=ppl, latent_dim=2, hidden=8)
    fitted = fit(program, LINEAR.train, epochs=1, batch_size=64, learning_rate=1e-30, progress=False)
    with pytest.raises(ModalityError, match=r"Expected a modality among \['a', 'b'\]; got 'c'"):
        coarse_pairs(fitted, "c", LINEAR.test)
    with pytest.raises(DataError, match="Expected rows with 'a'; got none"):
        coarse_pairs(fitted, "a", LINEAR.test.without("a"))
    with pytest.raises(ModalityError, match="got kind 'tokens'"):
        refiner(Modality((3,), kind="tokens", vocabulary=5), ppl=ppl)
