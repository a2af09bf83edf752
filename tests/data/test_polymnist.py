import numpy as np
import pytest
from PIL import Image

from mmppl.data import load
from mmppl.errors import DataError, OptionError


def _publish(folder, num, modalities=("m0", "m1"), first=0):
    """Folders in the published layout; every picture is of one colour that tells modality and index."""
    for column, name in enumerate(modalities):
        (folder / name).mkdir(parents=True)
        for index in range(first, first + num):
            colour = np.full((28, 28, 3), (index, 100 * column, index % 10), np.uint8)
            Image.fromarray(colour).save(folder / name / f"{index}.{index % 10}.png")
    return folder


def _check(part, modalities=2):
    index = np.rint(part["m0"][:, 0, 0, 0] * 255).astype(int)
    np.testing.assert_array_equal(part.label, index % 10)
    for column in range(modalities):
        np.testing.assert_allclose(part[f"m{column}"][:, 0].mean((1, 2)) * 255, index, rtol=1e-6)
        np.testing.assert_allclose(part[f"m{column}"][:, 1], 100 * column / 255, rtol=1e-6)
    return index


def test_published_folders_with_splits(tmp_path):
    _publish(tmp_path / "train", 12)
    _publish(tmp_path / "test", 5, first=12)
    data = load("polymnist", root=tmp_path)
    assert {name: (m.kind, m.shape) for name, m in data.modalities.items()} == dict.fromkeys(
        ("m0", "m1"), ("image", (3, 28, 28))
    )
    assert data.train["m1"].dtype == np.float32
    train = _check(data.train)
    assert sorted(train) == list(range(12))
    assert list(train) != sorted(train, key=str)
    assert sorted(_check(data.test)) == list(range(12, 17))
    np.testing.assert_array_equal(_check(load("polymnist", root=tmp_path).train), train)
    assert len(load("polymnist", root=tmp_path, num_train=3, num_test=2).train) == 3


def test_published_folders_without_splits_are_split(tmp_path):
    data = load("polymnist", root=_publish(tmp_path, 20))
    train, test = _check(data.train), _check(data.test)
    assert (len(train), len(test)) == (16, 4)
    assert sorted([*train, *test]) == list(range(20))


def test_ten_modalities_stand_in_the_order_of_their_numbers(tmp_path):
    names = [f"m{i}" for i in range(11)]
    data = load("polymnist", root=_publish(tmp_path, 2, names))
    assert list(data.modalities) == names


@pytest.mark.parametrize("change", ["missing", "renamed", "extra"])
def test_misaligned_folders(tmp_path, change):
    _publish(tmp_path / "train", 4)
    _publish(tmp_path / "test", 4)
    file = tmp_path / "train" / "m1" / "2.2.png"
    if change == "missing":
        file.unlink()
    elif change == "renamed":
        file.rename(file.with_name("2.7.png"))
    else:
        file.with_name("9.9.png").write_bytes(file.read_bytes())
    with pytest.raises(DataError, match=r"Folder .*m1 is misaligned with m0: '[29].\d.png' stands in one of them only"):
        load("polymnist", root=tmp_path)


