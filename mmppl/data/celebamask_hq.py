"""CelebAMask-HQ: faces, masks of their parts, and attributes."""

import os
from pathlib import Path

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.checks import at_least, checked
from mmppl.data.dataset import Dataset, laplace
from mmppl.data.pictures import count, read_picture, read_pictures
from mmppl.errors import DataError, OptionError

__all__ = ["ATTRIBUTES", "celebamask_hq"]

IMAGES, MASKS, ANNOTATIONS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno", "CelebAMask-HQ-attribute-anno.txt"
SKIN, FOLDER, NUM_TRAIN = "skin", 2000, 25_000
ATTRIBUTES = (
    "Bald",
    "Bangs",
    "Black_Hair",
    "Blond_Hair",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Eyeglasses",
    "Gray_Hair",
    "Heavy_Makeup",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Pale_Skin",
    "Receding_Hairline",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Hat",
)


@checked(side=at_least(1), num_train=at_least(1), num_test=at_least(1))
def celebamask_hq(
    *,
    root: str | os.PathLike,
    seed: int = 0,
    side: int = 128,
    num_train: int | None = None,
    num_test: int | None = None,
) -> Dataset:
    """CelebAMask-HQ: ``image`` (3, side, side), ``mask`` (1, side, side) and ``attributes`` (18,); no labels.

    ``root`` is the published folder, with ``CelebA-HQ-img/<i>.jpg``, ``CelebAMask-HQ-mask-anno/<k>/<i>_<part>.png``
    and ``CelebAMask-HQ-attribute-anno.txt``. A mask is on where any annotated part is, the skin apart; attributes are
    the 18 of :data:`ATTRIBUTES` out of 40. The first 25,000 pictures by the sorted names of their files are for
    training (``0.jpg``, ``1.jpg``, ``10.jpg``, ...; five sixths where there are fewer), the others for testing.

    A tuple takes 262 kB at 128 pixels (float32), all of them 7.9 GB: ``num_train`` and ``num_test`` limit what is read.

    Arguments:
        root: Folder of the data.
        seed: Seed of the order.
        side: Height and width of pictures and masks, in pixels.
        num_train: Training tuples wanted; all by default.
        num_test: Test tuples wanted; all by default.

    Raises:
        DataError: If a folder or file is missing, attributes are misaligned or unknown, or a file cannot be read.
        OptionError: If a number is not positive, or more than there is.

    References:
        Lee et al., "MaskGAN" (2020); Wesego and Rooshenas, "Score-Based Multimodal Autoencoder" (2024), and Bounoua et
        al., "Multi-modal Latent Diffusion" (2024), for the choice of masks and attributes.
    """
    if side < 1:
        raise OptionError(f"Expected a side of at least 1 pixel; got {side}.")
    root = Path(root)
    rng = np.random.default_rng(seed)
    files = sorted(file for file in (root / IMAGES).glob("*.jpg") if file.stem.isdecimal())
    if len(files) < 2 or not (root / MASKS).is_dir():
        raise DataError(f"Expected {IMAGES}/<i>.jpg and {MASKS}/ in {root}; got {len(files)} pictures.")
    known = _attributes(root / ANNOTATIONS)
    first = min(NUM_TRAIN, len(files) * 5 // 6)
    parts = []
    for part, num in ((files[:first], num_train), (files[first:], num_test)):
        taken = [part[i] for i in rng.permutation(len(part))[: count(num, len(part))]]
        lost = [file.name for file in taken if file.name not in known]
        if lost:
            raise DataError(f"Expected the attributes of every picture in {ANNOTATIONS}; got none of {lost[0]}.")
        parts.append(
            Batch(
                {
                    "image": read_pictures(taken, side),
                    "mask": np.stack([_mask(root / MASKS, int(file.stem), side) for file in taken]),
                    "attributes": np.stack([known[file.name] for file in taken]),
                }
            )
        )
    modalities = {
        "image": Modality((3, side, side), kind="image"),
        "mask": Modality((1, side, side), kind="image", likelihood="bernoulli"),
        "attributes": Modality((len(ATTRIBUTES),), likelihood="bernoulli", coordinates=ATTRIBUTES),
    }
    train, test = parts
    return Dataset("celebamask_hq", modalities, train, test, published=laplace(modalities))


def _attributes(file: Path) -> dict[str, np.ndarray]:
    """By the picture's name: 1 where an attribute of :data:`ATTRIBUTES` is there, else 0."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Expected the attributes in {file}, which is missing or cannot be read.") from error
    names = lines[1].split() if len(lines) > 1 else []
    missing = [name for name in ATTRIBUTES if name not in names]
    if missing:
        raise DataError(f"Expected the names of attributes in line 2 of {file}; got no '{missing[0]}'.")
    columns = [names.index(name) for name in ATTRIBUTES]
    out = {}
    for number, line in enumerate(lines[2:], 3):
        picture, *values = line.split()
        if len(values) != len(names) or set(values) - {"-1", "1"}:
            raise DataError(f"Expected {len(names)} values of -1 or 1 in line {number} of {file}; got {len(values)}.")
        out[picture] = np.array([values[i] == "1" for i in columns], np.float32)
    return out


def _mask(folder: Path, index: int, side: int) -> np.ndarray:
    """Mask of every part but the skin: ``(1, side, side)``, 0 or 1."""
    files = sorted((folder / str(index // FOLDER)).glob(f"{index:05d}_*.png"))
    if not files:
        raise DataError(f"Expected {index:05d}_<part>.png in {folder / str(index // FOLDER)}; got none.")
    on = np.zeros((1, side, side), bool)
    for file in files:
        if file.stem != f"{index:05d}_{SKIN}":
            on |= read_picture(file, side, channels=1) > 0.5
    return on.astype(np.float32)
