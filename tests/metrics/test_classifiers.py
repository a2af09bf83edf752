import errno

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from mmppl.batch import Batch, Modality
from mmppl.data import Dataset
from mmppl.data.polydigits import polydigits
from mmppl.errors import DataError, ModalityError
from mmppl.metrics import Classifiers, train_classifiers
from mmppl.metrics.classifiers import Classifier, flatten
from mmppl.metrics.training import _centre, _rows, _shifted


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMPPL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _dataset(num=300, classes=3, seed=0):
    """Tiny data with a picture, a vector and a text, each of which tells the class."""
    rng = np.random.default_rng(seed)
    modalities = {
        "picture": Modality((1, 6, 6), kind="image"),
        "vector": Modality((2,)),
        "text": Modality((3,), kind="tokens", vocabulary=5),
    }

    def part():
        label = rng.integers(0, classes, num)
        picture = 0.1 * rng.random((num, 1, 6, 6), dtype=np.float32)
        picture[np.arange(num), 0, :, 2 * label] += 0.9
        vector = 50 + 10.0 * label[:, None] + rng.standard_normal((num, 2))
        text = np.stack([label, rng.integers(0, 5, num), 4 - label], axis=1)
        missing = {"vector": np.arange(num) % 4 > 0}
        return Batch({"picture": picture, "vector": vector, "text": text}, missing, 7 + label)

    return Dataset("tiny", modalities, part(), part())


@pytest.mark.parametrize("classes", [2, 3])
def test_judges_read_every_kind_of_modality(classes):
    data = _dataset(classes=classes)
    classifiers = train_classifiers(data)
    assert set(classifiers.classes) == set(range(7, 7 + classes))
    for name in data.modalities:
        assert classifiers.accuracy[name] > 0.98
        rows = data.test.present[name]
        right = classifiers.predict(name, data.test[name][rows]) == data.test.label[rows]
        np.testing.assert_allclose(right.mean(), classifiers.accuracy[name])


def test_leading_axes_and_features():
    data = _dataset()
    classifiers = train_classifiers(data)
    x = data.test["picture"][:12].reshape(3, 4, 1, 6, 6)
    np.testing.assert_array_equal(
        classifiers.predict("picture", x).reshape(-1), classifiers.predict("picture", x.reshape(12, 1, 6, 6))
    )
    features = classifiers.features("picture", x)
    assert features.shape == (3, 4, 128)
    assert features.min() == 0
    assert classifiers.predict("text", np.zeros((0, 3), int)).shape == (0,)
    with pytest.raises(ModalityError, match="got 'sound', which has no classifier"):
        classifiers.predict("sound", x)
    with pytest.raises(ModalityError, match=r"Modality 'picture': expected shape \(\*, 1, 6, 6\); got \(3, 4\)"):
        classifiers.predict("picture", np.ones((3, 4)))
    with pytest.raises(ModalityError, match=r"got \(1, 6, 6\)"):
        classifiers.features("picture", np.ones((1, 6, 6)))


def test_the_forward_pass_is_the_classifiers():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 4)), np.arange(50) % 3
    net = MLPClassifier((8, 6), random_state=0)
    net.partial_fit(x, y, classes=[0, 1, 2])
    classifier = Classifier(Modality((4,)), np.float64(0), np.float64(1), net.coefs_, net.intercepts_)
    scores = classifier.scores(x)
    odds = np.exp(scores - scores.max(1, keepdims=True))
    np.testing.assert_allclose(odds / odds.sum(1, keepdims=True), net.predict_proba(x), rtol=1e-5)


def test_save_and_load_without_pickle(tmp_path):
    data = _dataset()
    classifiers = train_classifiers(data)
    again = Classifiers.load(classifiers.save(tmp_path / "classifiers.npz"))
    assert again.accuracy == classifiers.accuracy
    for name in data.modalities:
        np.testing.assert_array_equal(
            again.features(name, data.test[name]), classifiers.features(name, data.test[name])
        )
        np.testing.assert_array_equal(again.predict(name, data.test[name]), classifiers.predict(name, data.test[name]))
    with pytest.raises(DataError, match="which exists"):
        classifiers.save(tmp_path / "classifiers.npz")
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    with pytest.raises(DataError, match="Expected classifiers written by Classifiers.save"):
        Classifiers.load(tmp_path / "other.npz")
    arrays = dict(np.load(tmp_path / "classifiers.npz"))
    del arrays["text/bias1"]
    np.savez(tmp_path / "half.npz", **arrays)
    with pytest.raises(DataError, match="'text/bias1' does not fit"):
        Classifiers.load(tmp_path / "half.npz")


def test_trained_once_and_cached_by_data_and_seed(cache, monkeypatch):
    data = _dataset()
    classifiers = train_classifiers(data)
    (file,) = cache.iterdir()
    assert file.name.startswith("classifiers-tiny-")

    calls = []
    monkeypatch.setattr("mmppl.metrics.training._train", lambda *args: calls.append(args) or classifiers)
    again = train_classifiers(data)
    assert calls == []
    np.testing.assert_array_equal(again.by_name["text"].weights[0], classifiers.by_name["text"].weights[0])
    train_classifiers(_dataset(seed=1))
    train_classifiers(data, seed=1)
    assert len(calls) == 2
    assert len(list(cache.iterdir())) == 3

    file.write_bytes(b"broken")
    with pytest.warns(UserWarning, match="cached classifiers cannot be read and are trained again"):
        train_classifiers(data)
    assert len(calls) == 3
    assert Classifiers.load(file).accuracy == classifiers.accuracy


