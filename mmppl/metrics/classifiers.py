"""Classifiers: a small classifier for each modality, kept as plain arrays and evaluated by numpy."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmppl.batch import Modality
from mmppl.data.npz import read_arrays, write_npz
from mmppl.errors import DataError, ModalityError

__all__ = ["Classifier", "Classifiers"]

CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Classifier:
    r"""A classifier of one modality: :math:`h_0 = (x - c) / s`, :math:`h_l = \max(0, W_l^T h_{l-1} + b_l)`.

    Arguments:
        modality: The modality; ids are one-hot coded first, and counts x are log(1 + x).
        centre: :math:`c`, of shape ``(D,)`` or a scalar.
        scale: :math:`s`, of shape ``(D,)`` or a scalar.
        weights: :math:`W_l`, of shape ``(D_{l-1}, D_l)``; the last one gives the class scores.
        biases: :math:`b_l`, of shape ``(D_l,)``.
    """

    modality: Modality
    centre: np.ndarray
    scale: np.ndarray
    weights: list[np.ndarray]
    biases: list[np.ndarray]

    def hidden(self, rows: np.ndarray) -> np.ndarray:
        """The last hidden layer of rows ``(N, *event)``."""
        h = (flatten(self.modality, rows) - self.centre) / self.scale
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            h = np.maximum(h @ weight + bias, 0)
        return h

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Class scores (logits) of rows ``(N, *event)``."""
        return self.hidden(rows) @ self.weights[-1] + self.biases[-1]


def flatten(modality: Modality, rows: np.ndarray) -> np.ndarray:
    """Rows ``(N, *event)`` as float32 vectors ``(N, D)``: ids one-hot coded, counts x as log(1 + x)."""
    if modality.ids:
        rows = rows[..., None] == np.arange(modality.ids)
    elif modality.kind == "counts":
        rows = np.log1p(rows)
    return np.asarray(rows, dtype=np.float32).reshape(len(rows), math.prod(rows.shape[1:]))


@dataclass(frozen=True, eq=False)
class Classifiers:
    """A classifier for each modality, all telling the same classes apart. See :func:`mmppl.metrics.train_classifiers`.

    Arguments:
        by_name: The classifiers by name of modality: :class:`Classifier`, or any with its ``modality``, ``hidden`` and
            ``scores``, such as a convolutional network, which cannot be saved.
        classes: Labels that they answer with, of shape ``(C,)``.
        accuracy: Share of test data that each classifier gets right, by name.
    """

    by_name: Mapping[str, Classifier]
    classes: np.ndarray
    accuracy: Mapping[str, float]

    def predict(self, name: str, x: np.ndarray) -> np.ndarray:
        """Labels of ``x``, of shape ``(*)`` where x is ``(*, *event)``.

        Raises:
            ModalityError: If there is no classifier of that name, or x has another event shape.
        """
        return self.classes[self._apply(name, x, lambda own, rows: own.scores(rows)).argmax(axis=-1)]

    def features(self, name: str, x: np.ndarray) -> np.ndarray:
        """Last hidden layer for ``x`` of shape ``(*, *event)``: features of shape ``(*, F)``.

        Raises:
            ModalityError: If there is no classifier of that name, or x has another event shape.
        """
        return self._apply(name, x, lambda own, rows: own.hidden(rows))

    def save(self, path: str | os.PathLike, force: bool = False) -> Path:
        """Writes a ``.npz`` of plain arrays; see :func:`mmppl.data.write_npz` for ``force`` and its errors.

        Raises:
            DataError: If a classifier is none of :class:`Classifier`.
        """
        other = {name: type(own).__name__ for name, own in self.by_name.items() if not isinstance(own, Classifier)}
        if other:
            raise DataError(
                f"Expected each to be a Classifier, whose arrays are written; got {other}. Save those apart."
            )
        arrays: dict[str, np.ndarray] = {"classes": self.classes}
        for name, classifier in self.by_name.items():
            modality = classifier.modality
            arrays |= {
                f"{name}/kind": np.array(modality.kind),
                f"{name}/shape": np.array(modality.shape),
                f"{name}/vocabulary": np.array(modality.ids or 0),
                f"{name}/centre": classifier.centre,
                f"{name}/scale": classifier.scale,
                f"{name}/accuracy": np.array(self.accuracy[name]),
            }
            for layer, (weight, bias) in enumerate(zip(classifier.weights, classifier.biases, strict=True)):
                arrays |= {f"{name}/weight{layer}": weight, f"{name}/bias{layer}": bias}
        return write_npz(path, arrays, force=force)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Classifiers":
        """Reads what :meth:`save` wrote; nothing is unpickled.

        Raises:
            DataError: If the file cannot be read, or holds no classifiers.
        """
        arrays = read_arrays(path)
        names = [key.removesuffix("/kind") for key in arrays if key.endswith("/kind")]
        try:
            classifiers = {name: _classifier(name, arrays) for name in names}
            accuracy = {name: float(arrays[f"{name}/accuracy"]) for name in names}
            classes = arrays["classes"]
        except (KeyError, ModalityError, TypeError) as error:
            raise DataError(
                f"Expected classifiers written by Classifiers.save in {path}; {error} does not fit."
            ) from error
        if not classifiers:
            raise DataError(f"Expected classifiers written by Classifiers.save in {path}; got none.")
        return cls(classifiers, classes, accuracy)

    def _apply(self, name, x, function):
        if name not in self.by_name:
            raise ModalityError(
                f"Expected a modality among {list(self.by_name)}; got '{name}', which has no classifier."
            )
        classifier, x = self.by_name[name], np.asarray(x)
        shape = classifier.modality.shape
        lead = x.shape[: x.ndim - len(shape)]
        if x.shape[len(lead) :] != shape or not lead:
            raise ModalityError(f"Modality '{name}': expected shape (*, {', '.join(map(str, shape))}); got {x.shape}.")
        rows = x.reshape(-1, *shape)
        parts = [function(classifier, rows[start : start + CHUNK]) for start in range(0, max(1, len(rows)), CHUNK)]
        out = np.concatenate(parts)
        return out.reshape(*lead, out.shape[-1])


def _classifier(name: str, arrays: Mapping[str, np.ndarray]) -> Classifier:
    shape = tuple(int(size) for size in arrays[f"{name}/shape"])
    kind, ids = str(arrays[f"{name}/kind"]), int(arrays[f"{name}/vocabulary"]) or None
    number: dict[str, Any] = {"categories" if kind == "category" else "vocabulary": ids}
    layers = range(sum(key.startswith(f"{name}/weight") for key in arrays))
    return Classifier(
        Modality(shape, kind=kind, **number),
        arrays[f"{name}/centre"],
        arrays[f"{name}/scale"],
        [arrays[f"{name}/weight{layer}"] for layer in layers],
        [arrays[f"{name}/bias{layer}"] for layer in layers],
    )
