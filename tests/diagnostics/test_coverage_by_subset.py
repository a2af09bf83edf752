"""Coverage given every subset: nominal for the exact program, off where a scale is wrong, and its figure."""

import numpy as np
import pytest

from mmppl.diagnostics import Coverage, coverage, coverage_by_subset
from mmppl.errors import ModalityError, OptionError


@pytest.fixture(scope="module")
def rows(truth):
    return truth.sample(400, seed=11)


def test_the_exact_program_is_nominal_given_every_subset(linear, rows):
    found = coverage_by_subset(linear(), rows, num=150)
    assert list(found.found) == [(), ("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c")]
    for given, covered in found.found.items():
        assert set(covered.share) == set("abc") - set(given)
        for name, share in covered.share.items():
            # Draws are 150, so that a set of level 0.95 holds 0.943 of the values.
            off = np.abs(share - covered.levels) / (covered.error[name] + 1e-3)
            assert off.max() < 5.0, (given, name, share)
            counts = covered.pit[name]
            assert counts.sum() == 400 * rows[name].shape[-1]
    assert found.miss < 0.015
    assert found.worst() == []


@pytest.mark.parametrize(("noise", "sign"), [(1.5, 1), (1 / 1.5, -1)])
def test_a_scale_that_is_wrong_by_a_half_is_flagged(linear, rows, noise, sign):
    found = coverage_by_subset(linear(noise=noise), rows, num=60, subsets=[("a", "b"), ("b", "c")])
    given, name, miss = found.worst(1)[0]
    assert name not in given
    assert sign * miss > 0.05
    assert found.miss > 0.05
    level, share, error = found.found[given].farthest(name)
    assert sign * (share - level) > 0.08
    assert 0 < error < 0.05


@pytest.mark.parametrize(
    ("share", "error", "rows", "off"),
    [
        (1.0, 0.0, 3, False),  # three values that are all inside 50% sets are chance: 1 in 8
        (1.0, 0.0, 40, True),
        (0.8, 0.02, 400, True),
        (0.8, 0.02, 3, False),  # an error of three data is known to a factor of ten
        (0.56, 0.001, 400, False),  # within the margin and the binomial error of 400 values
    ],
)
def test_coverage_of_few_data_is_off_by_no_chance(share, error, rows, off):
    values = np.array([rows])
    found = Coverage(np.array([0.5]), {"a": np.array([share])}, {"a": np.array([error])}, {"a": values}, {"a": rows})
    assert found.off() == ["a"] * off
    assert found.allowed("a")[0] >= 4 * max(error, 0.5 / rows**0.5)


def test_a_modality_is_judged_where_it_and_all_that_is_given_are_there(linear, rows):
    some = rows.with_present({"a": np.arange(400) < 50, "b": np.arange(400) >= 20})
    covered = coverage(linear(), some, num=20, given=("a",))
    assert covered.pit["b"].sum() == 30 * 2
    assert covered.pit["c"].sum() == 50
    with pytest.raises(ModalityError, match=r"Expected given among \['a', 'b', 'c'\]; got \['d'\]"):
        coverage(linear(), some, num=20, given=("d",))
    with pytest.raises(OptionError, match=r"Expected subsets, each of names, such as \[\('a',\)\]; got 'a'"):
        coverage_by_subset(linear(), some, num=20, subsets=["a"])


def test_the_figure_has_a_panel_for_each_modality(linear, rows):
    found = coverage_by_subset(linear(), rows[:40], num=20)
    figure = found.plot()
    assert [panel.get_title() for panel in figure.axes] == ["a", "b", "c"]
    assert [len(panel.lines) for panel in figure.axes] == [5, 5, 5]  # the diagonal, and four subsets
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["nothing given", "1 given", "2 given"]
