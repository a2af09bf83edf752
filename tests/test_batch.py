"""Batches know what is missing, and what is missing can change nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmppl import Batch, Modality
from mmppl.errors import DataError, ModalityError


def mover(kind):
    """Moves a numpy array to one of the frameworks."""
    if kind == "numpy":
        return np.asarray
    if kind == "jax":
        import jax.numpy as jnp

        return jnp.asarray
    import torch

    return torch.as_tensor


KINDS = ["numpy", "jax", "torch"]
SPEC = {
    "image": Modality((1, 2, 2), kind="image"),
    "sound": Modality((3,)),
    "word": Modality((4,), kind="tokens", vocabulary=7),
}


def arrays(num=5, seed=0):
    rng = np.random.default_rng(seed)
    values = {
        "image": rng.random((num, 1, 2, 2), dtype=np.float32),
        "sound": rng.normal(size=(num, 3)).astype(np.float32),
        "word": rng.integers(0, 7, (num, 4)),
    }
    rows = np.arange(num)
    present = {"image": rows % 2 == 0, "sound": rows % 3 > 0, "word": rows != 2}
    return values, present


def make(kind="numpy", num=5, seed=0, **changes):
    to = mover(kind)
    values, present = arrays(num, seed)
    values.update(changes)
    label = to(np.arange(num))
    return Batch({n: to(v) for n, v in values.items()}, {n: to(m) for n, m in present.items()}, label)


def plain(x):
    return x.numpy() if hasattr(x, "numpy") else np.asarray(x)


def same(one, two):
    """Bit for bit the same batch."""
    assert one.modalities == two.modalities
    assert len(one) == len(two)
    for name in one:
        np.testing.assert_array_equal(plain(one[name]), plain(two[name]), strict=True)
        np.testing.assert_array_equal(plain(one.present[name]), plain(two.present[name]), strict=True)
    assert one.elements.keys() == two.elements.keys()
    for name, mask in one.elements.items():
        np.testing.assert_array_equal(plain(mask), plain(two.elements[name]), strict=True)
    assert (one.label is None) == (two.label is None)
    if one.label is not None:
        np.testing.assert_array_equal(plain(one.label), plain(two.label))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_present_is_kept_and_the_rest_is_zero(kind):
    values, present = arrays()
    batch = make(kind)
    assert batch.modalities == ("image", "sound", "word") == tuple(batch)
    assert len(batch) == 5
    for name, value in values.items():
        mask = present[name].reshape((5,) + (1,) * (value.ndim - 1))
        np.testing.assert_array_equal(plain(batch[name]), np.where(mask, value, 0))
        assert type(batch[name]) is type(mover(kind)(value))
        assert batch[name].dtype == mover(kind)(value).dtype


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf, 1e30])
def test_a_value_that_is_not_present_changes_nothing(kind, junk):
    values, present = arrays()
    sound = values["sound"].copy()
    sound[~present["sound"]] = junk
    assert (sound != values["sound"]).any()
    same(make(kind, sound=sound), make(kind))


@pytest.mark.parametrize("kind", ["jax", "torch"])
def test_nan_that_is_not_present_harms_no_gradient(kind):
    present = np.array([True, False])
    x = np.array([[1.0, 2.0], [np.nan, np.inf]], dtype=np.float32)
    wanted = np.array([[2.0, 4.0], [0.0, 0.0]], dtype=np.float32)
    if kind == "jax":
        import jax

        grad = jax.grad(lambda x: (Batch({"x": x}, {"x": mover(kind)(present)})["x"] ** 2).sum())(mover(kind)(x))
    else:
        leaf = mover(kind)(x).requires_grad_()
        (Batch({"x": leaf}, {"x": mover(kind)(present)})["x"] ** 2).sum().backward()
        grad = leaf.grad
    np.testing.assert_array_equal(plain(grad), wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_left_out_of_present_is_present_everywhere(kind):
    to = mover(kind)
    batch = Batch({"x": to(np.ones((3, 2)))})
    np.testing.assert_array_equal(plain(batch.present["x"]), [True, True, True], strict=True)
    assert type(batch.present["x"]) is type(to(np.ones(1)))


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_masks_may_stand_beside_other_arrays(kind):
    to = mover(kind)
    batch = Batch({"x": to(np.ones((2, 2)))}, {"x": np.array([True, False])})
    np.testing.assert_array_equal(plain(batch["x"]), [[1.0, 1.0], [0.0, 0.0]])
    assert type(batch.present["x"]) is type(batch["x"])


@pytest.mark.parametrize("kind", KINDS)
def test_only_and_without(kind):
    batch = make(kind)
    only = batch.only("sound")
    assert only.modalities == batch.modalities
    np.testing.assert_array_equal(plain(only["sound"]), plain(batch["sound"]))
    np.testing.assert_array_equal(plain(only.present["sound"]), plain(batch.present["sound"]))
    for name in ("image", "word"):
        assert not plain(only.present[name]).any()
        assert not plain(only[name]).any()
    same(batch.without("image", "word"), only)
    same(batch.without(), batch)
    assert not any(plain(m).any() for m in batch.only().present.values())
    same(batch, make(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_select(kind):
    batch = make(kind).select("word", "image")
    assert batch.modalities == ("word", "image")
    assert set(batch.present) == {"word", "image"}
    np.testing.assert_array_equal(plain(batch["word"]), plain(make(kind)["word"]))
    empty = make(kind).select()
    assert empty.modalities == ()
    assert len(empty) == 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "key",
    [
        slice(1, 4),
        slice(None, None, 2),
        [3, 0],
        np.array([4, 1, 1]),
        2,
        -1,
        np.int64(3),
        [],
        [True, False, True, False, False],
    ],
)
def test_rows(kind, key):
    batch, rows = make(kind), np.atleast_1d(np.arange(5)[key])
    part = batch[key]
    assert len(part) == len(rows)
    for name in batch:
        np.testing.assert_array_equal(plain(part[name]), plain(batch[name])[rows], strict=True)
        np.testing.assert_array_equal(plain(part.present[name]), plain(batch.present[name])[rows], strict=True)
    np.testing.assert_array_equal(plain(part.label), rows)


@pytest.mark.parametrize("kind", KINDS)
def test_with_present_may_only_hide(kind):
    to, batch = mover(kind), make(kind)
    shown = batch.with_present({name: to(np.ones(5, dtype=bool)) for name in batch})
    same(shown, batch)
    half = np.array([True, True, False, False, True])
    part = batch.with_present({"sound": to(half)})
    np.testing.assert_array_equal(plain(part.present["sound"]), plain(batch.present["sound"]) & half)
    np.testing.assert_array_equal(plain(part["sound"])[~half], 0.0)
    np.testing.assert_array_equal(plain(part["image"]), plain(batch["image"]))


@pytest.mark.parametrize("kind", KINDS)
def test_several_encoding_subsets_at_once(kind):
    """Masks with leading axes leave the values as they are: each subset is applied where it is used."""
    to, batch = mover(kind), make(kind)
    masks = np.stack([np.ones(5, dtype=bool), np.arange(5) < 2])
    many = batch.with_present({"sound": to(masks)})
    np.testing.assert_array_equal(plain(many.present["sound"]), masks & plain(batch.present["sound"]))
    np.testing.assert_array_equal(plain(many["sound"]), plain(batch["sound"]))
    assert plain(many[1:3].present["sound"]).shape == (2, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_observed(kind):
    to = mover(kind)
    masks = {"a": to(np.array([True, False, False])), "b": to(np.array([False, True, False]))}
    batch = Batch({n: to(np.ones((3, 1))) for n in masks}, masks)
    np.testing.assert_array_equal(plain(batch.observed()), [True, True, False], strict=True)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_name(kind):
    batch = make(kind)
    with pytest.raises(ModalityError, match=r"Expected a modality among \['image', 'sound', 'word'\]; got 'text'"):
        batch["text"]
    for method in (batch.only, batch.without, batch.select):
        with pytest.raises(ModalityError, match=r"Expected modalities among .*; got \['text'\]"):
            method("sound", "text")


def test_parts_that_do_not_fit_together():
    ones = np.ones((3, 2))
    with pytest.raises(ModalityError, match="Expected 3 rows in modality 'b'; got 2"):
        Batch({"a": ones, "b": ones[:2]})
    with pytest.raises(ModalityError, match=r"present names \['b'\], but the batch has \['a'\]"):
        Batch({"a": ones}, {"b": np.ones(3, dtype=bool)})
    for mask in (np.ones(2, dtype=bool), np.ones(3), np.ones((3, 1), dtype=bool)):
        wanted = r"to be boolean of shape \(3,\) or, of elements, \(3, 2\); got"
        with pytest.raises(ModalityError, match=rf"Expected present\['a'\] {wanted}"):
            Batch({"a": ones}, {"a": mask})
    with pytest.raises(DataError, match="Expected 3 labels, one for each row; got 4"):
        Batch({"a": ones}, label=np.arange(4))
    with pytest.raises(ModalityError, match="at least one modality, or num=, the number of rows"):
        Batch({})
    assert len(Batch({}, num=4)) == 4


def test_modality_errors():
    kinds = r"\('vector', 'image', 'tokens', 'category', 'counts'\)"
    with pytest.raises(ModalityError, match=rf"Expected a kind among {kinds}; got 'video'"):
        Modality((3,), kind="video")
    with pytest.raises(ModalityError, match="needs vocabulary="):
        Modality((3,), kind="tokens")
    with pytest.raises(ModalityError, match="'tokens' or 'category' for a categorical likelihood; got 'vector'"):
        Modality((3,), likelihood="categorical")
    with pytest.raises(ModalityError, match="Expected padding to be a token id in .0, 5., .*; got 5"):
        Modality((3,), kind="tokens", vocabulary=5, padding=5)
    with pytest.raises(ModalityError, match="Expected a scale > 0, .learned. or .heteroscedastic.; got 'free'"):
        Modality((3,), scale="free")
    with pytest.raises(ModalityError, match=r"an axis for 'zero_inflated_poisson'; got \(\). Use \(1,\)"):
        Modality((), likelihood="zero_inflated_poisson")
    assert Modality([2, 3]).shape == (2, 3)


def test_validate_puts_modalities_in_the_program_s_order():
    batch = make()
    out = batch.validate({"word": SPEC["word"], "image": SPEC["image"]}, allow_empty_rows=True)
    same(out, batch.select("word", "image"))
    same(batch.validate(SPEC), batch)


BAD = {
    "missing": (lambda v: v.pop("sound"), ModalityError, "Modality 'sound' is missing from the batch, which has"),
    "shape": (
        lambda v: v.update(image=v["image"][:, 0]),
        ModalityError,
        r"Modality 'image': expected shape \(N, 1, 2, 2\); got \(5, 2, 2\)",
    ),
    "floats for tokens": (
        lambda v: v.update(word=v["word"] * 1.0),
        ModalityError,
        "Modality 'word': expected integer token ids; got dtype float64",
    ),
    "integers for floats": (
        lambda v: v.update(sound=v["sound"].astype(int)),
        ModalityError,
        "Modality 'sound': expected floats; got dtype int64",
    ),
    "booleans": (
        lambda v: v.update(image=v["image"] > 0.5),
        ModalityError,
        "Modality 'image': expected floats; got dtype bool",
    ),
    "inf": (lambda v: v["image"].__setitem__(4, np.inf), DataError, "'image': NaN or Inf where present, in rows 4"),
    "token too large": (
        lambda v: v["word"].__setitem__((1, 3), 7),
        DataError,
        r"'word': token ids outside \[0, 7\) where present, in rows 1",
    ),
    "negative token": (lambda v: v["word"].__setitem__((0, 0), -1), DataError, "'word': token ids outside"),
}


@pytest.mark.parametrize("case", BAD)
def test_validate_names_the_modality_and_the_rows(case):
    spoil, error, message = BAD[case]
    values, _ = arrays()
    spoil(values)
    with pytest.raises(error, match=message):
        Batch(values).validate(SPEC)


def test_validate_shows_five_rows_at_most():
    values, _ = arrays(9)
    values["sound"][1:] = np.inf
    with pytest.raises(DataError, match=r"in rows 1, 2, 3, 4, 5 and 3 more\."):
        Batch(values).validate(SPEC)


def test_validate_and_rows_without_any_modality():
    values, _ = arrays()
    empty = Batch(values, {name: np.arange(5) != 3 for name in values})
    with pytest.raises(
        DataError, match=r"No modality is present in rows 3. Remove these rows: batch\[batch.observed\(\)\]"
    ):
        empty.validate(SPEC)
    same(empty.validate(SPEC, allow_empty_rows=True), empty)


def test_validate_lets_pass_what_is_wrong_where_nothing_is_present():
    values, present = arrays()
    values["sound"][~present["sound"]] = np.nan
    values["word"][~present["word"]] = -5
    Batch(values, present).validate(SPEC)


# Properties, over any masks and any rows --------------------------------------------------------------------------

MASKS = hnp.arrays(bool, (4, 3))
FLOATS = hnp.arrays(np.float32, (4, 3, 2), elements=st.floats(width=32, allow_nan=False, allow_infinity=True))
NAMES = ("a", "b", "c")


def build(values, masks):
    return Batch({n: values[:, i] for i, n in enumerate(NAMES)}, {n: masks[:, i] for i, n in enumerate(NAMES)})


@given(FLOATS, FLOATS, MASKS)
def test_two_batches_that_differ_only_where_absent_are_the_same(one, two, masks):
    mixed = np.where(masks[..., None], one, two)
    same(build(one, masks), build(mixed, masks))


@given(FLOATS, MASKS, st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_hiding_twice_is_hiding_the_union(values, masks, first, second):
    batch = build(values, masks)
    same(batch.without(*first).without(*second), batch.without(*(first | second)))
    same(batch.only(*first).only(*second), batch.only(*(first & second)))
    same(batch.only(*first), batch.without(*(set(NAMES) - first)))


@given(FLOATS, MASKS, MASKS, st.lists(st.integers(-4, 3), max_size=6))
def test_rows_and_masks_commute(values, masks, more, rows):
    batch, rows = build(values, masks), np.asarray(rows, dtype=int)
    hide = {n: more[:, i] for i, n in enumerate(NAMES)}
    same(batch.with_present(hide)[rows], batch[rows].with_present({n: m[rows] for n, m in hide.items()}))
    np.testing.assert_array_equal(batch.with_present(hide).observed(), (masks & more).any(1))
    same(batch.with_present(hide), batch.with_present(hide).with_present(hide))


@given(FLOATS, MASKS)
def test_a_finite_batch_is_what_validate_lets_pass(values, masks):
    spec = {n: Modality((2,)) for n in NAMES}
    bad = (~np.isfinite(values).all(-1) & masks).any()
    if bad or not masks.any(1).all():
        with pytest.raises(DataError):
            build(values, masks).validate(spec)
    else:
        same(build(values, masks).validate(spec), build(values, masks))
