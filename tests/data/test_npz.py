import pickle

import numpy as np
import pytest

from mmppl.batch import Batch
from mmppl.data import load, minibatches, read_npz, write_npz
from mmppl.errors import DataError, ModalityError, OptionError

RNG = np.random.default_rng(0)


@pytest.fixture
def arrays():
    return {
        "picture": RNG.integers(0, 256, (10, 1, 4, 4)).astype(np.uint8),
        "vector": RNG.standard_normal((10, 3)),
        "text": RNG.integers(0, 7, (10, 5)).astype(np.int32) | 1,
        "text__kind": np.array("tokens"),
        "vector__present": np.arange(10) % 3 > 0,
        "label": np.arange(10),
    }


def test_read_follows_the_contract(tmp_path, arrays):
    batch = read_npz(write_npz(tmp_path / "a.npz", arrays))
    assert batch.modalities == ("picture", "vector", "text")
    assert batch["picture"].dtype == np.float32
    np.testing.assert_array_equal(batch["picture"], arrays["picture"].astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(batch.present["vector"], arrays["vector__present"])
    np.testing.assert_array_equal(batch["vector"][1:3], arrays["vector"][1:3])
    assert not batch["vector"][0].any()
    np.testing.assert_array_equal(batch["text"], arrays["text"])
    np.testing.assert_array_equal(batch.label, arrays["label"])


def test_a_batch_comes_back_as_it_was_written(tmp_path, arrays):
    batch = read_npz(write_npz(tmp_path / "a.npz", arrays))
    again = read_npz(write_npz(tmp_path / "b.npz", batch))
    for name in batch:
        np.testing.assert_array_equal(again[name], batch[name])
        np.testing.assert_array_equal(again.present[name], batch.present[name])
    np.testing.assert_array_equal(again.label, batch.label)


def test_load_infers_modalities_and_splits_by_seed(tmp_path, arrays):
    path = write_npz(tmp_path / "mine.npz", arrays)
    data = load(path)
    assert data.name == "mine"
    assert {name: (m.kind, m.shape) for name, m in data.modalities.items()} == {
        "picture": ("image", (1, 4, 4)),
        "vector": ("vector", (3,)),
        "text": ("tokens", (5,)),
    }
    assert data.modalities["text"].vocabulary == arrays["text"].max() + 1
    assert (len(data.train), len(data.test)) == (8, 2)
    np.testing.assert_array_equal(np.sort(np.r_[data.train.label, data.test.label]), arrays["label"])
    np.testing.assert_array_equal(data.train["text"], arrays["text"][data.train.label])
    np.testing.assert_array_equal(load(path).train.label, data.train.label)
    assert not np.array_equal(load(path, seed=1).train.label, data.train.label)


def test_nan_is_an_error_only_where_present(tmp_path, arrays):
    arrays["vector"][[0, 3]] = np.nan
    read_npz(write_npz(tmp_path / "hidden.npz", arrays))
    arrays["vector"][[1, 4]] = np.inf
    with pytest.raises(DataError, match="Modality 'vector': NaN or Inf where present, in rows 1, 4"):
        read_npz(write_npz(tmp_path / "bad.npz", arrays))


def test_masks_of_elements_come_back_as_they_were_written(tmp_path, arrays):
    there = np.random.default_rng(0).random(arrays["vector"].shape) < 0.5
    batch = Batch({"vector": arrays["vector"]}, {"vector": there})
    again = read_npz(write_npz(tmp_path / "a.npz", batch))
    np.testing.assert_array_equal(again.there("vector"), there)
    np.testing.assert_array_equal(again["vector"], np.where(there, arrays["vector"], 0))
    assert load(tmp_path / "a.npz").modalities["vector"].partial


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"label": np.arange(9)}, DataError, "Expected 10 labels, one for each row; got 9"),
        ({"label": np.ones((10, 1))}, DataError, r"Expected 'label' of shape \(N,\)"),
        ({"vector": np.ones((9, 3))}, ModalityError, "Expected 10 rows in modality 'vector'; got 9"),
        ({"vector__present": np.ones(10)}, ModalityError, r"Expected present\['vector'\] to be boolean"),
        ({"other__present": np.ones(10, bool)}, DataError, "'other__present' has no array 'other' beside it"),
        ({"vector": np.ones((10, 3), complex)}, DataError, "Modality 'vector': expected numbers or texts; got dtype c"),
        ({"text": np.full((10, 5), -1)}, DataError, r"Modality 'text': token ids outside"),
        ({"text": np.ones((10, 5))}, DataError, "Modality 'text': expected integer token ids; got dtype float64"),
        ({"text": np.arange(10)}, DataError, r"Modality 'text': expected integer token ids; .* and shape \(10,\)"),
        ({"other__kind": np.array("tokens")}, ModalityError, "Expected names of modalities other .* got 'other__kind'"),
        ({"text__kind": np.array("words")}, OptionError, "Expected a kind of 'text' among vector, .*; got 'words'"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, arrays, change, error, message):
    path = write_npz(tmp_path / "bad.npz", arrays | change)
    with pytest.raises(error, match=message):
        read_npz(path)


