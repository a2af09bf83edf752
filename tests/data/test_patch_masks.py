"""Masks of squares, images masked by them, and labels as a modality."""

import numpy as np
import pytest

from mmppl.batch import Batch, Modality
from mmppl.data import Dataset, patch_masks, restored, with_labels, with_masks
from mmppl.errors import DataError, ModalityError, OptionError


def pictures(rows=6):
    rng = np.random.default_rng(0)
    batch = Batch(
        {"image": rng.random((rows, 2, 6, 8)).astype("float32"), "v": np.ones((rows, 1), "float32")},
        {"image": np.arange(rows) > 0},
        label=np.arange(rows) % 3,
    )
    modalities = {"image": Modality((2, 6, 8), kind="image"), "v": Modality((1,))}
    return Dataset("pictures", modalities, batch, batch[:3])


def test_the_law_and_the_places_of_squares():
    masks = patch_masks(6000, 5, 6, size=2, law=[1, 2, 0, 1], seed=3)
    hidden = (~masks).sum((1, 2, 3))
    assert (hidden == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert (hidden == 4).mean() == pytest.approx(0.5 + 0.25 / 20**2, abs=0.02)
    one = ~masks[hidden == 4][:, 0]
    assert one.mean(0)[0, 0] == pytest.approx(1 / 20, abs=0.012)
    assert one.mean(0)[1, 1] == pytest.approx(4 / 20, abs=0.02)
    assert np.array_equal(masks, patch_masks(6000, 5, 6, size=2, law=[1, 2, 0, 1], seed=3))


def test_masked_copies_stand_beside_the_data():
    data = with_masks(pictures(), "image", size=3, law=[0, 1], fill=0.5, mask=True)
    # The first row has no image.
    image, copy, mask = (data.train[name][1:] for name in ("image", "image_masked", "image_mask"))
    assert mask.shape == (5, 1, 6, 8)
    assert ((mask == 0).sum((1, 2, 3)) == 9).all()
    seen = np.broadcast_to(mask == 1, image.shape)
    assert np.array_equal(copy[seen], image[seen])
    assert (copy[~seen] == 0.5).all()
    assert data.train.present["image_masked"].tolist() == data.train.present["image"].tolist()
    data.train.validate(data.modalities)
    assert data.test.modalities == ("image", "v", "image_masked", "image_mask")


def test_what_is_visible_comes_back_bit_for_bit():
    data = with_masks(pictures(), "image", size=3, law=[0, 0, 1], mask=True)
    image, visible = data.train["image"], data.train["image_mask"] == 1
    draws = np.full((4, *image.shape), np.float32(0.25))
    out = restored(draws, np.where(visible, image, np.nan), visible)
    wide = np.broadcast_to(visible, out.shape)
    assert np.array_equal(out[wide], np.broadcast_to(image, out.shape)[wide])
    assert (out[~wide] == 0.25).all()


def test_labels_are_a_modality():
    data = with_labels(pictures(), "digit")
    assert data.modalities["digit"] == Modality((), kind="category", categories=3)
    assert data.train["digit"].tolist() == [0, 1, 2, 0, 1, 2]
    assert data.train.present["image"].tolist() == [False] + [True] * 5


def test_what_cannot_be_masked_is_said():
    with pytest.raises(OptionError, match="cannot hide all of 4 x 4 pixels; got up to 4 of 2 x 2"):
        patch_masks(3, 4, 4, size=2, law=[1, 1, 1, 1, 1])
    assert patch_masks(3, 4, 4, size=4, law=[0, 1], visible=False).sum() == 0
    with pytest.raises(OptionError, match="squares of at most 4 pixels a side; got size=5"):
        patch_masks(3, 4, 6, size=5, law=[1])
    with pytest.raises(OptionError, match=r"Expected law to be weights >= 0"):
        patch_masks(3, 4, 6, size=2, law=[0.0, -1.0])
    with pytest.raises(OptionError, match="Expected law to be weights >= 0 .* got 'uniform'"):
        patch_masks(3, 4, 6, size=2, law="uniform")
    with pytest.raises(ModalityError, match=r"Expected an image among .* got 'v'"):
        with_masks(pictures(), "v", size=2, law=[1])
    with pytest.raises(ModalityError, match="a name that is not among"):
        with_labels(pictures(), "v")
    rows = pictures()
    bare = Dataset("bare", rows.modalities, rows.train.with_label(None), rows.test)
    with pytest.raises(DataError, match="labels that are whole numbers"):
        with_labels(bare)
    with pytest.raises(DataError, match=r"Expected draws \(\*, N, C, H, W\)"):
        restored(np.zeros((2, 3, 1, 4, 4)), np.zeros((3, 1, 4, 4)), np.ones((3, 1, 4, 5), bool))
