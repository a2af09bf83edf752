"""Wrong data, for every function that takes data: a typed error that says what is wrong, or a right result."""

import importlib
import inspect

import numpy as np
import pytest

from mmppl import Batch, Modality, data, diagnostics, inference, metrics, models
from mmppl.errors import MMPPLError

A, B = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
PART = np.where(np.arange(12).reshape(4, 3) == 5, np.inf, A)
MASK = np.ma.masked_array(A, A > 0)
MODALITIES = {"a": Modality((3,)), "b": Modality((2,))}
# No data at all.
OTHERS = (
    None,
    3,
    "a",
    b"a",
    object(),
    [1, 2],
    {},
    A,
    [{"a": A}],
    {1: A, 2: B},
    {"a": None, "b": B},
    {"a": "x", "b": B},
)
# Values of modality "a".
VALUES = {
    "expected shape": (np.ones((4, 2)), np.ones((4, 3, 1)), np.ones(4)),
    "": (np.float32(1), np.full((4, 3), "x"), A + 1j, np.full((4, 3), None), np.zeros((4, 3), "M8[s]"), [[1, 2], [1]]),
    "rows": (A[:3], A[:0]),
    "mask": (MASK,),
    "NaN or Inf": (PART,),
    "floats of size": (A.astype(float) * 1e300,),
}
PRESENT = (np.ones(4, int), np.ones(3, bool), "yes", np.ma.masked_array(np.ones(4, bool), np.arange(4) == 1))
LABELS = (
    *(np.arange(3), np.ones((4, 2)), np.arange(4) * 1j, np.ma.masked_array(np.arange(4), np.arange(4) == 1), "abcd", 3),
)


@pytest.fixture(scope="module", params=["numpyro", "pyro"])
def mm(request):
    return importlib.import_module(f"mmppl.{request.param}")


@pytest.fixture(scope="module")
def fitted(mm):
    program = models.mvae(MODALITIES, ppl=mm, latent_dim=2, hidden=4)
    rows = {name: np.random.default_rng(0).normal(size=x.shape).astype(np.float32) for name, x in (("a", A), ("b", B))}
    return inference.fit(program, rows, epochs=1, progress=False)


@pytest.fixture(scope="module")
def calls(fitted):
    """Functions of data, of a fitted program or not."""
    of_fitted = [getattr(inference, name) for name in ("infer", "log_likelihood", "to_arviz", "refine", "generate")]
    of_fitted += [getattr(diagnostics, name) for name in ("coverage", "energy_health", "gaps", "guide_k")]
    of_fitted.append(diagnostics.rate_distortion)
    return {
        "fit": lambda rows: inference.fit(fitted.program, rows, epochs=1, progress=False),
        "validation": lambda rows: inference.fit(fitted.program, {"a": A, "b": B}, validation=rows, progress=False),
        "diagnose": lambda rows: diagnostics.diagnose(fitted, rows),
        **{f.__name__: (lambda rows, f=f: f(fitted, rows)) for f in of_fitted},
    }


def refused(call, what, *words):
    """Asserts that a call ends in an error of mmppl's with one of the words in it."""
    with pytest.raises(MMPPLError) as told:
        call()
    assert any(word in str(told.value) for word in words or ("",)), what


def test_what_is_no_data_is_refused(calls):
    for name, call in calls.items():
        for rows in OTHERS:
            if rows is None and name in ("generate", "validation"):
                continue
            refused(lambda call=call, rows=rows: call(rows), f"{name}: {rows!r:.40}")


def test_wrong_values_masks_and_labels_are_refused_by_name(calls):
    for name, call in calls.items():
        for words, values in VALUES.items():
            for value in values:
                rows = {"a": value, "b": B[: len(value)] if words == "rows" and not len(value) else B}
                refused(lambda call=call, rows=rows: call(rows), f"{name}: a={value!r:.40}", words, "'a'", "dataset")
        for mask in PRESENT:
            rows = {"a": A, "b": B, "a__present": mask}
            refused(
                lambda call=call, rows=rows: call(rows), f"{name}: mask {mask!r:.40}", "a__present", "['a']", "dataset"
            )
        for label in LABELS:
            rows = {"a": A, "b": B, "label": label}
            refused(lambda call=call, rows=rows: call(rows), f"{name}: label {label!r:.40}", "label", "dataset")


def test_a_batch_of_wrong_parts_is_refused(mm):
    for values in OTHERS[:6] + OTHERS[7:]:
        refused(lambda values=values: Batch(values), f"values {values!r:.40}")
        if values is not None and not isinstance(values, dict):
            refused(lambda values=values: Batch({"a": A}, values), f"present {values!r:.40}", "present")
    for mask in PRESENT:
        refused(lambda mask=mask: Batch({"a": A}, {"a": mask}), f"mask {mask!r:.40}", "present['a']")
    for label in LABELS:
        refused(lambda label=label: Batch({"a": A}, label=label), f"label {label!r:.40}", "label")
    for rows in (Batch({"a": A[:0]}), *OTHERS[:6]):
        refused(lambda rows=rows: data.hide(rows, 0.5), f"hide {rows!r:.40}")
        refused(lambda rows=rows: mm.plate(rows), f"plate {rows!r:.40}")


def test_wrong_programs_weights_and_modalities_are_refused(mm, fitted):
    for other in OTHERS:
        refused(lambda other=other: inference.fit(other, {"a": A, "b": B}), f"program {other!r:.40}", "program")
        refused(lambda other=other: models.mvae(other, ppl=mm), f"modalities {other!r:.40}", "modalities", "modality")
        refused(lambda other=other: inference.infer(other, {"a": A, "b": B}), f"fitted {other!r:.40}", "program")
        if not isinstance(other, dict):
            refused(lambda other=other: inference.Fitted(fitted.program, other), f"weights {other!r:.40}", "weights")
    for names in ({"a": 1, "b": 2}, {"a", "b"}, "ab", ["a", "a"], [1, 2]):
        refused(lambda names=names: Modality((), "category", categories=2, names=names), f"names {names}", "names")
    for shape in ({1: 2}, {3}, "3", None, 3.0, (0,), (-1,), (True,), (2.5,)):
        refused(lambda shape=shape: Modality(shape), f"shape {shape}", "shape")


def test_what_is_written_has_names_and_arrays(tmp_path):
    for other in (*OTHERS[:9], {1: A}, {"a": None}, {"a": MASK}, {"a": [[1], [1, 2]]}):
        refused(lambda other=other: data.write_npz(tmp_path / "a.npz", other), f"write {other!r:.40}", "data", "'a'")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("measure", ["f1", "frechet", "mean_correlation", "clip_score"])
def test_measures_take_finite_numbers_alone(measure):
    fn, good = getattr(metrics, measure), np.random.default_rng(0).normal(size=(20, 2))
    names = list(inspect.signature(fn).parameters)[:2]
    wrong = (good + 1j, np.full((20, 2), "a"), np.full((20, 2), None), np.ma.masked_array(good, good > 0), good * 1e200)
    wrong += (np.where(good > 0, np.nan, good), np.where(good > 0, np.inf, good), good[:0], good[:, :0], [[1, 2], [1]])
    for name in names:
        for value in wrong:
            with pytest.raises(MMPPLError):
                fn(**{**dict.fromkeys(names, good), name: value})
    assert np.isfinite(np.asarray(getattr(fn(good, good), "value", 0.0)))
