"""Training the classifiers of a data set, once: they are kept in a cache folder."""

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from mmppl.batch import Batch, Modality
from mmppl.checks import checked
from mmppl.data import Dataset
from mmppl.errors import DataError
from mmppl.metrics.classifiers import Classifier, Classifiers, flatten
from mmppl.warn import warn

__all__ = ["train_classifiers"]

RECIPE = 1  # part of the cache's key: raise it when the training below changes
HIDDEN = {"image": (512, 128), "vector": (128, 64), "counts": (128, 64), "tokens": (64,), "category": (64,)}
ROWS_SHOWN = 160_000
AVERAGED = 0.3


@checked()
def train_classifiers(dataset: Dataset, seed: int = 0) -> Classifiers:
    """A classifier for each modality of a labelled data set, trained on ``train`` and scored on ``test``.

    Each is a small perceptron with rectified units (two hidden layers for numbers, one for ids), shown
    160,000 rows in all; pictures are shifted at random by up to a sixteenth of their size. The weights are averaged
    over the last epochs. They are kept in the folder ``MMPPL_CACHE`` (an environment variable; ``~/.cache/mmppl``
    without it) under a name that depends on the data, the recipe and the seed.

    Arguments:
        dataset: Data with labels in both splits; rows without a modality are left out of its classifier's data. Single
            numbers that are missing stand at their mean over the training rows that have them; rows that lack single
            tokens are left out.
        seed: Seed of the initial weights, the order and the shifts.

    Raises:
        DataError: If labels are missing, of one class only, or a modality is present nowhere.

    Example:
        >>> from mmppl.data import load
        >>> classifiers = train_classifiers(load("polydigits"))  # doctest: +SKIP
        >>> classifiers.accuracy["word"]  # doctest: +SKIP
        1.0
    """
    for split in (dataset.train, dataset.test):
        if split.label is None:
            raise DataError(f"Classifiers need labels; data '{dataset.name}' have none.")
    file = _cache_folder() / f"classifiers-{dataset.name}-{_key(dataset, seed)}.npz"
    if file.is_file():
        try:
            return Classifiers.load(file)
        except DataError as error:
            warn(f"The cached classifiers cannot be read and are trained again. {error}")
            with suppress(OSError):
                file.unlink()
    classifiers = _train(dataset, seed)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        classifiers.save(file, force=True)
    except (OSError, DataError) as error:  # a DataError where the disk is full
        warn(f"The classifiers are not cached: {error}. Set MMPPL_CACHE to a writable folder.")
    return classifiers


def _train(dataset: Dataset, seed: int) -> Classifiers:
    classes = np.unique(np.asarray(dataset.train.label))
    if len(classes) < 2:
        raise DataError(
            f"Classifiers need at least two classes; the labels of '{dataset.name}' are {classes.tolist()}."
        )
    classifiers, accuracy = {}, {}
    for name, modality in dataset.modalities.items():
        centre = _centre(dataset.train, name, modality)
        (x, y), (x_test, y_test) = (_rows(part, name, centre) for part in (dataset.train, dataset.test))
        # The matrices are small: more threads than one only wait for each other.
        with threadpool_limits(1):
            classifiers[name] = _fit(modality, x, y, classes, seed)
        accuracy[name] = float(np.mean(classes[classifiers[name].scores(x_test).argmax(-1)] == y_test))
    return Classifiers(classifiers, classes, accuracy)


def _rows(batch: Batch, name: str, centre: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Values and labels of the rows that have a modality; where an element is missing stands the centre."""
    rows = np.flatnonzero(batch.present[name] if centre is not None else batch.whole(name))
    if not rows.size:
        raise DataError(f"Modality '{name}' is present nowhere in a split, so it cannot be evaluated.")
    value = np.asarray(batch[name])[rows]
    if centre is not None and name in batch.elements:
        value = np.where(np.asarray(batch.there(name))[rows], value, centre)
    return value, np.asarray(batch.label)[rows]


def _centre(batch: Batch, name: str, modality: Modality) -> np.ndarray | None:
    """Mean of each element over the rows that have it, ``(*event)``; None of ids."""
    if modality.ids:
        return None
    there, value = np.asarray(batch.there(name)), np.asarray(batch[name], np.float64)
    mean = np.where(there, value, 0.0).sum(0) / np.maximum(there.sum(0), 1)
    return np.asarray(mean, np.float32)


def _fit(modality: Modality, x: np.ndarray, y: np.ndarray, classes: np.ndarray, seed: int) -> Classifier:
    rng = np.random.default_rng(seed)
    centre, scale = _standardisation(modality, x)
    from sklearn.neural_network import MLPClassifier  # takes long to import, which others need not wait for

    net = MLPClassifier(HIDDEN[modality.kind], alpha=1e-3, batch_size=min(128, len(x)), random_state=seed)
    epochs = max(4, min(60, ROWS_SHOWN // len(x)))
    averaged = max(1, int(AVERAGED * epochs))
    total: list[np.ndarray] = []
    for epoch in range(epochs):
        shown = _shifted(x, rng) if modality.kind == "image" else x
        net.partial_fit((flatten(modality, shown) - centre) / scale, y, classes=classes)
        if epoch >= epochs - averaged:
            now = [*net.coefs_, *net.intercepts_]
            total = [a + b for a, b in zip(total, now, strict=True)] if total else [a.copy() for a in now]
    mean = [(a / averaged).astype(np.float32) for a in total]
    if len(classes) == 2:  # one score, that of the second class
        mean = [np.stack([0 * a[..., 0], a[..., 0]], -1) if a.shape[-1] == 1 else a for a in mean]
    return Classifier(modality, centre, scale, mean[: len(net.coefs_)], mean[len(net.coefs_) :])


def _standardisation(modality: Modality, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if modality.kind == "image":
        return np.array(0.5, np.float32), np.array(0.5, np.float32)
    if modality.ids:
        return np.array(0, np.float32), np.array(1, np.float32)
    rows = flatten(modality, x)
    return rows.mean(0), np.maximum(rows.std(0), np.float32(1e-6))


def _shifted(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture moved by up to a sixteenth of its size, the border repeated."""
    num, _, height, width = pictures.shape
    reach = max(1, height // 16), max(1, width // 16)
    rows = np.arange(height) + rng.integers(-reach[0], reach[0] + 1, (num, 1))
    columns = np.arange(width) + rng.integers(-reach[1], reach[1] + 1, (num, 1))
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    return pictures[np.arange(num)[:, None, None], :, rows[:, :, None], columns[:, None, :]].transpose(0, 3, 1, 2)


def _cache_folder() -> Path:
    named = os.environ.get("MMPPL_CACHE")
    if named:
        return Path(named)
    try:
        return Path.home() / ".cache" / "mmppl"
    except RuntimeError:  # the user has no home
        return Path(tempfile.gettempdir()) / "mmppl"


def _key(dataset: Dataset, seed: int) -> str:
    digest = hashlib.blake2b(f"{RECIPE} {seed} {dataset.modalities}".encode(), digest_size=8)
    for split in (dataset.train, dataset.test):
        digest.update(np.ascontiguousarray(split.label).data)
        for name in dataset.modalities:
            digest.update(np.ascontiguousarray(split[name]).data)
            digest.update(np.ascontiguousarray(split.masks[name]).data)
    return digest.hexdigest()
