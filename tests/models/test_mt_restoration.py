"""Restoring masked images: one of nine round blobs, squares of which are hidden, by a network that sees the rest."""

import numpy as np
import pytest

from mmppl.batch import Batch, Modality
from mmppl.data import patch_masks
from mmppl.inference import fit, generate

ROWS, TESTED = 1024, 90
Y, X = np.mgrid[:8, :8]
BLOBS = np.stack([np.exp(-((Y - i) ** 2 + (X - j) ** 2) / 2.9) for i in (1.5, 3.5, 5.5) for j in (1.5, 3.5, 5.5)])


def pictures(number, seed):
    """Images ``(number, 1, 8, 8)``, and which blob each has."""
    which = np.random.default_rng(seed).integers(9, size=number)
    return BLOBS[which, None].astype("float32"), which


def nearest(drawn):
    """The blob that is nearest to each image ``(*, 1, 8, 8)``, and its root mean square error."""
    error = ((drawn - BLOBS) ** 2).mean((-2, -1))
    return error.argmin(-1), np.sqrt(error.min(-1))


@pytest.mark.parametrize("ppl", ["pyro"], indirect=True)
def test_what_is_visible_comes_back_and_what_is_hidden_is_drawn(small):
    image, _ = pictures(ROWS, 0)
    visible = patch_masks(ROWS, 8, 8, size=4, law=[1, 1, 1, 1], seed=0)
    visible[: ROWS // 8] = False
    rows = Batch({"image": image, "masked": np.where(visible, image, np.float32(0.0))})
    modalities = {name: Modality((1, 8, 8), kind="image") for name in rows.values}
    how = {"space": "data", "net": "unet", "width": 64, "solver": "flow", "steps": 20, "ema": 0.98}
    program = small("mt_diffusion", modalities, p_conditional=1.0, p_marginal=0.0, head_weight=0.02, **how)
    fitted = fit(program, rows, epochs=16, batch_size=64, learning_rate=5e-3, progress=False)

    # One square is hidden.
    test, which = pictures(TESTED, 1)
    visible = np.broadcast_to(patch_masks(TESTED, 8, 8, size=4, law=[0, 1], seed=2), test.shape)
    drawn = generate(fitted, {"masked": np.where(visible, test, np.float32(0.0))}, num=4, want=["image"])["image"]
    share = (test * visible).sum((1, 2, 3)) / test.sum((1, 2, 3))
    assert ((drawn - test) ** 2)[:, visible].mean() < 0.02 < 0.4 * test.var()
    assert (nearest(drawn)[0] == which)[:, share > 0.3].mean() > 0.95
    # Nothing is visible: every blob is drawn. A blank picture is 0.27 from the nearest, and the mean of all 0.18.
    kinds, error = nearest(generate(fitted, {"masked": np.zeros_like(test)}, want=["image"])["image"][0])
    assert (np.bincount(kinds, minlength=9) > 0).all()
    assert error.mean() < 0.13
