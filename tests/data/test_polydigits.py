import time

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from mmppl.data import load
from mmppl.data.composites import cut_into, pair_instances
from mmppl.data.polydigits import WORDS, read_words


@pytest.fixture(scope="module")
def digits():
    return load("polydigits")


def test_shapes_ranges_and_modalities(digits):
    assert list(digits.modalities) == ["ink", "flower", "china", "word"]
    assert (len(digits.train), len(digits.test)) == (8000, 2000)
    for part in (digits.train, digits.test):
        part.validate(digits.modalities)
        for name in ("ink", "flower", "china"):
            assert part[name].dtype == np.float32
            assert part[name].min() >= 0
            assert part[name].max() <= 1
        assert part["word"].dtype == np.int64


def test_it_is_built_within_three_seconds(digits):
    """Of processor time, whatever else the machine does; libraries have been imported for the fixture."""
    start = time.process_time()
    load("polydigits", seed=5)
    assert time.process_time() - start < 3


def test_classes_are_balanced_and_words_spell_them(digits):
    for part, count in ((digits.train, 800), (digits.test, 200)):
        np.testing.assert_array_equal(np.bincount(part.label), [count] * 10)
        assert read_words(part["word"]) == [WORDS[i] for i in part.label]
    # Shuffled: the classes do not stand in blocks.
    assert 0.8 < np.mean(np.diff(digits.train.label) != 0) < 1


def test_seeded(digits):
    again, other = load("polydigits"), load("polydigits", seed=1)
    for name in digits.modalities:
        np.testing.assert_array_equal(digits.train[name], again.train[name])
    assert not np.array_equal(digits.train["ink"], other.train["ink"])


def test_no_handwritten_instance_in_both_splits(digits):
    train, test = (np.unique(part["ink"].reshape(len(part), -1), axis=0) for part in (digits.train, digits.test))
    both = np.concatenate([train, test])
    assert len(np.unique(both, axis=0)) == len(both)
    # All but a few instances (repeated in the source, or not drawn) are used.
    assert len(both) >= 1790


def test_ink_is_the_digit_of_its_label(digits):
    source = load_digits()
    nearest = KNeighborsClassifier(1).fit(source.images.reshape(-1, 64) / 16, source.target)
    halves = digits.test["ink"].reshape(-1, 8, 2, 8, 2).mean((2, 4)).reshape(-1, 64)
    assert np.mean(nearest.predict(halves) == digits.test.label) > 0.99


def test_pairing_uses_every_instance_once_a_round_and_never_repeats_one_in_a_tuple():
    labels = np.repeat([0, 1], [7, 9])
    rows, classes = pair_instances(labels, {0: 7, 1: 18}, 3, np.random.default_rng(0))
    assert rows.shape == (25, 3)
    np.testing.assert_array_equal(labels[rows], np.tile(classes[:, None], 3))
    assert all(len(set(row)) == 3 for row in rows.tolist())
    for column in rows.T:
        np.testing.assert_array_equal(np.bincount(column), [1] * 7 + [2] * 9)


def test_pairing_of_a_number_that_does_not_fill_the_last_round():
    rows, classes = pair_instances(np.zeros(4, int), {0: 10}, 2, np.random.default_rng(0))
    assert rows.shape == (10, 2)
    assert set(classes) == {0}
    assert np.ptp(np.bincount(rows[:, 0])) <= 1


def test_cut_into_inverts_the_crop_where_the_digit_is_on():
    photograph = np.random.default_rng(0).random((6, 7, 3)).astype(np.float32)
    digit = np.array([[[True, False], [False, False]]])
    out = cut_into(photograph, digit, np.array([[3, 2]]))
    expected = photograph[3:5, 2:4].transpose(2, 0, 1).copy()
    expected[:, 0, 0] = 1 - expected[:, 0, 0]
    np.testing.assert_array_equal(out[0], expected)
