"""What arrays are taken for, and what is refused."""

import numpy as np
import pytest
import scipy.sparse

from mmppl.batch import Batch, Modality
from mmppl.data import load, read_npz, write_npz
from mmppl.data.arrays import batch_of, taken
from mmppl.data.kinds import fit_to, infer_modality, kinds_table
from mmppl.errors import DataError, DataWarning, MissingWarning, ModalityError, OptionError

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(0.5, (20, 6))
BITS = RNG.integers(0, 2, (20, 3))
VECTOR = {"kind": "vector", "likelihood": "normal"}
TAKEN = {
    "texts": (np.array(["b", "a"] * 10), (), {"kind": "category", "names": ("a", "b"), "categories": 2}),
    "ids": (np.arange(20) % 3, (), {"kind": "category", "names": None, "categories": 3}),
    "ages": (20 + np.arange(300) % 60, (), VECTOR),
    "many ids": (np.arange(1000) % 500, (), {"kind": "category", "categories": 500}),
    "numbers of rows": (np.arange(1000), (), VECTOR),
    "years": (np.array([1990, 2020] * 10), (), VECTOR),
    "differences": (np.arange(20) - 5, (), VECTOR),
    "integers": (COUNTS.astype(np.int16), (6,), {"kind": "counts", "likelihood": "negative_binomial"}),
    "integer grids": (COUNTS.reshape(20, 2, 3), (2, 3), {"kind": "counts", "scale": "learned"}),
    "whole floats": (COUNTS.astype(np.float32), (6,), {"kind": "counts"}),
    "whole floats without 0": (COUNTS + 1.0, (6,), VECTOR),
    "one whole float": (COUNTS[:, :1].astype(float), (1,), VECTOR),
    "sparse": (scipy.sparse.csr_matrix(COUNTS), (6,), {"kind": "counts"}),
    "booleans": (BITS.astype(bool), (3,), {"kind": "vector", "likelihood": "bernoulli"}),
    "float bits": (BITS.astype(np.float32), (3,), {"kind": "vector", "likelihood": "bernoulli"}),
    "boolean pictures": (RNG.random((20, 1, 2, 2)) > 0.5, (1, 2, 2), {"kind": "image", "likelihood": "bernoulli"}),
    "ones": (np.ones((20, 3)), (3,), VECTOR),
    "floats": (RNG.normal(size=(20, 3)), (3,), VECTOR),
    "numbers": (RNG.normal(size=20), (), VECTOR),
    "pictures": (RNG.random((20, 3, 4, 4)), (3, 4, 4), {"kind": "image", "likelihood": "discretized_logistic"}),
    "pictures of any number": (RNG.normal(size=(20, 3, 4, 4)), (3, 4, 4), {"kind": "image", "likelihood": "laplace"}),
    "grey": (RNG.random((20, 4, 5)), (1, 4, 5), {"kind": "image"}),
    "grey bytes": (RNG.integers(0, 256, (20, 4, 5), np.uint8), (1, 4, 5), {"kind": "image"}),
    "series": (RNG.normal(size=(20, 4, 5)), (4, 5), VECTOR),
}


@pytest.mark.parametrize("what", TAKEN)
def test_what_an_array_is_taken_for(what):
    array, shape, fields = TAKEN[what]
    values, there, modality = infer_modality("x", array)
    assert modality.shape == shape
    assert {name: getattr(modality, name) for name in fields} == fields
    assert there.all()
    Batch({"x": values}).validate({"x": modality})


def test_values_are_kept():
    np.testing.assert_array_equal(infer_modality("x", COUNTS)[0], COUNTS)
    assert infer_modality("x", COUNTS.astype(np.uint16))[0].dtype == np.int64
    assert infer_modality("x", COUNTS.astype(np.float32))[0].dtype == np.float32
    assert infer_modality("x", np.array(["b", "a", "b"]))[0].tolist() == [1, 0, 1]
    np.testing.assert_array_equal(infer_modality("x", np.full((2, 3, 3), 51, np.uint8))[0], np.float32(0.2))
    assert infer_modality("x", RNG.normal(size=(4, 2)))[0].dtype == np.float64


def test_a_row_without_any_value_is_missing():
    floats = np.array([[np.nan, np.nan], [1.5, 2.5], [0.5, 1.0]])
    for array in (floats, floats[:, 0], np.array([None, "a", "b"], object), np.array([np.nan, "a", "b"], object)):
        values, there, _ = infer_modality("x", array)
        assert there.tolist() == [False, True, True]
        assert not values[0].any()
    batch, _ = batch_of({"x": floats, "x__present": np.array([True, False, True]), "y": np.arange(3.0)})
    assert batch.present["x"].tolist() == [False, False, True]


