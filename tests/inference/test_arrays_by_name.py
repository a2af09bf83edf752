"""Arrays by name, of any host, where a batch is wanted."""

from importlib import import_module

import numpy as np
import pytest

from mmppl import models
from mmppl.batch import Batch, Modality
from mmppl.data import write_rows
from mmppl.diagnostics.calibration import coverage
from mmppl.errors import DataError, MissingWarning, ModalityError
from mmppl.inference import fit, generate, infer, log_likelihood, to_arviz

KINDS = {"x": Modality((2,)), "pet": Modality((), kind="category", names=("cat", "dog"))}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 2)).astype(np.float32)
PETS = np.array(["cat", "dog", "dog"] * 10)


@pytest.fixture(scope="module")
def fitted_by():
    known = {}

    def make(ppl):
        if ppl.host.NAME not in known:
            program = models.mvae(KINDS, ppl=ppl, latent_dim=2, hidden=4)
            known[ppl.host.NAME] = fit(program, {"x": X, "pet": PETS}, epochs=1, batch_size=10, progress=False)
        return known[ppl.host.NAME]

    return make


def tensors(kind):
    """The rows as tensors of torch or arrays of JAX; texts have none, so classes are ids."""
    make = import_module("torch").as_tensor if kind == "torch" else import_module("jax.numpy").asarray
    return {"x": make(X), "pet": make((PETS == "dog").astype(np.int64))}


def test_gaps_in_arrays_by_name_are_those_of_a_batch(ppl):
    """A system is declared anew for single elements that are missing, whatever the data are given as."""
    program = models.mvae(KINDS, ppl=ppl, latent_dim=2, hidden=4)
    gaps = np.where(np.random.default_rng(1).random(X.shape) < 0.3, np.nan, X).astype(np.float32)
    fits = []
    for make, pets in ((dict, PETS), (Batch, (PETS == "dog").astype(int))):
        with pytest.warns(MissingWarning, match="Modality 'x': .* are NaN, and taken as missing"):
            fits.append(fit(program, make({"x": gaps, "pet": pets}), epochs=1, batch_size=10, progress=False))
    assert fits[0].program.modalities["x"].partial
    assert fits[0].weights.keys() == fits[1].weights.keys()
    assert all(np.array_equal(fits[0].weights[n], w) for n, w in fits[1].weights.items())


def test_arrays_of_numpy_are_a_batch(ppl, fitted_by):
    fitted = fitted_by(ppl)
    program = models.mvae(KINDS, ppl=ppl, latent_dim=2, hidden=4)
    batch = Batch({"x": X, "pet": (PETS == "dog").astype(int)})
    again = fit(program, batch, epochs=1, batch_size=10, progress=False)
    assert all(np.array_equal(again.weights[n], w) for n, w in fitted.weights.items())
    arrays, rows = {"x": X[:4], "pet": PETS[:4]}, batch[:4]
    for answer in (
        lambda data: generate(fitted, data, 2, seed=1)["x"],
        lambda data: infer(fitted, data, method="guide", num_samples=2).draws["z"],
        lambda data: log_likelihood(fitted, data, num=5).value,
        lambda data: coverage(fitted, data, num=5).share["x"],
        lambda data: to_arviz(fitted, data, kernel=None, num_samples=2, num_prior=2)["posterior"]["z"].to_numpy(),
    ):
        np.testing.assert_array_equal(answer(arrays), answer(rows))
    gaps = {"x": np.where(np.arange(4)[:, None] == 1, np.nan, X[:4])}
    drawn = generate(fitted, gaps, 2)["x"]
    assert np.isfinite(drawn).all()
    np.testing.assert_array_equal(drawn[:, 0], np.stack([X[0]] * 2))


@pytest.mark.parametrize("kind", ["jax", "torch"])
def test_tensors_of_either_host_are_taken(ppl, fitted_by, kind):
    fitted, given = fitted_by(ppl), tensors(kind)
    program = models.mvae(KINDS, ppl=ppl, latent_dim=2, hidden=4)
    for data in (given, Batch(given)):
        again = fit(program, data, epochs=1, batch_size=10, progress=False)
        assert all(np.array_equal(again.weights[n], w) for n, w in fitted.weights.items())
        value = log_likelihood(fitted, data, num=5).value
        np.testing.assert_array_equal(value, log_likelihood(fitted, {"x": X, "pet": PETS}, num=5).value)


def test_booleans_are_bits(ppl):
    kinds = {"bits": Modality((3,), likelihood="bernoulli"), "on": Modality((), likelihood="bernoulli")}
    bits = RNG.random((20, 3)) > 0.5
    program = models.mvae(kinds, ppl=ppl, latent_dim=2, hidden=4)
    one, other = (
        fit(program, data, epochs=1, batch_size=10, progress=False).weights
        for data in (Batch({"bits": bits, "on": bits[:, 0]}), {"bits": bits * np.float32(1), "on": bits[:, 0] * 1.0})
    )
    assert all(np.array_equal(one[n], w) for n, w in other.items())


def test_what_is_no_batch_is_refused_before_the_first_step(ppl, fitted_by):
    program = models.mvae(KINDS, ppl=ppl, latent_dim=2, hidden=4)
    for wrong in ([X, PETS], X, iter([{"x": X}]), None):
        name = type(wrong).__name__
        with pytest.raises(DataError, match=rf"Expected a Batch, or arrays \(N, ...\) by name .*; got a {name}"):
            fit(program, wrong, progress=False)
    with pytest.raises(DataError, match="got a list"):
        generate(fitted_by(ppl), [X])
    with pytest.raises(ModalityError, match="Unknown modality 'y' in arrays; the program has x, pet"):
        fit(program, {"x": X, "y": X}, progress=False)
    with pytest.raises(ModalityError, match="Modality 'pet' is missing from the batch"):
        fit(program, {"x": X}, progress=False)
    with pytest.raises(DataError, match=r"Modality 'pet': expected categories among \['cat', 'dog'\]; got \['cow'\]"):
        generate(fitted_by(ppl), {"pet": np.array(["cow"])})


@pytest.mark.parametrize("kind", ["torch"])
def test_a_loader_of_batches_is_refused(ppl, kind):
    torch = import_module(kind)
    loader = torch.utils.data.DataLoader(torch.as_tensor(X), batch_size=10)
    with pytest.raises(DataError, match="got a DataLoader. Put the arrays of all rows into one"):
        fit(models.mvae(KINDS, ppl=ppl), loader, progress=False)


@pytest.mark.parametrize(("given", "hint"), [("rows", "Take some of its rows"), ("path", "Read it by")])
def test_sources_and_paths_where_a_batch_is_wanted(ppl, fitted_by, tmp_path, given, hint):
    rows = write_rows(tmp_path, [Batch({"x": np.ones((3, 2))})])
    with pytest.raises(DataError, match=f"Expected a Batch, or arrays .* by name of modality; got a .*{hint}"):
        log_likelihood(fitted_by(ppl), rows if given == "rows" else str(tmp_path))
