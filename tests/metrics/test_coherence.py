import numpy as np
import pytest

from mmppl.batch import Batch, Modality
from mmppl.errors import DataError, ModalityError, OptionError
from mmppl.metrics import Classifiers, coherence, coherence_by_number, cross_coherence, leave_one_out_coherence
from mmppl.metrics.classifiers import Classifier

NAMES = ("a", "b", "c")


@pytest.fixture
def classifiers():
    """Classifiers that read the class straight from one of three coordinates: rows are one-hot codes of classes."""
    classifier = Classifier(Modality((3,)), np.float64(0), np.float64(1), [np.eye(3)], [np.zeros(3)])
    return Classifiers(dict.fromkeys(NAMES, classifier), np.array([10, 20, 30]), dict.fromkeys(NAMES, 1.0))


def _show(classes):
    return np.eye(3)[np.asarray(classes)]


def test_joint_coherence_pairs_and_error(classifiers):
    samples = {"a": _show([0, 1, 2, 0]), "b": _show([0, 1, 2, 1]), "c": _show([0, 2, 2, 1])}
    got = coherence(samples, classifiers)
    assert (got.joint.value, got.joint.num, got.accuracy) == (0.5, 4, None)
    np.testing.assert_allclose(got.joint.error, np.sqrt(1 / 3) / 2)
    np.testing.assert_array_equal(got.pairs, [[1, 0.75, 0.5], [0.75, 1, 0.75], [0.5, 0.75, 1]])
    # The first reads as one other does in the first three samples, as both do in two.
    assert {k: e.value for k, e in got.at_least.items()} == {2: 0.75, 3: 0.5}


def test_accuracy_against_labels_with_several_draws(classifiers):
    samples = {"a": _show([[0, 1], [0, 2]]), "b": _show([[0, 1], [2, 1]])}  # two draws for each of two data
    got = coherence(samples, classifiers, np.array([10, 20]))
    assert got.joint.value == 0.5
    assert {name: e.value for name, e in got.accuracy.items()} == {"a": 0.75, "b": 0.75}
    assert got.accuracy["a"].num == 2
    np.testing.assert_allclose(got.accuracy["a"].error, 0.25)  # means of the two data: 1 and 0.5


def test_coherence_refuses(classifiers):
    with pytest.raises(ModalityError, match="Modality 'b': expected leading axes .*4.* as 'a' has; got .*3"):
        coherence({"a": _show([0] * 4), "b": _show([0] * 3)}, classifiers)
    with pytest.raises(ModalityError, match="got 'd', which has no classifier"):
        coherence({"d": _show([0])}, classifiers)
    with pytest.raises(ModalityError, match=r"Modality 'a': expected shape \(\*, 3\); got \(4, 2\)"):
        coherence({"a": np.ones((4, 2))}, classifiers)
    with pytest.raises(DataError, match=r"Expected labels of shape \(4,\).*got \(3,\)"):
        coherence({"a": _show([0] * 4)}, classifiers, np.zeros(3))
    with pytest.raises(DataError, match="at least one modality; got none"):
        coherence({}, classifiers)
    with pytest.raises(DataError, match="at least one sample"):
        coherence({"a": np.ones((0, 3))}, classifiers)


def _copying(wrong=()):
    """Generates, twice, the class of what is given; for the (source, target) in ``wrong`` the second draw is wrong."""

    def generate(batch, want):
        given = [name for name in batch if batch.present[name].all()]
        assert given, "every row has what it is generated from"
        assert not set(want) & set(given)
        classes = batch[given[0]].argmax(-1)
        out = {}
        for target in want:
            second = (classes + 1) % 3 if (given[0], target) in wrong else classes
            out[target] = _show(np.stack([classes, second]))
        return out

    return generate


def _batch(num=6, **present):
    classes = np.arange(num) % 3
    return Batch({name: _show(classes) for name in NAMES}, present, 10 * (classes + 1))


def test_cross_coherence_matrix_and_mean(classifiers):
    got = cross_coherence(_copying(wrong={("a", "c"), ("b", "c")}), _batch(), classifiers)
    np.testing.assert_array_equal(got.accuracy, [[np.nan, 1, 0.5], [1, np.nan, 0.5], [1, 1, np.nan]])
    np.testing.assert_allclose(got.mean.value, 5 / 6)
    np.testing.assert_array_equal(got.error[0], [np.nan, 0, 0])
    assert (got.mean.num, got.mean.error, got.names) == (6, 0, NAMES)


