"""Glyphs: a character drawn in several typefaces, its name as a text, its script as a category."""

import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.checks import at_least, checked
from mmppl.data.captions import Vocabulary
from mmppl.data.dataset import Dataset, laplace, split_rows

__all__ = ["FACES", "glyphs"]

# Files of typefaces that come with matplotlib.
FACES = {"sans": "DejaVuSans", "serif": "DejaVuSerif", "mono": "DejaVuSansMono", "times": "STIXGeneral"}
KEPT = "LNPS"  # letters, numbers, punctuation and symbols, by the first letter of the Unicode category
LENGTH = 8  # tokens of a name
FEWEST = 20  # letters of a script that has a category of its own
FINE = 4  # pixels that are averaged to one, each way


@checked(side=at_least(8))
def glyphs(*, seed: int = 0, side: int = 16) -> Dataset:
    """Characters in four typefaces, with gaps where a typeface lacks one: real missing data and thousands of classes.

    ``sans``, ``serif``, ``mono`` and ``times`` are images (1, side, side) of matplotlib's own typefaces, ``name`` the
    tokens of the Unicode name, such as "greek small letter alpha", and ``script`` the first word of a letter's name
    where 20 letters or more have it, else "other", and "symbol" for what is no letter. Characters that two typefaces
    have; labelled by the script; a fifth is for testing.

    Arguments:
        seed: Seed of the split.
        side: Pixels of an image, each way.

    Example:
        >>> from mmppl.data import load
        >>> data = load("glyphs")
        >>> list(data.modalities)
        ['sans', 'serif', 'mono', 'times', 'name', 'script']
    """
    rows, scripts, vocabulary = _rows(side)
    train, test = split_rows(len(rows), seed)
    modalities = {name: Modality((1, side, side), kind="image") for name in FACES}
    modalities["name"] = Modality((LENGTH,), kind="tokens", vocabulary=len(vocabulary), padding=0)
    modalities["script"] = Modality((), kind="category", categories=len(scripts), names=scripts)
    return Dataset("glyphs", modalities, rows[train], rows[test], vocabulary=vocabulary, published=laplace(modalities))


@cache
def _rows(side: int) -> tuple[Batch, tuple[str, ...], Vocabulary]:
    import matplotlib
    from matplotlib.ft2font import FT2Font

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = {face: FT2Font(str(folder / f"{file}.ttf")) for face, file in FACES.items()}
    has = {face: font.get_charmap() for face, font in fonts.items()}

    # 1. Characters that two typefaces have, by number.
    counts = Counter(code for codes in has.values() for code in codes)
    codes = [
        code
        for code, number in sorted(counts.items())
        if number >= 2 and unicodedata.category(chr(code))[0] in KEPT and unicodedata.name(chr(code), "") != ""
    ]

    # 2. Their pictures, where there are any.
    values: dict[str, np.ndarray] = {}
    present: dict[str, np.ndarray] = {}
    for face, font in fonts.items():
        present[face] = np.array([code in has[face] for code in codes])
        values[face] = np.zeros((len(codes), 1, side, side), np.float32)
        for row in np.flatnonzero(present[face]):
            values[face][row, 0] = _drawn(font, chr(codes[row]), side)

    # 3. Names and scripts.
    names = [unicodedata.name(chr(code)).lower().replace("-", " ") for code in codes]
    vocabulary = Vocabulary.of(names, at_least=2)
    letter = [unicodedata.category(chr(code))[0] == "L" for code in codes]
    first = [name.split()[0] if is_letter else "symbol" for name, is_letter in zip(names, letter, strict=True)]
    scripts = (*sorted(word for word, number in Counter(first).items() if number >= FEWEST), "other")
    number = {word: i for i, word in enumerate(scripts)}
    values["name"] = vocabulary.encode(names, LENGTH)
    values["script"] = np.array([number.get(word, len(scripts) - 1) for word in first])
    return Batch(values, present, values["script"]), scripts, vocabulary


def _drawn(font: object, text: str, side: int) -> np.ndarray:
    """A character in the middle of its picture, ``(side, side)`` in [0, 1]; what is outside is cut off."""
    size = FINE * side
    font.set_size(0.75 * size, 72)  # type: ignore[attr-defined]
    font.set_text(text)  # type: ignore[attr-defined]
    font.draw_glyphs_to_bitmap(antialiased=True)  # type: ignore[attr-defined]
    ink = np.asarray(font.get_image(), np.float32) / 255  # type: ignore[attr-defined]
    cut = [max(0, n - size) // 2 for n in ink.shape]
    ink = ink[cut[0] : cut[0] + size, cut[1] : cut[1] + size]
    start = [(size - n) // 2 for n in ink.shape]
    out = np.zeros((size, size), np.float32)
    out[start[0] : start[0] + ink.shape[0], start[1] : start[1] + ink.shape[1]] = ink
    return out.reshape(side, FINE, side, FINE).mean((1, 3))
