"""Characters in several typefaces: what is missing is what a typeface lacks."""

import matplotlib
import numpy as np
import pytest
from matplotlib.ft2font import FT2Font

from mmppl.data import load
from mmppl.data.glyphs import FACES
from mmppl.errors import OptionError


@pytest.fixture(scope="module")
def data():
    return load("glyphs")


def row(data, text):
    names = data.vocabulary.decode(data.train["name"])
    return names.index(text)


def test_rows_are_characters_of_two_typefaces_at_least(data):
    assert len(data.train) + len(data.test) > 3000
    for part in (data.train, data.test):
        seen = np.stack([part.present[face] for face in FACES])
        assert (seen.sum(0) >= 2).all()
        assert part.present["name"].all()
        assert part.present["script"].all()
        for face in FACES:
            assert part[face].min() == 0.0
            assert part[face].max() <= 1.0
            # What is there has ink; some letters are blank by design, as braille's empty pattern.
            inked = part[face].reshape(len(part), -1).max(1) > 0
            assert not inked[~part.present[face]].any()
            assert inked[part.present[face]].mean() > 0.99


def test_what_is_missing_is_what_a_typeface_lacks(data):
    folder = matplotlib.get_data_path() + "/fonts/ttf/"
    has = {face: FT2Font(folder + f"{file}.ttf").get_charmap() for face, file in FACES.items()}
    for text, letter in (("greek small letter alpha", "α"), ("georgian letter an", "ა")):
        i = row(data, text)
        assert {f: bool(data.train.present[f][i]) for f in FACES} == {f: ord(letter) in has[f] for f in FACES}


def test_typefaces_differ_and_scripts_have_names(data):
    i = row(data, "latin small letter a with ring above")
    assert not np.array_equal(data.train["sans"][i], data.train["times"][i])
    assert data.modalities["script"].names[data.train["script"][i]] == "latin"
    assert data.modalities["script"].names[-1] == "other"
    np.testing.assert_array_equal(data.train.label, data.train["script"])


def test_a_seed_gives_one_split(data):
    again, other = load("glyphs"), load("glyphs", seed=1)
    np.testing.assert_array_equal(again.train["name"], data.train["name"])
    assert not np.array_equal(other.train["name"], data.train["name"])
    with pytest.raises(OptionError, match="side >= 8"):
        load("glyphs", side=4)