def test_cross_coherence_leaves_out_rows_without_the_source(classifiers):
    batch = _batch(a=np.arange(6) < 2)

    def generate(given, want):
        if given.present["a"].any():
            assert len(given) == 2
        return _copying()(given, want)

    got = cross_coherence(generate, batch, classifiers)
    np.testing.assert_array_equal(got.accuracy[~np.eye(3, dtype=bool)], np.ones(6))


def test_the_error_of_the_mean_knows_that_a_row_counts_in_every_pair(classifiers):
    # All pairs are right on rows 0-2 and wrong on rows 3-5: the mean is as uncertain as one pair.
    batch = _batch()

    def generate(given, want):
        classes = next(given[n] for n in given if given.present[n].all()).argmax(-1)
        return {name: _show((classes + (np.arange(6) >= 3)) % 3)[None] for name in want}

    got = cross_coherence(generate, batch, classifiers)
    assert got.mean.value == 0.5
    one = np.std([1, 1, 1, 0, 0, 0], ddof=1) / np.sqrt(6)
    np.testing.assert_allclose(got.mean.error, one)
    np.testing.assert_allclose(got.error[0, 1], one)
    np.testing.assert_allclose(leave_one_out_coherence(generate, batch, classifiers).mean.error, one)


def test_leave_one_out(classifiers):
    got = leave_one_out_coherence(_copying(wrong={("a", "c")}), _batch(), classifiers)
    assert {name: e.value for name, e in got.accuracy.items()} == {"a": 1, "b": 1, "c": 0.5}
    np.testing.assert_allclose(got.mean.value, 5 / 6)


def test_across_modalities_refuses(classifiers):
    for function in (cross_coherence, leave_one_out_coherence):
        with pytest.raises(DataError, match="Expected a batch with labels"):
            function(_copying(), Batch(_batch().values), classifiers)
        with pytest.raises(DataError, match="at least two modalities"):
            function(_copying(), _batch().select("a"), classifiers)
        with pytest.raises(DataError, match="Modality 'b' is present in no row"):
            function(_copying(), _batch(b=np.zeros(6, bool)), classifiers)
        with pytest.raises(ModalityError, match="got 'd', which has no classifier"):
            function(_copying(), Batch({"a": np.ones((2, 3)), "d": np.ones((2, 3))}, label=np.ones(2)), classifiers)
        with pytest.raises(ModalityError, match=r"expected generated axes \(K, 6\); got \(6,\)"):
            function(lambda batch, want: {n: batch[n] for n in want}, _batch(), classifiers)
        with pytest.raises(ModalityError, match="Expected '.' among what was generated"):
            function(lambda batch, want: {}, _batch(), classifiers)


def test_coherence_by_number_is_of_rows_that_have_just_these(classifiers):
    """What is generated shows what most of the given modalities show, the later of them where they differ."""
    values = {"a": _show([0, 1, 2, 0]), "b": _show([1, 1, 2, 0]), "c": _show([1, 1, 0, 0])}
    batch = Batch(values, {"c": np.array([True, True, True, False])}, label=np.array([20, 20, 30, 10]))
    seen = []

    def generate(given, want):
        names = [name for name in given if given.present[name].any()]
        assert all(given.present[name].all() for name in names)
        seen.append((tuple(names), tuple(want), len(given)))
        total = sum(np.asarray(given[name]) * (1.0 + i / 10) for i, name in enumerate(names))
        return {name: _show(total.argmax(-1))[None] for name in want}

    got = coherence_by_number(generate, batch, classifiers)
    assert seen[:3] == [(("a",), ("b", "c"), 4), (("b",), ("a", "c"), 4), (("c",), ("a", "b"), 3)]
    assert seen[3:] == [(("a", "b"), ("c",), 4), (("a", "c"), ("b",), 3), (("b", "c"), ("a",), 3)]
    # From a 3 of 4 are right, from b all, from c 2 of 3; from a and b those of b, from others with c those of c.
    assert got[1].value == pytest.approx((3 / 4 + 1 + 2 / 3) / 3)
    assert got[2].value == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    seen.clear()
    coherence_by_number(generate, batch, classifiers, subsets=2, seed=3)
    assert [len(names) for names, *_ in seen] == [1, 1, 2, 2]
    assert len(set(seen)) == 4
    with pytest.raises(OptionError, match="Expected subsets >= 1"):
        coherence_by_number(generate, batch, classifiers, subsets=0)
    with pytest.raises(DataError, match="with labels"):
        coherence_by_number(generate, Batch(values), classifiers)
