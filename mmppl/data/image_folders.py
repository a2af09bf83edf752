"""Folders of pictures, with captions beside them, as data."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import ANYTHING, above, at_least, checked
from mmppl.data.captions import Vocabulary
from mmppl.data.dataset import Dataset
from mmppl.data.pictures import PHOTOGRAPHS, read_pictures
from mmppl.errors import DataError
from mmppl.modality import Modality

__all__ = ["from_images"]

Captions = Mapping[str, str]


@checked(captions=ANYTHING, side=above(0), length=at_least(2), occurs=at_least(1), seed=at_least(0))
def from_images(
    folder: str | os.PathLike,
    captions: Captions | None = None,
    *,
    side: int | None = None,
    length: int = 32,
    occurs: int = 3,
    name: str = "images",
    seed: int = 0,
) -> Dataset:
    """A data set of the pictures in a folder, ``image`` (3, H, W) in [0, 1], and of their captions, ``caption`` (L,).

    Pictures are files that end in .png, .jpg or .jpeg, in the folder or in folders of it, whose names are then the
    labels. A picture without a caption lacks that modality. ``data.vocabulary.decode(ids)`` makes texts of drawn ones.

    Arguments:
        folder: The folder.
        captions: Texts by the pictures' paths within the folder, such as ``{"birds/1.png": "A blue bird."}``. None for
            those in ``.txt`` files beside the pictures, under the same names, if there are any.
        side: Height and width that pictures are made, in pixels; as they are if None, and then all alike.
        length: Number L of tokens of a caption, its end among them; what is longer is cut.
        occurs: How often a word has to stand in the captions to be known.
        name: Name of the data set.
        seed: Seed of the split into training and test rows.

    Raises:
        DataError: If there are no pictures, or they are of several shapes, cannot be read, or lie both in the folder
            and in folders of it; if a caption is of no picture, no text or without a word.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> where = tempfile.mkdtemp()
        >>> for i in range(4):
        ...     Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(f"{where}/{i}.png")
        >>> data = from_images(where, {"0.png": "a dark red", "3.png": "a light red"}, occurs=2)
        >>> data.rows["image"].shape, data.rows.present["caption"].tolist()
        ((4, 3, 8, 8), [True, False, False, True])
        >>> data.vocabulary.decode(data.rows["caption"][:1])
        ['a <exc> red']
    """
    root = Path(folder)
    files = sorted(file for file in root.rglob("*") if file.suffix.lower() in PHOTOGRAPHS)
    if not files:
        raise DataError(f"Expected pictures ({', '.join(PHOTOGRAPHS)}) in '{root}' or folders of it; got none.")
    keys = [file.relative_to(root).as_posix() for file in files]
    labels = [key.rpartition("/")[0] for key in keys]
    if "" in labels and any(labels):
        raise DataError(
            f"Expected pictures in '{root}', or in folders of it that are their labels; got both, such as "
            f"'{keys[labels.index('')]}' and '{keys[[bool(label) for label in labels].index(True)]}'."
        )
    values: dict[str, np.ndarray] = {"image": read_pictures(files, side)}
    modalities = {"image": Modality(values["image"].shape[1:], kind="image")}
    present = {"image": np.ones(len(files), bool)}
    texts = _beside(files, keys) if captions is None else dict(captions)
    vocabulary = None
    if texts or captions is not None:
        _check(texts, keys, str(root))
        vocabulary = Vocabulary.of(texts.values(), occurs)
        present["caption"] = np.array([key in texts for key in keys])
        values["caption"] = vocabulary.encode([texts.get(key, "") for key in keys], length)
        modalities["caption"] = Modality((length,), kind="tokens", vocabulary=len(vocabulary), padding=0)
    rows = Batch(values, present, label=np.array(labels) if any(labels) else None)
    return replace(Dataset.of_rows(name, modalities, rows, seed), vocabulary=vocabulary)


def _beside(files: list[Path], keys: list[str]) -> dict[str, str]:
    """Texts of the files beside the pictures, under the same names."""
    out = {}
    for file, key in zip(files, keys, strict=True):
        beside = file.with_suffix(".txt")
        if beside.exists():
            try:
                out[key] = beside.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"Expected a text file; got {beside}, which cannot be read.") from error
    return out


def _check(texts: Captions, keys: list[str], root: str) -> None:
    """Refuses captions that are none, or of no picture."""
    if not texts:
        raise DataError("Expected captions, texts by the pictures' paths; got none. Leave them out.")
    known = set(keys)
    for key, text in texts.items():
        if key not in known:
            raise DataError(f"Expected captions of pictures in '{root}', such as '{keys[0]}'; got one of '{key}'.")
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"Expected a text as the caption of '{key}'; got {text!r:.80}. Leave it out.")
