"""Decoders tuned on what the score draws: a last stage of the systems with two stages."""

import numpy as np
import pytest

from mmppl.batch import Batch, Modality
from mmppl.errors import OptionError
from mmppl.inference import fit

MODALITIES = {name: Modality((1,), likelihood="normal", scale=0.3) for name in "ab"}
CORRELATION = 0.8
SETTINGS = {"batch_size": 128, "learning_rate": 5e-3, "progress": False}


def data(rows=1024):
    x = np.random.default_rng(0).multivariate_normal([0, 0], [[1, CORRELATION], [CORRELATION, 1]], rows)
    return Batch({name: x[:, i : i + 1].astype("float32") for i, name in enumerate("ab")})


def test_decoders_regress_on_latents_that_were_drawn(small, ppl):
    r"""A decoder sees its modality's own code c 3 times of 4, else a draw d given the other modality.

    Patterns of what is given are ab, a, b and none (then both), of equal probability. So the best reconstruction of x
    is its regression on three times as many codes as draws.
    """
    options = {"latent_dim": 1, "hidden": 32, "autoencoder": "ae", "width": 32, "steps": 10}
    train = data()
    fitted = fit(small("mld", MODALITIES, **options, share=0.3, finetune=0.3), train, epochs=100, ema=0.98, **SETTINGS)
    assert [r["stage"] for r in fitted.history][::49] == ["autoencoders", "prior", "decoders"]

    def latents(batch):
        z = ppl.host.latents(fitted.model, fitted.guide, batch, 1, 0, np.zeros(len(train), bool))
        return z, np.asarray(z["z"])[0]

    z, code = latents(train)
    again = ppl.host.decode(fitted.model, z, train, 0, True)
    for i, (name, x) in enumerate(train.values.items()):
        own, (_, drawn) = code[:, i], latents(train.select("ba"[i]))
        drawn, x = drawn[:, i], x[:, 0]
        curve = np.polyfit(np.concatenate([own, own, own, drawn]), np.tile(x, 4), 3)
        best = np.mean(x * np.polyval(curve, own)) / np.mean(x**2)
        assert best < 0.93  # a decoder that is not tuned gives 0.97
        assert np.mean(x * again[name][0, :, 0]) / np.mean(x**2) == pytest.approx(best, abs=0.03)


@pytest.mark.parametrize(("name", "options"), [("mld", {}), ("sbm", {"solver": "dpm"}), ("mt_diffusion", {})])
def test_decoders_alone_move(small, name, options):
    """Also where the first modality is a text, and where modalities are missing."""
    words = np.random.default_rng(1).integers(0, 3, (256, 2))
    train = Batch({"word": words, **data(256).values}, {"a": np.arange(256) % 3 > 0})
    modalities = {"word": Modality((2,), kind="tokens", vocabulary=3), **MODALITIES}
    few, many = (
        fit(small(name, modalities, **options, share=2 / n, finetune=(n - 6) / n), train, epochs=n, **SETTINGS).weights
        for n in (8, 10)
    )
    moved = {key for key in few if not np.array_equal(few[key], many[key])}
    assert moved
    assert all("decoder" in key for key in moved), moved


def test_what_cannot_be_tuned_is_told(small):
    with pytest.raises(OptionError, match=r"share \+ finetune < 1; got 0.8 and share 0.2"):
        small("mld", MODALITIES, finetune=0.8)
    coders = {name: (lambda x: x, lambda z: z) for name in MODALITIES}
    with pytest.raises(OptionError, match="finetune 0 where no autoencoder is learned"):
        small("mld", MODALITIES, coders=coders, latent_dim=1, finetune=0.1)