def test_a_float_that_is_nan_is_a_missing_element_and_is_said():
    x = np.array([[np.nan, 1.0], [0.5, 2.0], [np.nan, np.nan]])
    with pytest.warns(MissingWarning, match=r"Modality 'x': 3 of 6 values \(50.0%\) are NaN"):
        batch, modalities = batch_of({"x": x})
    np.testing.assert_array_equal(batch.there("x"), ~np.isnan(x))
    assert modalities["x"].partial
    assert batch.present["x"].tolist() == [True, True, False]
    assert "50%" in kinds_table(modalities, batch)


def test_rules_look_at_what_is_observed_alone():
    """Ones and gaps are no bits, counts and gaps are counts, and what a mask hides is not looked at."""
    ones = np.array([[1.0, np.nan], [1.0, 1.0]])
    counts = np.array([[0.0, 3.0], [np.nan, 2.0]])
    there = np.array([[True, False], [True, True]])
    with pytest.warns(MissingWarning):
        _, found = batch_of({"ones": ones, "counts": counts})
    assert (found["ones"].likelihood, found["counts"].kind) == ("normal", "counts")
    ids = np.array([[1, -7], [0, 4]])
    batch, found = batch_of({"rna": ids, "rna__present": there, "grey": np.ones((2, 1, 2), np.uint8)})
    assert (found["rna"].kind, found["rna"].partial, found["grey"].partial) == ("counts", True, False)
    assert batch["rna"].tolist() == [[1, 0], [0, 4]]
    grey, found = batch_of({"grey": np.full((2, 1, 2), 51, np.uint8), "grey__present": there[:, None]})
    assert grey.there("grey").shape == (2, 1, 1, 2)
    with pytest.raises(ModalityError, match=r"boolean of shape \(2,\) or, of elements, \(2, 2\); got bool \(2, 3\)"):
        batch_of({"x": np.ones((2, 2)), "x__present": np.ones((2, 3), bool)})


@pytest.mark.parametrize(
    ("kind", "array", "shape", "dtype"),
    [
        ("tokens", COUNTS, (6,), "int64"),
        ("vector", COUNTS, (6,), "float32"),
        ("vector", COUNTS[:, 0], (), "float32"),
        ("category", COUNTS[:, 0].astype(float), (), "int64"),
        ("category", COUNTS[:, :1], (), "int64"),
        ("category", BITS[:, 0].astype(bool), (), "int64"),
        ("counts", COUNTS[:, 0], (), "int64"),
        ("counts", COUNTS + 1.0, (6,), "float64"),
        ("vector", RNG.random((20, 4, 5)), (4, 5), "float64"),
        ("image", BITS.reshape(20, 1, 3).astype(bool), (1, 1, 3), "float32"),
    ],
)
def test_what_is_said_goes_before_the_rules(kind, array, shape, dtype):
    values, _, modality = infer_modality("x", array, kind)
    assert (modality.kind, modality.shape, str(values.dtype)) == (kind, shape, dtype)
    Batch({"x": values}).validate({"x": modality})


@pytest.mark.parametrize(
    ("array", "kind", "message"),
    [
        (COUNTS - 1, None, r"'x': expected counts \(0, 1, 2, ...\) in an array of integers of shape \(20, 6\); got -1"),
        (COUNTS - 1, "counts", "'x': expected counts .*; got others, in rows "),
        (COUNTS + 0.5, "counts", "'x': expected counts .* Say kind 'vector' for numbers"),
        (np.array([["a"], ["b"]]), "vector", r"'x': expected numbers; got texts, such as \['a'\]"),
        (np.array([["a", "c"], ["b", "c"]]), None, r"'x': expected a category, an array \(N,\); got shape \(2, 2\)"),
        (np.array([0.5, 1.5]), "category", "'x': expected categories, texts or whole numbers from 0 on; got others"),
        (COUNTS, "image", "'x': expected an image .*; got dtype int64"),
        (np.array([object(), "a"], object), None, "'x': expected texts or numbers alone; got objects of type"),
        (np.array(["2020-01-01"], "M8[D]"), None, "'x': expected numbers or texts; got dtype datetime64"),
        (np.float64(3.0), None, r"'x': expected an array \(N, \*event\); got one of shape \(\)"),
    ],
)
def test_what_does_not_fit_is_refused(array, kind, message):
    with pytest.raises(DataError, match=message):
        infer_modality("x", array, kind)


