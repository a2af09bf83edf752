"""Wrong data, for every function that takes data: a typed error that says what is wrong, or a right result."""

import importlib
import inspect
from functools import cache, partial

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


def unreadable(host):
    """Arrays of a host that numpy cannot hold."""
    if host == "pyro":
        torch = importlib.import_module("torch")
        x = torch.ones(4, 3)
        return x.to_sparse(), x.bfloat16(), torch.empty((4, 3), device="meta"), x + 1j
    jax = importlib.import_module("jax")
    deleted = jax.numpy.ones((4, 3)) * 2
    deleted.delete()
    return deleted, jax.random.key(0), jax.numpy.ones((4, 3), "bfloat16")


@cache
def fitted_on(host):
    program = models.mvae(MODALITIES, ppl=importlib.import_module(f"mmppl.{host}"), latent_dim=2, hidden=4)
    rows = {name: np.random.default_rng(0).normal(size=x.shape).astype(np.float32) for name, x in (("a", A), ("b", B))}
    return inference.fit(program, rows, epochs=1, progress=False)


def functions(host):
    """Functions of data, of a fitted program or not."""
    fitted = fitted_on(host)
    of_fitted = [getattr(inference, name) for name in ("infer", "log_likelihood", "to_arviz", "refine", "generate")]
    of_fitted += [getattr(diagnostics, name) for name in ("coverage", "energy_health", "gaps", "guide_k")]
    of_fitted.append(diagnostics.rate_distortion)
    return {
        "fit": lambda rows: inference.fit(fitted.program, rows, epochs=1, progress=False),
        "validation": lambda rows: inference.fit(fitted.program, {"a": A, "b": B}, validation=rows, progress=False),
        "diagnose": lambda rows: diagnostics.diagnose(fitted, rows),
        **{f.__name__: partial(f, fitted) for f in of_fitted},
    }


def no_data(host):
    for name, call in functions(host).items():
        for rows in OTHERS:
            if rows is not None or name not in ("generate", "validation"):
                yield f"{name}: {rows!r:.40}", partial(call, rows), ()


def values_masks_and_labels(host):
    for name, call in functions(host).items():
        for words, values in {**VALUES, "numpy can hold": unreadable(host)}.items():
            for value in values:
                rows = {"a": value, "b": B[: len(value)] if words == "rows" and not len(value) else B}
                yield f"{name}: a={type(value).__name__}, {words}", partial(call, rows), (words, "'a'", "dataset")
        for mask in PRESENT:
            rows = {"a": A, "b": B, "a__present": mask}
            yield f"{name}: mask {mask!r:.40}", partial(call, rows), ("a__present", "['a']", "dataset")
        for label in LABELS:
            yield f"{name}: label {label!r:.40}", partial(call, {"a": A, "b": B, "label": label}), ("label", "dataset")


def batches(host):
    mm = importlib.import_module(f"mmppl.{host}")
    for values in OTHERS[:6] + OTHERS[7:]:
        yield f"values {values!r:.40}", partial(Batch, values), ()
        if values is not None and not isinstance(values, dict):
            yield f"present {values!r:.40}", partial(Batch, {"a": A}, values), ("present",)
    for mask in PRESENT:
        yield f"mask {mask!r:.40}", partial(Batch, {"a": A}, {"a": mask}), ("present['a']",)
    for label in LABELS:
        yield f"label {label!r:.40}", partial(Batch, {"a": A}, label=label), ("label",)
    for rows in (Batch({"a": A[:0]}), *OTHERS[:6]):
        yield f"hide {rows!r:.40}", partial(data.hide, rows, 0.5), ()
        yield f"plate {rows!r:.40}", partial(mm.plate, rows), ()


def programs_weights_and_modalities(host):
    mm, fitted = importlib.import_module(f"mmppl.{host}"), fitted_on(host)
    for other in OTHERS:
        yield f"program {other!r:.40}", partial(inference.fit, other, {"a": A, "b": B}), ("program",)
        yield f"modalities {other!r:.40}", partial(models.mvae, other, ppl=mm), ("modalities", "modality")
        yield f"fitted {other!r:.40}", partial(inference.infer, other, {"a": A, "b": B}), ("program",)
        if not isinstance(other, dict):
            yield f"weights {other!r:.40}", partial(inference.Fitted, fitted.program, other), ("weights",)
    for names in ({"a": 1, "b": 2}, {"a", "b"}, "ab", ["a", "a"], [1, 2]):
        yield f"names {names}", partial(Modality, (), "category", categories=2, names=names), ("names",)
    for shape in ({1: 2}, {3}, "3", None, 3.0, (0,), (-1,), (True,), (2.5,)):
        yield f"shape {shape}", partial(Modality, shape), ("shape",)


FAMILIES = (no_data, values_masks_and_labels, batches, programs_weights_and_modalities)


def verdict(what, call, words):
    """Nothing, or what is wrong with how a call ends: it is to be an error of mmppl's with one of the words in it."""
    try:
        call()
    except MMPPLError as error:
        return None if any(word in str(error) for word in words or ("",)) else f"unnamed: {what}: '{error}'"
    except Exception as error:
        return f"foreign: {what}: {type(error).__name__}: {error}"
    return f"accepted: {what}"


@pytest.mark.parametrize("host", ["numpyro", "pyro"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_wrong_data_are_refused_by_name(host, family):
    assert [found for case in family(host) if (found := verdict(*case))] == []


def test_what_is_written_has_names_and_arrays(tmp_path):
    for other in (*OTHERS[:9], {1: A}, {"a": None}, {"a": MASK}, {"a": [[1], [1, 2]]}):
        assert (
            verdict(f"write {other!r:.40}", partial(data.write_npz, tmp_path / "a.npz", other), ("data", "'a'")) is None
        )
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
