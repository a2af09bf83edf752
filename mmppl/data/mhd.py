"""MHD, the multi-modal handwritten digits: image, sound of the spoken digit, and trajectory of the pen."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.checks import at_least, checked
from mmppl.data.dataset import Dataset
from mmppl.data.npz import read_npz
from mmppl.data.pictures import count
from mmppl.errors import DataError

__all__ = ["mhd"]

SHAPES = {"image": (1, 28, 28), "sound": (1, 32, 128), "trajectory": (200,)}
SQUARED = 0.5**0.5  # scale of the normal whose log-likelihood is the squared error of the papers


@checked(num_train=at_least(1), num_test=at_least(1))
def mhd(
    *, root: str | os.PathLike, seed: int = 0, num_train: int | None = None, num_test: int | None = None
) -> Dataset:
    """MHD: ``image`` (1, 28, 28), ``sound`` (1, 32, 128), a mel spectrogram, and ``trajectory`` (200,), with labels.

    ``root`` holds ``mhd_train.pt`` and ``mhd_test.pt`` as published (labels, images, trajectories, sounds and two sets
    of constants; torch reads them, and nothing is unpickled but tensors), or ``mhd_train.npz`` and ``mhd_test.npz``
    with ``image``, ``sound``, ``trajectory`` and ``label`` (see :func:`mmppl.data.read_npz`). All values are scaled to
    [0, 1] in the published files. A tuple takes 20 kB (float32).

    Arguments:
        root: Folder of the data.
        seed: Seed of the order.
        num_train: Training tuples wanted; all by default.
        num_test: Test tuples wanted; all by default.

    Raises:
        DataError: If a file is missing, holds other objects than tensors, or shapes do not fit.
        OptionError: If ``num_train`` or ``num_test`` is not positive, or more than there is.
        ImportError: If the published files are to be read and torch is not installed.

    References:
        Vasco et al., "Leveraging hierarchy in multimodal generative models for effective cross-modality inference"
        (2022), section 5; Bounoua et al., "Multi-modal Latent Diffusion" (2024).
    """
    root = Path(root)
    rng = np.random.default_rng(seed)
    parts = []
    for split, num in (("train", num_train), ("test", num_test)):
        plain, published = root / f"mhd_{split}.npz", root / f"mhd_{split}.pt"
        if not plain.is_file() and not published.is_file():
            raise DataError(f"Expected {published.name} or {plain.name} in {root}; got neither.")
        whole = read_npz(plain) if plain.is_file() else _published(published)
        _check(whole, plain if plain.is_file() else published)
        parts.append(whole[rng.permutation(len(whole))[: count(num, len(whole))]])
    kinds = {name: "image" if len(shape) == 3 else "vector" for name, shape in SHAPES.items()}
    likelihoods = {name: None if name == "image" else "normal" for name in SHAPES}  # sounds may leave [0, 1]
    modalities = {n: Modality(shape, kind=kinds[n], likelihood=likelihoods[n]) for n, shape in SHAPES.items()}
    fixed = {n: replace(m, likelihood="normal", scale=SQUARED) for n, m in modalities.items()}
    train, test = parts
    return Dataset("mhd", modalities, train, test, published=fixed)


def _published(file: Path) -> Batch:
    from mmppl._backend.torch_files import read_tensors  # here, since torch need not be installed

    held = read_tensors(file)
    if len(held) < 4:
        raise DataError(f"Expected labels, images, trajectories and sounds in {file}; got {len(held)} tensors.")
    label, image, trajectory, sound = held[:4]  # the constants behind them may be tensors too
    values = {
        "image": image.reshape(-1, *SHAPES["image"]),
        # Four pieces of time behind each other, (N, 4, 32, 32), each with the time first.
        "sound": sound.reshape(len(sound), 1, 128, 32).transpose(0, 1, 3, 2),
        "trajectory": trajectory.reshape(len(trajectory), -1),
    }
    return Batch({name: value.astype(np.float32) for name, value in values.items()}, label=label.astype(np.int64))


def _check(batch: Batch, file: Path) -> None:
    for name, shape in SHAPES.items():
        if name not in batch.values or batch[name].shape[1:] != shape:
            got = batch[name].shape[1:] if name in batch.values else "none"
            raise DataError(f"Expected '{name}' of shape (N, {', '.join(map(str, shape))}) in {file}; got {got}.")
    if batch.label is None:
        raise DataError(f"Expected 'label' in {file}; got none.")
