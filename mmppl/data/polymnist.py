"""PolyMNIST: read from its published folders, or built from MNIST and a folder of photographs."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.checks import at_least, checked
from mmppl.data.composites import cut_into, pair_instances
from mmppl.data.dataset import Dataset, laplace, split_rows
from mmppl.data.npz import read_arrays
from mmppl.data.pictures import PHOTOGRAPHS, count, read_picture, read_pictures
from mmppl.errors import DataError

__all__ = ["polymnist"]

MNIST, BACKGROUNDS = "mnist.npz", "backgrounds"
CHUNK = 2048


@checked(num_train=at_least(1), num_test=at_least(1))
def polymnist(
    *, root: str | os.PathLike, seed: int = 0, num_train: int | None = None, num_test: int | None = None
) -> Dataset:
    """PolyMNIST: modalities ``m0``, ``m1``, ... that show different handwritten instances of one digit on photographs.

    Two layouts of ``root`` are known. *Published*: ``train/m0/<index>.<digit>.png`` and so on, and ``test/`` alike, or
    ``m0/`` directly in ``root`` (then split by ``seed``, four fifths for training); files are paired by sorted name.
    *Sources*: ``mnist.npz`` (``x_train``, ``y_train``, ``x_test``, ``y_test``) and ``backgrounds/``, a folder of
    photographs, one modality for each in the order of their names; the set is then built by PolyMNIST's recipe. Digits
    brighter than 128 of 255 are cut into uniformly placed crops, and every instance is used once per modality.

    A tuple of five 3 x 28 x 28 pictures takes 47 kB (float32), 60,000 of them 2.8 GB: ``num_train`` and ``num_test``
    limit what is read. Tuples are shuffled.

    Arguments:
        root: Folder of the data.
        seed: Seed of the pairing, the crops, the order, and the split where there is none.
        num_train: Training tuples wanted; all by default.
        num_test: Test tuples wanted; all by default.

    Raises:
        DataError: If ``root`` holds neither layout, folders are misaligned, or a file cannot be read.
        OptionError: If ``num_train`` or ``num_test`` is not positive, or more than there is.

    References:
        Sutter, Daunhawer and Vogt, "Generalized Multimodal ELBO" (2021), section 5.2.
    """
    root = Path(root)
    rng = np.random.default_rng(seed)
    wanted = {"train": num_train, "test": num_test}
    if (root / "train" / "m0").is_dir():
        parts = {split: _read_pairs(_aligned(root / split), num, rng) for split, num in wanted.items()}
    elif (root / "m0").is_dir():
        pairs = _aligned(root)
        rows = dict(zip(wanted, split_rows(len(pairs["m0"]), seed), strict=True))
        parts = {
            split: _read_pairs({name: [files[i] for i in rows[split]] for name, files in pairs.items()}, num, rng)
            for split, num in wanted.items()
        }
    elif (root / MNIST).is_file() and (root / BACKGROUNDS).is_dir():
        parts = _build(root, wanted, rng)
    else:
        raise DataError(
            f"Expected train/m0 and test/m0, or m0, or {MNIST} and {BACKGROUNDS}/ in {root}; got none of them."
        )
    modalities = {name: Modality(value.shape[1:], kind="image") for name, value in parts["train"].values.items()}
    return Dataset("polymnist", modalities, parts["train"], parts["test"], published=laplace(modalities))


def _aligned(folder: Path) -> dict[str, list[Path]]:
    """The sorted files of each modality's folder, the same names in all of them."""
    folders = sorted(
        (f for f in folder.glob("m*") if f.is_dir() and f.name[1:].isdigit()), key=lambda f: int(f.name[1:])
    )
    if not folders:
        raise DataError(f"Expected folders m0, m1, ... in {folder}; got none.")
    pairs = {f.name: sorted(f.glob("*.png")) for f in folders}
    first = [file.name for file in pairs["m0"]] if "m0" in pairs else []
    if not first:
        raise DataError(f"Expected files <index>.<digit>.png in {folder / 'm0'}; got none.")
    for name, files in pairs.items():
        other = set(first) ^ {file.name for file in files}
        if other:
            raise DataError(
                f"Folder {folder / name} is misaligned with m0: '{min(other)}' stands in one of them only. "
                "Every folder needs the same file names."
            )
    return pairs


def _read_pairs(pairs: dict[str, list[Path]], num: int | None, rng: np.random.Generator) -> Batch:
    files = next(iter(pairs.values()))
    rows = rng.permutation(len(files))[: count(num, len(files))]
    label = np.array([_digit(files[i]) for i in rows])
    return Batch({name: read_pictures([paths[i] for i in rows]) for name, paths in pairs.items()}, label=label)


def _digit(file: Path) -> int:
    parts = file.name.split(".")
    if len(parts) != 3 or not parts[1].isdecimal():
        raise DataError(f"Expected a file name <index>.<digit>.png; got {file}.")
    return int(parts[1])


def _build(root: Path, wanted: dict[str, int | None], rng: np.random.Generator) -> dict[str, Batch]:
    arrays = read_arrays(root / MNIST)
    missing = [key for split in wanted for key in (f"x_{split}", f"y_{split}") if key not in arrays]
    if missing:
        raise DataError(f"Expected x_train, y_train, x_test and y_test in {root / MNIST}; got no {missing[0]}.")
    files = sorted(f for f in (root / BACKGROUNDS).iterdir() if f.suffix.lower() in PHOTOGRAPHS)
    if not files:
        raise DataError(f"Expected photographs ({', '.join(PHOTOGRAPHS)}) in {root / BACKGROUNDS}; got none.")
    parts = {}
    for split, num in wanted.items():
        digits, labels = arrays[f"x_{split}"], arrays[f"y_{split}"].astype(np.int64)
        if digits.ndim != 3 or digits.dtype != np.uint8 or labels.shape != digits.shape[:1]:
            raise DataError(
                f"Expected x_{split} (N, H, W) uint8 and y_{split} (N,) in {root / MNIST}; "
                f"got {digits.dtype} {digits.shape} and {labels.shape}."
            )
        classes, counts = np.unique(labels, return_counts=True)
        tuples = dict(zip(classes.tolist(), counts.tolist(), strict=True))
        rows, label = pair_instances(labels, tuples, len(files), rng)
        num = count(num, len(label))
        values = {f"m{i}": _cells(file, digits, rows[:num, i], rng) for i, file in enumerate(files)}
        parts[split] = Batch(values, label=label[:num])
    return parts


def _cells(file: Path, digits: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    photograph = read_picture(file).transpose(1, 2, 0)
    size = digits.shape[1:]
    room = np.array(photograph.shape[:2]) - size + 1
    if room.min() < 1:
        raise DataError(f"Expected a photograph of at least {size[0]} x {size[1]}; got {photograph.shape[:2]}: {file}.")
    offsets = rng.integers(room, size=(len(rows), 2))
    out = np.empty((len(rows), 3, *size), np.float32)
    for part in _chunks(len(rows)):
        out[part] = cut_into(photograph, digits[rows[part]] > 128, offsets[part])
    return out


def _chunks(num: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, num, CHUNK))
