"""polydigits: real handwriting as ink, cut into two photographs, and as a word; built from scikit-learn's own data."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mmppl.batch import Batch, Modality
from mmppl.checks import checked
from mmppl.data.composites import cut_into, pair_instances
from mmppl.data.dataset import Dataset, laplace

__all__ = ["MODALITIES", "polydigits", "read_words"]

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIZE, LETTERS = 16, 5
PHOTOGRAPHS = {"flower": "flower.jpg", "china": "china.jpg"}
BLUR, STEP, CONTRAST, INK = 8.0, 4, 0.4, 0.45

MODALITIES = {
    "ink": Modality((1, SIZE, SIZE), kind="image"),
    "flower": Modality((3, SIZE, SIZE), kind="image"),
    "china": Modality((3, SIZE, SIZE), kind="image"),
    "word": Modality((LETTERS,), kind="tokens", vocabulary=27),
}


@checked()
def polydigits(*, seed: int = 0) -> Dataset:
    """Builds the embedded data set of 8,000 training and 2,000 test tuples, 800 and 200 of each digit.

    ``ink`` (1, 16, 16) is a handwritten digit; ``flower`` and ``china`` (3, 16, 16) are crops of a photograph whose
    colours are inverted where *another* handwritten instance of the same digit is on; ``word`` (5,) is the digit's
    English name, token 0 for padding and 1 to 26 for a to z. A fifth of each digit's instances is kept for the test
    tuples, so none stands in both splits; the photographs are shared.

    The photographs are blurred and reduced to a quarter, and crops in which inverting changes colours by less than
    0.4 on average (mid-grey ones, where a digit would not be seen) are left out.

    Arguments:
        seed: Seed of the split, the pairing, the crops and the order.

    References:
        Handwriting: Alpaydin and Kaynak (1998), as shipped with scikit-learn (1,797 instances of 8 x 8). Recipe:
        Sutter, Daunhawer and Vogt, "Generalized Multimodal ELBO" (2021), PolyMNIST.

    Example:
        >>> digits = polydigits()
        >>> digits.train["flower"].shape, read_words(digits.train["word"][:1]) == [WORDS[digits.train.label[0]]]
        ((8000, 3, 16, 16), True)
    """
    # Imported here: both change global state (random streams, warning filters) and are slow to load.
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(seed)
    source = load_digits()
    digits = zoom(source.images / 16, (1, 2, 2), order=3, mode="nearest", grid_mode=True).clip(0, 1)
    photographs = {name: _photograph(file) for name, file in PHOTOGRAPHS.items()}
    train, test = _split_per_class(source.target, rng)
    parts = []
    for rows, tuples in ((train, 800), (test, 200)):
        triples, label = pair_instances(source.target[rows], dict.fromkeys(range(10), tuples), 3, rng)
        triples = rows[triples]
        values = {"ink": digits[triples[:, 0], None].astype(np.float32)}
        for column, (name, (photograph, corners)) in enumerate(photographs.items(), start=1):
            offsets = corners[rng.integers(len(corners), size=len(label))]
            values[name] = cut_into(photograph, digits[triples[:, column]] > INK, offsets)
        values["word"] = _SPELLED[label]
        parts.append(Batch(values, label=label))
    return Dataset("polydigits", dict(MODALITIES), parts[0], parts[1], published=laplace(MODALITIES))


def read_words(tokens: np.ndarray) -> list[str]:
    """The words that token ids of shape ``(N, 5)`` spell; padding is a dot unless it ends the word.

    Example:
        >>> read_words(np.array([[15, 14, 5, 0, 0], [15, 0, 5, 0, 0]]))
        ['one', 'o.e']
    """
    return ["".join(".abcdefghijklmnopqrstuvwxyz"[i] for i in row).rstrip(".") for row in np.asarray(tokens)]


_SPELLED = np.array([[ord(c) - ord("a") + 1 for c in word] + [0] * (LETTERS - len(word)) for word in WORDS])


def _photograph(file: str) -> tuple[np.ndarray, np.ndarray]:
    """A smoothed photograph (H, W, 3) and the corners (P, 2) of the crops in which a digit can be seen."""
    from scipy.ndimage import gaussian_filter
    from sklearn.datasets import load_sample_image

    small = gaussian_filter(load_sample_image(file) / np.float32(255), (BLUR, BLUR, 0))[::STEP, ::STEP]
    contrast = np.abs(1 - 2 * small).mean(axis=-1)
    seen = sliding_window_view(contrast, (SIZE, SIZE)).mean(axis=(2, 3))
    return small, np.argwhere(seen >= CONTRAST)


def _split_per_class(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    train, test = [], []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        held = len(rows) // 5
        train.append(rows[held:])
        test.append(rows[:held])
    return np.concatenate(train), np.concatenate(test)
