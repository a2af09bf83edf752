"""Masks of single elements in a batch, and NaN as their sign."""

import importlib

import numpy as np
import pytest

from mmppl import Batch, Modality
from mmppl.errors import DataError, MissingWarning, ModalityError

KINDS = ["numpy", "jax", "torch"]


def mover(kind):
    """Moves a numpy array to one of the frameworks."""
    name = {"numpy": "numpy", "jax": "jax.numpy", "torch": "torch"}[kind]
    module = importlib.import_module(name)
    return module.as_tensor if kind == "torch" else module.asarray


def plain(x):
    return x.numpy() if hasattr(x, "numpy") else np.asarray(x)


def same(one, two):
    """Bit for bit the same batch."""
    for name in one:
        np.testing.assert_array_equal(plain(one[name]), plain(two[name]), strict=True)
        np.testing.assert_array_equal(plain(one.present[name]), plain(two.present[name]), strict=True)
    assert one.elements.keys() == two.elements.keys()
    for name, mask in one.elements.items():
        np.testing.assert_array_equal(plain(mask), plain(two.elements[name]), strict=True)


THERE = np.array([[True, False, True], [False, False, False], [True, True, True]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("junk", [np.nan, np.inf, 1e30])
def test_elements_that_are_not_there_change_nothing(kind, junk):
    to, x = mover(kind), np.arange(1.0, 10.0, dtype=np.float32).reshape(3, 3)
    batch = Batch({"x": to(np.where(THERE, x, np.float32(junk)))}, {"x": to(THERE)})
    same(batch, Batch({"x": to(x)}, {"x": to(THERE)}))
    np.testing.assert_array_equal(plain(batch["x"]), np.where(THERE, x, 0.0))
    np.testing.assert_array_equal(plain(batch.present["x"]), [True, False, True])
    np.testing.assert_array_equal(plain(batch.there("x")), THERE)
    np.testing.assert_array_equal(plain(batch.whole("x")), [False, False, True])
    assert [plain(part).shape for part in batch.inputs("x")] == [(3, 3), (3, 3)]
    assert type(batch.elements["x"]) is type(batch["x"])


@pytest.mark.parametrize("kind", KINDS)
def test_nan_is_a_missing_element_and_is_said(kind):
    to, x = mover(kind), np.arange(1.0, 10.0, dtype=np.float32).reshape(3, 3)
    nan = to(np.where(THERE, x, np.float32(np.nan)))
    with pytest.warns(MissingWarning, match=r"Modality 'x': 4 of 9 values \(44.4%\) are NaN, and taken as missing"):
        batch = Batch({"x": nan})
    same(batch, Batch({"x": to(x)}, {"x": to(THERE)}))
    rows = np.array([False, True, True])
    with pytest.warns(MissingWarning, match="3 of 9"):
        only = Batch({"x": nan}, {"x": to(rows)})
    np.testing.assert_array_equal(plain(only.there("x")), THERE & rows[:, None])


def test_rows_that_are_all_nan_are_missing_without_a_mask_of_elements():
    with pytest.warns(MissingWarning, match="2 of 4"):
        batch = Batch({"x": np.array([[1.0, 2.0], [np.nan, np.nan]])})
    assert batch.present["x"].tolist() == [True, False]
    assert not batch.elements


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_elements_go_with_the_rows_and_may_only_hide_more(kind):
    to, x = mover(kind), np.ones((3, 3), np.float32)
    batch = Batch({"x": to(x), "y": to(x)}, {"x": to(THERE)})
    np.testing.assert_array_equal(plain(batch[[2, 0]].there("x")), THERE[[2, 0]])
    hidden = batch.only("y")
    assert not plain(hidden.there("x")).any()
    assert not plain(hidden["x"]).any()
    rows = batch.with_present({"x": to(np.array([False, True, True]))})
    np.testing.assert_array_equal(plain(rows.there("x")), THERE & np.array([[False], [True], [True]]))
    more = batch.with_present({"x": to(np.ones((3, 3), bool)), "y": to(~THERE)})
    np.testing.assert_array_equal(plain(more.there("x")), THERE)
    np.testing.assert_array_equal(plain(more.there("y")), ~THERE)
    np.testing.assert_array_equal(plain(more["y"]), ~THERE)
    same(Batch(batch.values, batch.masks), batch)
    assert batch.select("y").elements == {}
    # Under several subsets at once elements stay those of the data: each subset is applied where it is used.
    many = batch.with_present({"x": to(np.array([[True, True, False], [False, True, True]]))})
    np.testing.assert_array_equal(plain(many.there("x")), THERE)


def test_validate_of_elements():
    x = np.array([[1.0, np.nan], [3.0, 4.0]])
    whole, partial = {"x": Modality((2,))}, {"x": Modality((2,), partial=True)}
    lacking = Batch({"x": x}, {"x": ~np.isnan(x)})
    with pytest.raises(
        ModalityError, match=r"expected whole events, as it is declared; .* in rows 0. Declare Modality"
    ):
        lacking.validate(whole)
    same(lacking.validate(partial), lacking)
    full = Batch({"x": np.ones((2, 2))})
    assert full.validate(partial).elements["x"].all()
    assert not Batch({"x": np.ones((2, 2))}, {"x": np.ones((2, 2), bool)}).validate(whole).elements
    with pytest.raises(DataError, match="'x': NaN or Inf where present, in rows 0"):
        Batch({"x": x}, {"x": np.ones((2, 2), bool)}).validate(partial)
    with pytest.raises(ModalityError, match=r"partial True or False, and False for a single number .* got True"):
        Modality((), partial=True)