def test_pickles_and_foreign_files_are_refused(tmp_path, arrays):
    objects = tmp_path / "objects.npz"
    np.savez(objects, a=np.array([{"x": 1}, None], dtype=object))
    with pytest.raises(DataError, match="it holds pickled objects"):
        read_npz(objects)
    whole = write_npz(tmp_path / "whole.npz", arrays).read_bytes()
    foreign = {"pickle": pickle.dumps([1]), "text": b"hello", "empty": b"", "half": whole[: len(whole) // 2]}
    foreign["flipped"] = whole[:200] + bytes(b ^ 255 for b in whole[200:260]) + whole[260:]
    for name, content in foreign.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(content)
        with pytest.raises(DataError, match="corrupt or of another format"):
            read_npz(path)
    bare = tmp_path / "bare.npz"
    with bare.open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(DataError, match="corrupt or of another format"):
        read_npz(bare)
    with pytest.raises(DataError, match="which is not a file"):
        read_npz(tmp_path / "none.npz")
    np.savez(tmp_path / "no_arrays.npz")
    with pytest.raises(DataError, match="Expected at least one modality"):
        read_npz(tmp_path / "no_arrays.npz")


def test_write_refuses_what_exists_and_leaves_nothing_half_written(tmp_path):
    path = write_npz(tmp_path / "a.npz", {"v": np.ones((2, 1))})
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"which exists. Pass force \(--force\)"):
        write_npz(path, {"v": np.zeros((2, 1))})
    with pytest.raises(DataError, match="Expected plain arrays; got objects in 'v'"):
        write_npz(path, {"v": np.array([None, 1])}, force=True)
    assert path.read_bytes() == before
    write_npz(path, {"v": np.zeros((2, 1))}, force=True)
    assert not read_npz(path)["v"].any()
    with pytest.raises(DataError, match="Make the folder first"):
        write_npz(tmp_path / "no" / "a.npz", {})
    with pytest.raises(DataError, match="A modality cannot be called 'label'"):
        write_npz(tmp_path / "b.npz", Batch({"label": np.ones((2, 1))}))
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


def test_a_write_that_fails_midway_keeps_the_old_file(tmp_path, monkeypatch):
    path = write_npz(tmp_path / "a.npz", {"v": np.ones((2, 1))})

    def full(file, **arrays):
        file.write(b"half")
        raise OSError("No space left")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(DataError, match="cannot be written: No space left. Nothing of it is left"):
        write_npz(path, {"v": np.zeros((2, 1))}, force=True)
    assert read_npz(path)["v"].all()
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


def test_unknown_names_and_options(tmp_path):
    with pytest.raises(
        OptionError, match="Unknown data 'cifar'. Expected one of polydigits, linear_gaussian, glyphs, poly"
    ):
        load("cifar")
    with pytest.raises(OptionError, match="Unknown option 'size' of data 'polydigits'"):
        load("polydigits", size=3)
    with pytest.raises(OptionError, match="Data 'polydigits' is built in and needs no root"):
        load("polydigits", root=tmp_path)
    with pytest.raises(OptionError, match=r"Data 'polymnist' is read from a folder. Pass root \(--data-root\)"):
        load("polymnist")
    with pytest.raises(OptionError, match="Expected no options with a .npz file; got"):
        load("a.npz", size=1)
    with pytest.raises(OptionError, match=r"Expected no root \(--data-root\) with a file, 'a.npz'"):
        load("a.npz", root=tmp_path)
    with pytest.raises(DataError, match="Expected at least 2 rows"):
        load(write_npz(tmp_path / "one.npz", {"v": np.ones((1, 1))}))


def test_minibatches_are_a_function_of_seed_and_epoch():
    rows = Batch({"x": np.arange(10.0)[:, None]}, {"x": np.arange(10) > 0}, label=np.arange(10))

    def order(**kwargs):
        return [batch.label.tolist() for batch in minibatches(rows, 4, **kwargs)]

    first = order(seed=0, epoch=3)
    assert [len(batch) for batch in first] == [4, 4]
    assert order(seed=0, epoch=3) == first
    assert order(seed=0, epoch=4) != first
    assert order(seed=1, epoch=3) != first
    whole = order(seed=0, epoch=3, drop_last=False)
    assert whole[:2] == first
    assert sorted(sum(whole, [])) == list(range(10))
    batch = next(minibatches(rows, 4, seed=0, epoch=0))
    np.testing.assert_array_equal(batch["x"][:, 0], batch.label)
    np.testing.assert_array_equal(batch.present["x"], batch.label > 0)


@pytest.mark.parametrize("size", [0, 11])
def test_minibatch_size_out_of_range(size):
    rows = Batch({"x": np.ones((10, 1))})
    with pytest.raises(OptionError, match=f"size .*got {size}"):
        minibatches(rows, size, seed=0, epoch=0)
    with pytest.raises(OptionError, match="Expected epoch >= 0; got -1"):
        minibatches(rows, 1, seed=0, epoch=-1)
