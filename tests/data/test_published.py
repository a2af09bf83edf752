"""Builders of published data sets, on small folders of their layouts whose values tell what they are."""

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from mmppl.data import Vocabulary, load, write_npz
from mmppl.data.celebamask_hq import ATTRIBUTES
from mmppl.errors import DataError, OptionError


def _digits(num, side, channels=None, seed=0):
    """Pictures of one brightness that is ten times their class, plus their number among those of the class."""
    labels = np.random.default_rng(seed).permutation(np.arange(num) % 4)
    tell = 10 * labels + np.arange(num) % 7
    shape = (num, side, side) if channels is None else (num, side, side, channels)
    return np.broadcast_to(tell.reshape(-1, *(1,) * (len(shape) - 1)), shape).astype(np.uint8), labels


def _mnist(root):
    arrays = {}
    for seed, (split, num) in enumerate({"train": 40, "test": 12}.items()):
        arrays[f"x_{split}"], arrays[f"y_{split}"] = _digits(num, 28, seed=seed)
    write_npz(root / "mnist.npz", arrays)


def _check_pairs(batch):
    for name in ("mnist", "svhn"):
        flat = np.rint(batch[name].reshape(len(batch), -1) * 255)
        np.testing.assert_array_equal(flat.min(1), flat.max(1))
        np.testing.assert_array_equal(flat[:, 0] // 10, batch.label)


@pytest.fixture
def house_numbers(tmp_path):
    """SVHN as published: the class 0 is written 10."""
    _mnist(tmp_path)
    for seed, (split, num) in enumerate({"train": 24, "test": 8}.items()):
        x, y = _digits(num, 32, 3, seed + 9)
        savemat(tmp_path / f"{split}_32x32.mat", {"X": x.transpose(1, 2, 3, 0), "y": np.where(y == 0, 10, y)[:, None]})
    return tmp_path


def test_mnist_svhn_pairs_classes(house_numbers):
    data = load("mnist_svhn", root=house_numbers)
    assert (data.name, len(data.train), len(data.test)) == ("mnist_svhn", 24, 8)
    assert data.train["svhn"].shape == (24, 3, 32, 32)
    assert data.train["mnist"].shape == (24, 1, 28, 28)
    assert data.published["mnist"].weight == 3072 / 784
    assert (data.published["svhn"].likelihood, data.published["svhn"].scale) == ("laplace", 0.75)
    assert data.modalities["mnist"].weight == 1.0
    for part in (data.train, data.test):
        _check_pairs(part)
    assert not np.array_equal(data.train.label, np.sort(data.train.label))
    many = load("mnist_svhn", root=house_numbers, pairings=3, num_test=5)
    assert (len(many.train), len(many.test)) == (72, 5)
    _check_pairs(many.train)
    pairs = {tuple(np.rint(255 * v[i].flat[0]) for v in many.train.values.values()) for i in range(72)}
    assert len(pairs) > 24  # the pairings differ


def test_mnist_svhn_text_names_the_digit_at_any_place(house_numbers):
    data = load("mnist_svhn_text", root=house_numbers, pairings=4)
    assert (data.name, list(data.modalities), len(data.train)) == ("mnist_svhn_text", ["mnist", "svhn", "text"], 96)
    _check_pairs(data.train)
    for part in (data.train, data.test):
        texts = ["".join(" abcdefghijklmnopqrstuvwxyz"[i] for i in row) for row in part["text"]]
        assert [text.strip() for text in texts] == [("zero", "one", "two", "three")[i] for i in part.label]
    starts = {
        text.index("o") for text in ["".join(map(chr, row + 96)) for row in data.train["text"][data.train.label == 1]]
    }
    assert starts == {0, 1, 2, 3, 4}


def test_a_part_of_svhn_is_split_by_photographs(tmp_path):
    _mnist(tmp_path)
    x, y = _digits(40, 32, 3, 5)
    photo = np.repeat(np.arange(10), 4).astype(np.uint16)
    x[:, 0, 0, 0] = photo
    write_npz(tmp_path / "svhn_part.npz", {"x": x, "y": y, "photo": photo})
    data = load("mnist_svhn", root=tmp_path)
    assert data.name == "mnist_svhn_part"
    seen = {split: set(np.rint(getattr(data, split)["svhn"][:, 0, 0, 0] * 255)) for split in ("train", "test")}
    assert max(seen["train"]) <= 7
    assert min(seen["test"]) >= 8


def test_mnist_svhn_says_what_is_missing(house_numbers, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    _mnist(other)
    with pytest.raises(DataError, match=r"Expected train_32x32.mat and test_32x32.mat, or svhn_part.npz"):
        load("mnist_svhn", root=other)
    with pytest.raises(OptionError, match="Expected pairings >= 1; got 0"):
        load("mnist_svhn", root=house_numbers, pairings=0)
    (house_numbers / "test_32x32.mat").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"Expected a MATLAB file of SVHN"):
        load("mnist_svhn", root=house_numbers)
    x, _ = _digits(8, 32, 3)
    savemat(house_numbers / "test_32x32.mat", {"X": x.transpose(1, 2, 3, 0), "y": np.full((8, 1), 9)})
    with pytest.raises(DataError, match=r"class \d stands in one of them only"):
        load("mnist_svhn", root=house_numbers)


def test_mhd_from_plain_arrays(tmp_path):
    with pytest.raises(DataError, match=r"Expected mhd_train.pt or mhd_train.npz"):
        load("mhd", root=tmp_path)
    shapes = {"image": (1, 28, 28), "sound": (1, 32, 128), "trajectory": (200,)}
    for split, num in {"train": 6, "test": 3}.items():
        label = np.arange(num)
        values = {
            name: np.broadcast_to(label.reshape(-1, *(1,) * len(s)) / 10, (num, *s)) for name, s in shapes.items()
        }
        write_npz(
            tmp_path / f"mhd_{split}.npz", {**{k: v.astype(np.float32) for k, v in values.items()}, "label": label}
        )
    data = load("mhd", root=tmp_path, num_train=5)
    assert {name: m.shape for name, m in data.modalities.items()} == shapes
    assert len(data.train) == 5
    for name in shapes:
        np.testing.assert_allclose(data.train[name].reshape(5, -1)[:, -1] * 10, data.train.label, rtol=1e-6)
    write_npz(tmp_path / "mhd_test.npz", {"image": np.zeros((3, 1, 8, 8)), "label": np.arange(3)}, force=True)
    with pytest.raises(DataError, match=r"Expected 'image' of shape \(N, 1, 28, 28\) .* got \(1, 8, 8\)"):
        load("mhd", root=tmp_path)


CLASSES = {"train": ("001.A", "003.C"), "test": ("002.B",)}


def _birds(folder, classes, first):
    """Pictures whose red is their number; captions that name it."""
    lines, number = [], first
    for name in classes:
        (folder / name).mkdir(parents=True)
        for _ in range(2):
            colour = np.full((9, 12, 3), (number, 0, 0), np.uint8)
            Image.fromarray(colour).save(folder / name / f"{name}_{number}.png")
            lines.append([f"A bird, number n{number}, caption c{k}." for k in range(10)])
            number += 1
    return lines


@pytest.mark.parametrize("layout", ["of VAEs", "sources"])
def test_cub_pairs_pictures_and_captions(tmp_path, layout):
    if layout == "of VAEs":
        for split, first in (("train", 10), ("test", 50)):
            lines = _birds(tmp_path / split, CLASSES[split], first)
            name = "text_trainvalclasses.txt" if split == "train" else "text_testclasses.txt"
            (tmp_path / name).write_text("\n".join(sum(lines, [])))
    else:
        for split, first in (("train", 10), ("test", 50)):
            lines = iter(_birds(tmp_path / "images", CLASSES[split], first))
            for name in CLASSES[split]:
                folder = tmp_path / "text_c10" / name
                folder.mkdir(parents=True)
                for file in sorted((tmp_path / "images" / name).iterdir()):
                    (folder / f"{file.stem}.txt").write_text("\n".join(next(lines)) + "\n")
            name = "trainvalclasses.txt" if split == "train" else "testclasses.txt"
            (tmp_path / name).write_text("\n".join(CLASSES[split]) + "\n")
    data = load("cub", root=tmp_path, side=8, captions=10, length=12)
    assert (len(data.train), len(data.test)) == (40, 20)
    assert data.modalities["sentence"].vocabulary == len(data.vocabulary)
    assert data.modalities["sentence"].padding == 0
    assert data.train["image"].shape == (40, 3, 8, 8)
    assert data.train["sentence"].shape == (40, 12)
    # Train and test are of other birds.
    assert set(data.train.label) == {0, 2}
    assert set(data.test.label) == {1}
    texts = data.vocabulary.decode(data.train["sentence"])
    for red, label, text in zip(data.train["image"][:, 0, 0, 0] * 255, data.train.label, texts, strict=True):
        number = round(float(red))
        assert f"number n{number} ," in text
        assert label == 2 * (number >= 12)
    assert "number <exc> ," in data.vocabulary.decode(data.test["sentence"])[0]  # a word that training lacks
    assert len(load("cub", root=tmp_path, side=8, num_train=3).train) == 3


def test_cub_says_what_does_not_fit(tmp_path):
    with pytest.raises(DataError, match=r"Expected train/ and test/, or images/ and text_c10/"):
        load("cub", root=tmp_path)
    with pytest.raises(OptionError, match=r"Expected captions in \[1, 10\], length >= 2"):
        load("cub", root=tmp_path, captions=11)
    lines = _birds(tmp_path / "train", CLASSES["train"], 10)
    with pytest.raises(DataError, match=r"text_trainvalclasses.txt, which is missing"):
        load("cub", root=tmp_path)
    (tmp_path / "text_trainvalclasses.txt").write_text("\n".join(sum(lines, [])[:-1]))
    with pytest.raises(DataError, match=r"Expected 10 lines .* got 39 lines and 4 pictures"):
        load("cub", root=tmp_path)


def test_captions_are_cut_and_end():
    words = Vocabulary.of(["it's a red, red bird", "a red bird"], at_least=2)
    assert words.words == ("<pad>", "<exc>", "<eos>", "red", "a", "bird")
    ids = words.encode(["it's a red, red bird", "bird", ""], length=4)
    assert ids.tolist() == [[1, 4, 3, 2], [5, 2, 0, 0], [2, 0, 0, 0]]
    assert words.decode(ids) == ["<exc> a red", "bird", ""]


@pytest.fixture
def faces(tmp_path):
    """Twelve faces: green tells i, half a mask is on, the skin everywhere, attribute k where i % (k + 2) is 0."""
    names = ["5_o_Clock_Shadow", *ATTRIBUTES[::-1], "Young"]
    (tmp_path / "CelebA-HQ-img").mkdir()
    (tmp_path / "CelebAMask-HQ-mask-anno" / "0").mkdir(parents=True)
    lines = ["12", " ".join(names)]
    for i in range(12):
        Image.fromarray(np.full((16, 16, 3), (0, 20 * i, 0), np.uint8)).save(
            tmp_path / "CelebA-HQ-img" / f"{i}.jpg", quality=100
        )
        masks = {"skin": np.full((8, 8), 255), "hair": np.zeros((8, 8)), "nose": np.zeros((8, 8))}
        masks["hair"][:4], masks["nose"][4:, : i % 3] = 255, 255
        for part, mask in masks.items():
            rgb = np.repeat(mask.astype(np.uint8)[..., None], 3, 2)
            Image.fromarray(rgb).save(tmp_path / "CelebAMask-HQ-mask-anno" / "0" / f"{i:05d}_{part}.png")
        held = [1 if name in ATTRIBUTES and i % (ATTRIBUTES.index(name) + 2) == 0 else -1 for name in names]
        lines.append(f"{i}.jpg  " + " ".join(map(str, held)))
    (tmp_path / "CelebAMask-HQ-attribute-anno.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_celebamask_hq_is_aligned(faces):
    data = load("celebamask_hq", root=faces, side=8)
    assert {name: (m.shape, m.likelihood) for name, m in data.modalities.items()} == {
        "image": ((3, 8, 8), "discretized_logistic"),
        "mask": ((1, 8, 8), "bernoulli"),
        "attributes": ((18,), "bernoulli"),
    }
    assert {name: m.likelihood for name, m in data.published.items()} == {
        "image": "laplace",
        "mask": "bernoulli",
        "attributes": "bernoulli",
    }
    seen = []
    for part in (data.train, data.test):
        assert part.label is None
        number = np.rint(part["image"][:, 1].mean((1, 2)) * 255 / 20).astype(int)
        np.testing.assert_array_equal(part["mask"].sum((1, 2, 3)), 32 + 4 * (number % 3))  # all parts but the skin
        np.testing.assert_array_equal(part["attributes"], number[:, None] % np.arange(2, 20) == 0)
        seen.append(set(number))
    assert seen[0] == {0, 1, 10, 11, 2, 3, 4, 5, 6, 7}
    assert seen[1] == {8, 9}


def test_celebamask_hq_says_what_is_missing(faces):
    text = (faces / "CelebAMask-HQ-attribute-anno.txt").read_text()
    for change, message in (
        (text.replace("Bald", "Hairless"), "got no 'Bald'"),
        (text.replace("\n7.jpg", "\n77.jpg"), "got none of 7.jpg"),
        (text.replace("0.jpg  -1", "0.jpg  2", 1), "Expected 20 values of -1 or 1 in line 3"),
    ):
        (faces / "CelebAMask-HQ-attribute-anno.txt").write_text(change)
        with pytest.raises(DataError, match=message):
            load("celebamask_hq", root=faces, side=8)
    (faces / "CelebAMask-HQ-attribute-anno.txt").write_text(text)
    for part in ("skin", "hair", "nose"):
        (faces / "CelebAMask-HQ-mask-anno" / "0" / f"00003_{part}.png").unlink()
    with pytest.raises(DataError, match=r"Expected 00003_<part>.png"):
        load("celebamask_hq", root=faces, side=8)
