"""Folders of pictures with captions beside them: what is read, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from mmppl.data import from_images
from mmppl.errors import DataError, OptionError

TEXTS = ["A red bird.", "A blue bird.", "the red one"]


@pytest.fixture
def folder(tmp_path):
    for place, (kind, number) in enumerate((("finch", 0), ("finch", 1), ("tern", 0), ("tern", 1))):
        (tmp_path / kind).mkdir(exist_ok=True)
        pixels = np.full((4, 6, 3), (60 * place, 0, 255), np.uint8)
        Image.fromarray(pixels).save(tmp_path / kind / f"{number}.png")
        if place < len(TEXTS):
            (tmp_path / kind / f"{number}.txt").write_text(f"{TEXTS[place]}\n")
    return tmp_path


def test_pictures_captions_and_labels(folder):
    data = from_images(folder, length=5, occurs=2)
    assert {n: (m.kind, m.shape) for n, m in data.modalities.items()} == {
        "image": ("image", (3, 4, 6)),
        "caption": ("tokens", (5,)),
    }
    np.testing.assert_allclose(data.rows["image"][:, 0, 0, 0], np.arange(4) * 60 / 255, rtol=1e-6)
    assert data.rows.label.tolist() == ["finch", "finch", "tern", "tern"]
    assert data.rows.present["caption"].tolist() == [True, True, True, False]
    assert data.vocabulary.words[3:] == (".", "a", "bird", "red")
    assert data.vocabulary.decode(data.rows["caption"][:3]) == ["a red bird .", "a <exc> bird .", "<exc> red <exc>"]
    assert (len(data.train), len(data.test)) == (3, 1)
    squares = from_images(folder, {"tern/1.png": "a tern"}, side=2, occurs=1)
    assert squares.rows["image"].shape == (4, 3, 2, 2)
    assert squares.rows.present["caption"].tolist() == [False, False, False, True]
    for file in folder.rglob("*.txt"):
        file.unlink()
    assert list(from_images(folder).modalities) == ["image"]


def test_folders_that_do_not_fit(folder, tmp_path):
    wrong = [
        (DataError, "Expected pictures .*; got none", lambda: from_images(folder / "none")),
        (
            DataError,
            "Expected captions of pictures in .*; got one of 'x.png'",
            lambda: from_images(folder, {"x.png": "a"}),
        ),
        (DataError, "caption of 'tern/0.png'; got 3", lambda: from_images(folder, {"tern/0.png": 3})),
        (DataError, "caption of 'tern/0.png'; got ' '", lambda: from_images(folder, {"tern/0.png": " "})),
        (DataError, "Expected captions, .*; got none. Leave them out", lambda: from_images(folder, {})),
        (OptionError, "side", lambda: from_images(folder, side=0)),
    ]
    for kind, message, call in wrong:
        with pytest.raises(kind, match=message):
            call()
    Image.new("RGB", (3, 3)).save(folder / "tern" / "2.png")
    with pytest.raises(DataError, match=r"Expected a picture of shape \(3, 4, 6\)"):
        from_images(folder)
    Image.new("RGB", (4, 6)).save(folder / "loose.png")
    with pytest.raises(DataError, match="got both, such as 'loose.png' and 'finch/0.png'"):
        from_images(folder)
    (folder / "tern" / "2.png").write_bytes(b"no picture")
    (folder / "loose.png").unlink()
    with pytest.raises(DataError, match="Cannot read the picture"):
        from_images(folder, side=4)
    (folder / "tern" / "2.png").unlink()
    (folder / "tern" / "1.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match="1.txt, which cannot be read"):
        from_images(folder)