def test_rows_for_a_program_take_its_classes():
    pet = Modality((), kind="category", names=("cat", "dog"))
    values, there = fit_to("pet", np.array(["dog", None], object), pet)
    assert (values.tolist(), there.tolist()) == ([1, 0], [True, False])
    assert fit_to("pet", np.array([1, 0]), pet)[0].tolist() == [1, 0]
    with pytest.raises(DataError, match=r"'pet': expected categories among \['cat', 'dog'\]; got \['cow'\]"):
        fit_to("pet", np.array(["dog", "cow"]), pet)
    with pytest.raises(DataError, match="'pet': expected ids of classes below 2; got texts"):
        fit_to("pet", np.array(["dog"]), Modality((), kind="category", categories=2))
    with pytest.raises(DataError, match=r"Modality 'pet': categories outside \[0, 2\) where present, in rows 0"):
        batch_of({"pet": np.array([2, 1])}, modalities={"pet": pet})
    with pytest.raises(ModalityError, match=r"Modality 'v': expected shape \(N, 3\); got \(4, 2\)"):
        fit_to("v", np.ones((4, 2)), Modality((3,)))
    assert fit_to("g", np.ones((4, 2, 3)), Modality((1, 2, 3), kind="image"))[0].shape == (4, 1, 2, 3)
    with pytest.raises(ModalityError, match="Unknown modality 'x' in arrays; the program has pet. Leave it out"):
        batch_of({"x": np.ones((2, 2))}, modalities={"pet": pet})


def test_files_say_kinds_and_so_may_who_reads_them(tmp_path):
    path = write_npz(
        tmp_path / "a.npz", {"rna": COUNTS, "word": COUNTS, "word__kind": np.array("tokens"), "k": BITS[:, 0]}
    )
    kinds = {n: m.kind for n, m in load(path).modalities.items()}
    assert kinds == {"rna": "counts", "word": "tokens", "k": "category"}
    assert load(path, kinds={"rna": "tokens", "word": "counts"}).modalities["rna"].vocabulary == COUNTS.max() + 1
    assert read_npz(path, kinds={"rna": "vector"})["rna"].dtype == np.float32
    with pytest.raises(OptionError, match=r"Expected kinds of modalities among \['rna', 'word', 'k'\]; got 'dna'"):
        load(path, kinds={"dna": "counts"})
    with pytest.raises(OptionError, match="Expected no kinds with built-in data"):
        load("polydigits", kinds={"word": "counts"})


def test_a_table_says_what_everything_was_taken_for():
    batch, modalities = batch_of({"rna": COUNTS, "pet": np.array(["cat", "dog"] * 10), "w": np.r_[np.nan, np.ones(19)]})
    lines = kinds_table(modalities, batch).splitlines()
    assert [line.split() for line in lines] == [
        ["modality", "kind", "shape", "likelihood", "scale", "present"],
        ["rna", "counts", "6", "negative_binomial", "learned", "100%"],
        ["pet", "category", "2", "classes", "categorical", "100%"],
        ["w", "vector", "1", "normal", "learned", "95%"],
    ]


def test_where_a_batch_is_wanted_others_are_refused():
    modalities = {"x": Modality((2,))}
    assert taken({"x": np.array([[1, 2], [3, 4]])}, modalities)["x"].dtype == np.float32
    given = Batch({"x": np.ones((2, 2))})
    assert taken(given, modalities) is given
    for wrong, message in (
        ([1, 2], r"Expected a Batch, or arrays \(N, ...\) by name of modality; got a list. Put the arrays"),
        (iter([]), "got a list_iterator"),
        (load("linear_gaussian"), "got a Dataset. Take a part of the data set, such as data.train"),
    ):
        with pytest.raises(DataError, match=message):
            taken(wrong, modalities)
    with pytest.raises(ModalityError, match="Expected names of modalities to be texts .*; got 3, of type int"):
        taken({3: np.ones((2, 2))}, modalities)
    with pytest.raises(DataError, match=r"Expected 'label' of shape \(N,\) in arrays; got \(2, 1\)"):
        taken({"x": np.ones((2, 2)), "label": np.ones((2, 1))}, modalities)


def test_texts_that_name_rows_are_no_classes_unless_it_is_said():
    names = np.array([f"row {i % 19}" for i in range(20)])
    message = (
        "Modality 'id': expected texts that are classes, most of them of several rows; got 19 different ones in 20"
    )
    with pytest.raises(DataError, match=message):
        infer_modality("id", names)
    assert infer_modality("id", names, kind="category")[2].categories == 19
    assert infer_modality("id", names[:19])[2].categories == 19  # of few rows all may differ
    with pytest.raises(DataError, match="such as 'row 0'. Leave it out, as names of the rows"):
        batch_of({"id": names, "x": np.ones((20, 2))})


@pytest.mark.parametrize("shape", [(6, 8, 8, 3), (6, 8, 8, 1)])
def test_images_whose_channels_stand_last_are_told(shape):
    """Other packages keep pictures so; read as eight channels they were fitted without a word."""
    x = RNG.integers(0, 256, shape, np.uint8)
    with pytest.warns(
        DataWarning, match=r"channels seem to stand last in shape \(6, 8, 8, .\); np.moveaxis\(x, -1, 1\)"
    ):
        infer_modality("photo", x)
    assert infer_modality("photo", np.moveaxis(x, -1, 1))[2].shape == (shape[-1], 8, 8)