def test_bad_files(tmp_path):
    folder = _publish(tmp_path, 5)
    with pytest.raises(OptionError, match=r"Expected a number of tuples in \[1, 4\]; got 9"):
        load("polymnist", root=folder, num_train=9)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "m1" / "3.3.png")
    with pytest.raises(DataError, match=r"Expected a picture of shape \(3, .*\)"):
        load("polymnist", root=folder)
    (folder / "m1" / "3.3.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"Cannot read the picture .*3.3.png"):
        load("polymnist", root=folder)
    for name in ("m0", "m1"):
        (folder / name / "3.3.png").rename(folder / name / "three.png")
    with pytest.raises(DataError, match=r"Expected a file name <index>.<digit>.png; got .*three.png"):
        load("polymnist", root=folder)


def test_a_folder_of_neither_layout(tmp_path):
    with pytest.raises(DataError, match="Expected train/m0 and test/m0, or m0, or mnist.npz and backgrounds/"):
        load("polymnist", root=tmp_path)
    _publish(tmp_path / "train", 2)
    with pytest.raises(DataError, match="Expected folders m0, m1, ... in .*test; got none"):
        load("polymnist", root=tmp_path)


@pytest.fixture
def sources(tmp_path):
    """Digits that are on in one row whose number tells the instance, and photographs of one dark colour each."""
    arrays = {}
    for split, num in (("train", 26), ("test", 10)):
        digits = np.zeros((num, 28, 28), np.uint8)
        digits[np.arange(num), np.arange(num) % 28] = 200
        digits[:, :, :3] = 128  # not on: on is brighter than 128
        arrays |= {f"x_{split}": digits, f"y_{split}": (np.arange(num) % 2).astype(np.uint8)}
    np.savez(tmp_path / "mnist.npz", **arrays)
    (tmp_path / "backgrounds").mkdir()
    for name, colour in (("b", 40), ("a", 20), ("c", 60)):
        Image.fromarray(np.full((40, 50, 3), colour, np.uint8)).save(tmp_path / "backgrounds" / f"{name}.png")
    return tmp_path


def test_build_follows_the_recipe(sources):
    data = load("polymnist", root=sources)
    assert list(data.modalities) == ["m0", "m1", "m2"]
    for part, num in ((data.train, 26), (data.test, 10)):
        shown = []
        for name, colour in (("m0", 20), ("m1", 40), ("m2", 60)):
            assert part[name].shape == (num, 3, 28, 28)
            np.testing.assert_allclose(part[name][..., :3], colour / 255, rtol=1e-6)
            on = part[name][:, 0, :, 10] > 0.5
            np.testing.assert_array_equal(on.sum(1), 1)
            np.testing.assert_allclose(part[name][:, 0, :, 10][on], 1 - colour / 255, rtol=1e-6)
            instance = on.argmax(1)
            # Each instance once per modality, and of the tuple's class.
            np.testing.assert_array_equal(np.sort(instance), np.arange(num))
            np.testing.assert_array_equal(instance % 2, part.label)
            shown.append(instance)
        assert all(len(set(row)) == 3 for row in np.stack(shown, 1).tolist())
        assert np.any(np.diff(part.label) == 0)


def test_build_is_seeded_and_limited(sources):
    data, again = (load("polymnist", root=sources, num_train=6, num_test=2, seed=3) for _ in range(2))
    assert (len(data.train), len(data.test)) == (6, 2)
    np.testing.assert_array_equal(data.train["m2"], again.train["m2"])
    other = load("polymnist", root=sources, num_train=6, num_test=2, seed=4)
    assert not np.array_equal(data.train["m2"], other.train["m2"])


def test_sources_that_do_not_fit(sources):
    arrays = dict(np.load(sources / "mnist.npz"))
    (sources / "backgrounds" / "d.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"Cannot read the picture .*d.png"):
        load("polymnist", root=sources)
    Image.fromarray(np.zeros((20, 50, 3), np.uint8)).save(sources / "backgrounds" / "d.png")
    with pytest.raises(DataError, match=r"Expected a photograph of at least 28 x 28; got \(20, 50\)"):
        load("polymnist", root=sources)
    (sources / "backgrounds" / "d.png").unlink()
    np.savez(sources / "mnist.npz", **(arrays | {"y_test": np.zeros(3, np.uint8)}))
    with pytest.raises(DataError, match=r"Expected x_test \(N, H, W\) uint8 and y_test \(N,\)"):
        load("polymnist", root=sources)
    del arrays["x_test"]
    np.savez(sources / "mnist.npz", **arrays)
    with pytest.raises(DataError, match=r"Expected x_train, y_train, x_test and y_test in .*; got no x_test"):
        load("polymnist", root=sources)
    for file in (sources / "backgrounds").iterdir():
        file.unlink()
    np.savez(sources / "mnist.npz", **arrays, x_test=arrays["x_train"])
    with pytest.raises(DataError, match="Expected photographs"):
        load("polymnist", root=sources)
