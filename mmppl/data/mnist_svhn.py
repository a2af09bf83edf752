"""MNIST-SVHN: a handwritten digit and a house number of the same class."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.checks import at_least, checked
from mmppl.data.dataset import Dataset, laplace
from mmppl.data.npz import read_arrays
from mmppl.data.pictures import count
from mmppl.errors import DataError, OptionError

__all__ = ["mnist_svhn", "pair_classes"]

SPLITS = ("train", "test")
MNIST, PART = ("mnist.npz", "polymnist/mnist.npz"), "svhn_part.npz"
MOST, SHARE = 10_000, 0.8


@checked(pairings=at_least(1), num_train=at_least(1), num_test=at_least(1))
def mnist_svhn(
    *,
    root: str | os.PathLike,
    seed: int = 0,
    pairings: int = 1,
    num_train: int | None = None,
    num_test: int | None = None,
) -> Dataset:
    """MNIST-SVHN: modalities ``mnist`` (1, 28, 28) and ``svhn`` (3, 32, 32), paired by their class.

    In each class both sets are cut to the smaller number of instances, 10,000 at most, and paired by ``pairings``
    random permutations of each. ``root`` holds ``mnist.npz`` (``x_train``, ``y_train``, ``x_test``, ``y_test``),
    itself or in a folder ``polymnist``, and of SVHN either ``train_32x32.mat`` and ``test_32x32.mat`` as published, or
    ``svhn_part.npz`` (``x``, ``y``, and ``photo``, the number of the photograph). A part is split by photographs, since
    neighbouring digits overlap; the data set is then called ``mnist_svhn_part`` and is no benchmark.

    As published, MNIST's likelihood has weight 3072 / 784, which makes up for its fewer values.

    Arguments:
        root: Folder of the data.
        seed: Seed of the pairing and the order.
        pairings: Pairings of each instance. The papers have 20, 1.1 million pairs in which instances repeat; a pair
            takes 15 kB (float32), so that these take 17 GB.
        num_train: Training pairs wanted; all by default.
        num_test: Test pairs wanted; all by default.

    Raises:
        DataError: If a file is missing or its arrays do not fit, or a class stands in one of the sets only.
        OptionError: If a number is not positive, or more than there is.

    References:
        Shi et al., "Variational Mixture-of-Experts Autoencoders" (2019), section 4.2; Bounoua et al., "Multi-modal
        Latent Diffusion" (2024).
    """
    if pairings < 1:
        raise OptionError(f"Expected at least 1 of pairings; got {pairings}.")
    root = Path(root)
    rng = np.random.default_rng(seed)
    digits = _mnist(root)
    numbers, name = _svhn(root)
    parts = {}
    for split, num in zip(SPLITS, (num_train, num_test), strict=True):
        (x, y), (x_other, y_other) = digits[split], numbers[split]
        rows, label = pair_classes(y, y_other, pairings, rng)
        rows, label = rows[: count(num, len(label))], label[: count(num, len(label))]
        values = {
            "mnist": np.divide(x[rows[:, 0], None], 255, dtype=np.float32),
            "svhn": np.divide(x_other[rows[:, 1]].transpose(0, 3, 1, 2), 255, dtype=np.float32),
        }
        parts[split] = Batch(values, label=label)
    weight = {"mnist": 3072 / 784, "svhn": 1.0}
    modalities = {key: Modality(value.shape[1:], kind="image") for key, value in parts["train"].values.items()}
    published = {key: replace(m, weight=weight[key]) for key, m in laplace(modalities).items()}
    return Dataset(name, modalities, parts["train"], parts["test"], published=published)


def pair_classes(
    first: np.ndarray, second: np.ndarray, pairings: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers ``(T, 2)`` of instances of the same class in two sets, shuffled, and the classes ``(T,)``.

    Raises:
        DataError: If a class stands in one of the sets only.

    Example:
        >>> rows, label = pair_classes(np.array([1, 0, 1]), np.array([0, 1]), 1, np.random.default_rng(0))
        >>> sorted(label.tolist()), rows[label == 0].tolist()
        ([0, 1], [[1, 0]])
    """
    lone = np.setxor1d(first, second)
    if lone.size:
        raise DataError(f"Expected every class in both sets; class {lone[0]} stands in one of them only.")
    rows, classes = [], []
    for label in np.unique(first):
        pools = [np.flatnonzero(labels == label) for labels in (first, second)]
        size = min(*map(len, pools), MOST)
        for _ in range(pairings):
            rows.append(np.stack([rng.permutation(pool[:size]) for pool in pools], axis=1))
            classes.append(np.full(size, label))
    order = rng.permutation(sum(map(len, rows)))
    return np.concatenate(rows)[order], np.concatenate(classes)[order]


def _mnist(root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    file = next((root / name for name in MNIST if (root / name).is_file()), root / MNIST[0])
    arrays = read_arrays(file)
    parts = {split: _checked(arrays, f"x_{split}", f"y_{split}", 3, file) for split in SPLITS}
    return parts


def _svhn(root: Path) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], str]:
    files = {split: root / f"{split}_32x32.mat" for split in SPLITS}
    if all(file.is_file() for file in files.values()):
        return {split: _published(file) for split, file in files.items()}, "mnist_svhn"
    part = root / PART
    if not part.is_file():
        raise DataError(f"Expected train_32x32.mat and test_32x32.mat, or {PART}, in {root}; got neither.")
    arrays = read_arrays(part)
    x, y = _checked(arrays, "x", "y", 4, part)
    photo = arrays.get("photo")
    if photo is None or photo.shape != y.shape:
        raise DataError(f"Expected 'photo', the number of each digit's photograph, in {part}, to split it by.")
    train = photo <= np.quantile(photo, SHARE, method="inverted_cdf")
    return {"train": (x[train], y[train]), "test": (x[~train], y[~train])}, "mnist_svhn_part"


def _published(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """``X`` is (32, 32, 3, N), ``y`` (N, 1), where 10 stands for 0."""
    # Here: it changes warning filters.
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        arrays = loadmat(file)
    except (OSError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise DataError(f"Expected a MATLAB file of SVHN; got {file}, which cannot be read.") from error
    if "X" not in arrays or "y" not in arrays or np.ndim(arrays["X"]) != 4:
        raise DataError(f"Expected X (32, 32, 3, N) and y (N, 1) in {file}; got {sorted(arrays)}.")
    plain = {"x": arrays["X"].transpose(3, 0, 1, 2), "y": arrays["y"].ravel() % 10}
    return _checked(plain, "x", "y", 4, file)


def _checked(arrays: dict[str, np.ndarray], x: str, y: str, rank: int, file: Path) -> tuple[np.ndarray, np.ndarray]:
    missing = [key for key in (x, y) if key not in arrays]
    if missing:
        raise DataError(f"Expected {x} and {y} in {file}; got no {missing[0]}.")
    pictures, labels = arrays[x], arrays[y].astype(np.int64)
    if pictures.ndim != rank or pictures.dtype != np.uint8 or labels.shape != pictures.shape[:1]:
        raise DataError(
            f"Expected {x} of rank {rank}, uint8, and {y} (N,) in {file}; "
            f"got {pictures.dtype} {pictures.shape} and {labels.shape}."
        )
    return pictures, labels