def test_training_is_seeded(cache):
    first = train_classifiers(_dataset())
    for file in cache.iterdir():
        file.unlink()
    again = train_classifiers(_dataset())
    for name, classifier in first.by_name.items():
        np.testing.assert_array_equal(classifier.weights[0], again.by_name[name].weights[0])


def test_a_cache_that_cannot_be_written_is_only_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MMPPL_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="The classifiers are not cached: .*Set MMPPL_CACHE"):
        assert train_classifiers(_dataset()).accuracy["text"] == 1

    def full(*args, **arrays):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("MMPPL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="The classifiers are not cached: .*No space left on device"):
        assert train_classifiers(_dataset()).accuracy["text"] == 1
    assert not list((tmp_path / "cache").iterdir())


def test_data_that_cannot_be_judged():
    data = _dataset()
    bare = Batch(data.train.values)
    with pytest.raises(DataError, match="Classifiers need labels; data 'tiny' have none"):
        train_classifiers(Dataset("tiny", data.modalities, bare, bare))
    one = Batch(data.train.values, label=np.ones(len(bare)))
    with pytest.raises(DataError, match="at least two classes"):
        train_classifiers(Dataset("tiny", data.modalities, one, one))
    nowhere = data.train.without("text")
    with pytest.raises(DataError, match="Modality 'text' is present nowhere in a split"):
        train_classifiers(Dataset("tiny", data.modalities, nowhere, nowhere))


def test_one_hot_and_shift():
    tokens = flatten(Modality((2,), kind="tokens", vocabulary=3), np.array([[2, 0]]))
    np.testing.assert_array_equal(tokens, [[0, 0, 1, 1, 0, 0]])
    picture = np.arange(16.0).reshape(1, 1, 4, 4).repeat(200, 0) + 100 * np.arange(2)[:, None, None]
    padded = np.pad(picture[0], ((0, 0), (1, 1), (1, 1)), mode="edge")
    allowed = [padded[:, i : i + 4, j : j + 4] for i in range(3) for j in range(3)]
    seen = {
        min(i for i, a in enumerate(allowed) if np.array_equal(a, row))
        for row in _shifted(picture, np.random.default_rng(0))
    }
    assert seen == set(range(9))


def test_ink_and_word_of_polydigits():
    data = polydigits()
    names = ("ink", "word")
    small = Dataset(
        "small", {n: data.modalities[n] for n in names}, data.train.select(*names), data.test.select(*names)
    )
    classifiers = train_classifiers(small)
    assert classifiers.accuracy["ink"] > 0.97
    assert classifiers.accuracy["word"] == 1


def test_single_elements_that_are_missing_stand_at_their_mean():
    """Values lie about 50: a zero where one is missing would be further off than any class."""
    data, rng = _dataset(num=600), np.random.default_rng(1)

    def holed(batch):
        masks = {"vector": rng.random((len(batch), 2)) < 0.6, "text": rng.random((len(batch), 3)) < 0.9}
        return Batch(batch.values, masks, batch.label)

    partial = Dataset("holed", data.modalities, holed(data.train), holed(data.test))
    found = train_classifiers(partial)
    assert found.accuracy["vector"] > 0.6  # of three classes, of rows of which half lack one of two values
    assert found.accuracy["text"] > 0.98
    vector, there = partial.train["vector"], partial.train.there("vector")
    mean = [vector[there[:, i], i].mean() for i in range(2)]
    values, labels = _rows(partial.test, "vector", _centre(partial.train, "vector", data.modalities["vector"]))
    kept = partial.test.present["vector"]
    seen = partial.test.there("vector")[kept]
    np.testing.assert_array_equal(labels, data.test.label[kept])
    np.testing.assert_allclose(values[seen], data.test["vector"][kept][seen], rtol=1e-6)
    np.testing.assert_allclose(values[~seen], np.broadcast_to(mean, values.shape)[~seen], rtol=1e-5)
    texts, _ = _rows(partial.test, "text", None)
    np.testing.assert_array_equal(texts, data.test["text"][partial.test.whole("text")])
    # Other gaps are other data in the cache.
    again = Dataset("holed", data.modalities, holed(data.train), partial.test)
    assert train_classifiers(again).accuracy != found.accuracy


def test_a_classifier_may_be_any_network(tmp_path):
    class Brightness:
        modality = Modality((1, 2, 2), kind="image")

        def hidden(self, rows):
            return rows.mean((1, 2, 3))[:, None]

        def scores(self, rows):
            return np.concatenate([0.5 - self.hidden(rows), self.hidden(rows) - 0.5], -1)

    classifiers = Classifiers({"image": Brightness()}, np.array([3, 7]), {"image": 1.0})
    images = np.stack([np.full((1, 2, 2), x) for x in (0.1, 0.9, 0.4)])
    assert classifiers.predict("image", images).tolist() == [3, 7, 3]
    np.testing.assert_allclose(classifiers.features("image", images)[:, 0], [0.1, 0.9, 0.4])
    with pytest.raises(DataError, match="Expected each to be a Classifier, .* got {'image': 'Brightness'}"):
        classifiers.save(tmp_path / "judges.npz")
