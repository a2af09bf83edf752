"""CUB: photographs of birds and captions; test birds are of classes never seen."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.checks import at_least, checked
from mmppl.data.captions import Vocabulary
from mmppl.data.dataset import Dataset, laplace
from mmppl.data.pictures import PHOTOGRAPHS, count, read_pictures
from mmppl.errors import DataError, OptionError

__all__ = ["cub"]

EACH = 10  # captions of a picture


@checked(side=at_least(1), captions=at_least(1), length=at_least(1), num_train=at_least(1), num_test=at_least(1))
def cub(
    *,
    root: str | os.PathLike,
    seed: int = 0,
    side: int = 64,
    captions: int = 1,
    length: int = 32,
    num_train: int | None = None,
    num_test: int | None = None,
) -> Dataset:
    """CUB image-captions: ``image`` (3, side, side) and ``sentence`` (length,), with the class of the bird as label.

    Two layouts of ``root`` are known. *Of the multi-modal VAEs*: ``train/<class>/<picture>`` and ``test/`` alike, with
    ``text_trainvalclasses.txt`` and ``text_testclasses.txt``, ten lines for each picture in the order of their sorted
    names. *Sources*: ``images/<class>/<name>.jpg`` of CUB-200-2011 and ``text_c10/<class>/<name>.txt``, ten lines each,
    with ``trainvalclasses.txt`` and ``testclasses.txt``, which name the classes of each split.

    Sentences are words in lower case, the vocabulary those that stand three times or more in the training captions
    taken; :attr:`Dataset.vocabulary` turns ids into text. A tuple takes 49 kB at 64 pixels (float32).

    Arguments:
        root: Folder of the data.
        seed: Seed of the order.
        side: Height and width of the pictures, in pixels.
        captions: Of the ten of a picture, how many make a tuple with it, from the first.
        length: Tokens of a sentence, its end among them.
        num_train: Training tuples wanted; all by default.
        num_test: Test tuples wanted; all by default.

    Raises:
        DataError: If ``root`` holds neither layout, pictures and captions do not fit, or a file cannot be read.
        OptionError: If a number is out of range.

    References:
        Wah et al., "The Caltech-UCSD Birds-200-2011 dataset" (2011); Reed et al., "Learning deep representations of
        fine-grained visual descriptions" (2016); Shi et al., "Variational Mixture-of-Experts Autoencoders" (2019).
    """
    if not 1 <= captions <= EACH or length < 2 or side < 1:
        raise OptionError(
            f"Expected captions in [1, {EACH}], length >= 2 and side >= 1; got {captions}, {length} and {side}."
        )
    root = Path(root)
    rng = np.random.default_rng(seed)
    if (root / "train").is_dir():
        pairs = {split: _lined(root, split) for split in ("train", "test")}
    elif (root / "images").is_dir() and (root / "text_c10").is_dir():
        pairs = {split: _named(root, split) for split in ("train", "test")}
    else:
        raise DataError(f"Expected train/ and test/, or images/ and text_c10/, in {root}; got neither.")
    classes = sorted({file.parent.name for part in pairs.values() for file in part})
    rows = {}
    for split, num in (("train", num_train), ("test", num_test)):
        tuples = [(file, text) for file, texts in pairs[split].items() for text in texts[:captions]]
        order = rng.permutation(len(tuples))[: count(num, len(tuples))]
        rows[split] = [tuples[i] for i in order]
    vocabulary = Vocabulary.of(text for _, text in rows["train"])
    parts = []
    for tuples in rows.values():
        files = [file for file, _ in tuples]
        values = {
            "image": read_pictures(files, side),
            "sentence": vocabulary.encode([text for _, text in tuples], length),
        }
        parts.append(Batch(values, label=np.array([classes.index(file.parent.name) for file in files])))
    modalities = {
        "image": Modality((3, side, side), kind="image"),
        "sentence": Modality((length,), kind="tokens", vocabulary=len(vocabulary), padding=0),
    }
    train, test = parts
    return Dataset("cub", modalities, train, test, vocabulary=vocabulary, published=laplace(modalities))


def _pictures(folder: Path, classes: Iterable[str] = ("*",)) -> list[Path]:
    files = (file for name in classes for file in folder.glob(f"{name}/*"))
    return sorted(file for file in files if file.suffix.lower() in PHOTOGRAPHS)


def _lined(root: Path, split: str) -> dict[Path, list[str]]:
    """Captions are lines of one file, ten for each picture."""
    source = root / f"text_{'trainvalclasses' if split == 'train' else 'testclasses'}.txt"
    files, lines = _pictures(root / split), _lines(source)
    if not files or len(lines) != EACH * len(files):
        raise DataError(
            f"Expected {EACH} lines in {source} for each picture in {root / split}; "
            f"got {len(lines)} lines and {len(files)} pictures."
        )
    return {file: lines[EACH * i : EACH * (i + 1)] for i, file in enumerate(files)}


def _named(root: Path, split: str) -> dict[Path, list[str]]:
    """Captions lie beside the pictures, under the same names."""
    classes = _lines(root / f"{'trainvalclasses' if split == 'train' else 'testclasses'}.txt")
    out = {}
    for file in _pictures(root / "images", classes):
        source = root / "text_c10" / file.parent.name / f"{file.stem}.txt"
        out[file] = _lines(source)
        if len(out[file]) != EACH:
            raise DataError(f"Expected {EACH} lines in {source}; got {len(out[file])}.")
    if not out:
        raise DataError(f"Expected pictures of the classes of the {split} split in {root / 'images'}; got none.")
    return out


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Expected a text file; got {file}, which is missing or cannot be read.") from error
