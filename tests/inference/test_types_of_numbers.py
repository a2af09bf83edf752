"""Draws have a type of their own, whatever the rows given have, and rows of any type are taken for what they say."""

import numpy as np
import pytest

from mmppl import models
from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.diagnostics.calibration import simulate
from mmppl.errors import DataError, ModalityError, ObjectiveError
from mmppl.inference import Program, fit, generate, infer, to_arviz, trajectory
from mmppl.inference.training.fitted import Fitted

MODALITIES = {
    "a": Modality((1,)),
    "word": Modality((4,), kind="tokens", vocabulary=300),
    "far": Modality((2,)),
    "count": Modality((2,), likelihood="poisson"),
    "ink": Modality((1, 2, 2), kind="image", likelihood="bernoulli"),
}
FAR = 70_000.25  # no half, and a step of floats of 0.008


@pytest.fixture
def fitted(ppl):
    """Draws of tokens are 280, of a far vector 70,000.25, of pictures 1; counts are large."""
    host, dist = ppl.host, ppl.host.dist
    backend = get_backend(host.zeros(1))
    logits = backend.asarray(np.where(np.arange(300) == 280, 50.0, -50.0).astype("f"))

    def likelihood(name, z):
        middle, lead = 0.0 * z[..., :1], tuple(z.shape[:-1])
        if name == "word":
            return dist.Categorical(logits=backend.xp.broadcast_to(logits, (*lead, 4, 300))).to_event(1)
        if name == "count":
            return dist.Poisson(backend.xp.broadcast_to(middle + 1e3, (*lead, 2))).to_event(1)
        if name == "ink":
            return dist.Bernoulli(backend.xp.broadcast_to(middle[..., None, None] + 1.0, (*lead, 1, 2, 2))).to_event(3)
        if name == "far":
            return dist.Normal(backend.xp.broadcast_to(middle + FAR, (*lead, 2)), 1e-6).to_event(1)
        return dist.Normal(z, 1.0).to_event(1)

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", dist.Normal(host.zeros(1), 1.0).to_event(1))
            for name in batch.modalities:
                ppl.observe(name, likelihood(name, z), batch)

    def guide(batch):
        with ppl.plate(batch):
            host.sample("z", dist.Normal(host.zeros(1), 1.0).to_event(1))

    return Fitted(Program(model, guide, ppl.ELBO(), ppl, MODALITIES), {})


def rows(floats="f", tokens=np.int64, present=(False, False, False)):
    values = {name: np.ones((3, *m.shape), tokens if m.kind == "tokens" else floats) for name, m in MODALITIES.items()}
    return Batch(values, {name: np.array(present) for name in values if name != "a"})


DRAWN = {"a": np.float32, "word": np.int64, "far": np.float32, "count": np.float32, "ink": np.float32}


@pytest.mark.parametrize("mean", [False, True], ids=["draws", "means"])
@pytest.mark.parametrize(("floats", "tokens"), [("f2", "i1"), ("f8", "u1"), ("f4", "i2"), ("f8", "u8"), ("f2", "i8")])
def test_the_rows_given_do_not_say_what_draws_are(fitted, floats, tokens, mean):
    made = generate(fitted, rows(floats, tokens), 2, mean=mean)
    assert (made["word"] == 280).all()
    np.testing.assert_array_equal(made["far"], np.float32(FAR))
    assert (made["ink"] == 1.0).all()
    assert (np.abs(made["count"] - 1000) < 300).all()
    assert {name: x.dtype for name, x in made.items() if name != "a"} == {n: t for n, t in DRAWN.items() if n != "a"}
    alone = generate(fitted, rows(floats, tokens).select("a"), 2, mean=mean)
    prior = generate(fitted, num=2, mean=mean)
    for name in DRAWN:
        assert prior[name].dtype == DRAWN[name], name
        if name != "a":
            assert alone[name].dtype == DRAWN[name], name
            np.testing.assert_array_equal(alone[name], made[name])


@pytest.mark.parametrize(("floats", "tokens"), [("f2", "i1"), ("f8", "u1"), ("f4", "i8"), ("f8", "u8")])
def test_rows_given_come_back_as_they_are_beside_draws(fitted, floats, tokens):
    given = rows(floats, tokens, (True, False, True))
    values = {**given.values, "far": given["far"] * np.asarray(1 / 3, floats)}
    given = Batch({**values, "word": (given["word"] * 120).astype(tokens)}, given.present)
    made = generate(fitted, given, 2)
    for name, x in made.items():
        for row in (0, 2):
            np.testing.assert_array_equal(x[:, row], np.broadcast_to(given[name][row], x[:, row].shape), err_msg=name)
    assert (made["word"][:, 1] == 280).all()
    np.testing.assert_array_equal(made["far"][:, 1], np.float32(FAR))
    assert made["word"].dtype == np.int64
    assert made["far"].dtype == (np.float64 if floats == "f8" else np.float32)


def test_what_numbers_cannot_be_read_from_is_refused(fitted):
    given = rows(present=(True, True, True))
    bits = Batch({**given.values, "ink": np.ones((3, 1, 2, 2), bool)})  # are numbers of a Bernoulli likelihood
    assert generate(fitted, bits)["ink"].dtype == np.float32
    for dtype in (np.uint8, np.int32):
        ink = Batch({**given.values, "ink": np.ones((3, 1, 2, 2), dtype)})
        with pytest.raises(ModalityError, match=f"Modality 'ink': expected floats; got dtype {np.dtype(dtype)}"):
            generate(fitted, ink)
    for dtype in (bool, np.float32):
        word = Batch({**given.values, "word": np.ones((3, 4), dtype)})
        with pytest.raises((DataError, ModalityError), match="Modality 'word': expected integer token ids; got dtype"):
            generate(fitted, word)


def test_integers_that_a_host_would_turn_into_others_are_refused(ppl):
    """JAX takes 2^40 for 0 and 2^31 for -2^31; floats hold them."""
    counts = {"n": Modality((1,), kind="counts")}
    for large in (np.array([[2], [2**40]]), np.array([[2], [2**31]], np.uint32)):
        with pytest.raises(DataError, match="Modality 'n': integers above 2147483647 .* in rows 1"):
            Batch({"n": large}).validate(counts)
        if ppl.__name__ == "mmppl.numpyro":
            with pytest.raises(DataError, match=f"Modality 'n': expected integers within .*; got {large.max()}"):
                ppl.as_batch(Batch({"n": large}))
        else:
            assert ppl.as_batch(Batch({"n": large}))["n"].tolist() == large.tolist()
        floats = Batch({"n": large.astype("f")}).validate(counts)
        assert np.asarray(ppl.as_batch(floats)["n"]).tolist() == large.tolist()
    with pytest.raises(DataError, match="Modality 'n': integers above 2147483647 .* in rows 1"):
        Batch({"n": np.array([[2], [-(2**63)]])}).validate(counts)
    most = Batch({"n": np.array([[2**31 - 1]])}).validate(counts)
    assert int(ppl.as_batch(most)["n"][0, 0]) == 2**31 - 1
    least = ppl.as_batch(Batch({"n": np.array([[-(2**31)]])}))
    assert int(least["n"][0, 0]) == -(2**31)


LARGE = {
    "integers": (np.array([3, 2**33 + 1]), "expected integers within .*; got 8589934593"),
    "the least integer": (np.array([3, -(2**63)]), "expected integers within .*; got -9223372036854775808"),
    "unsigned integers": (np.array([3, 2**63 + 5], np.uint64), "expected integers within .*; got 9223372036854775813"),
    "floats": (np.array([3.0, -1e300]), "expected floats of size at most 3.403e\\+38, .*; got 1e\\+300"),
}


@pytest.mark.parametrize("case", LARGE)
def test_labels_and_values_that_a_host_would_turn_into_others_are_refused(ppl, case):
    """Labels 2^33 + 1 would be 1 on JAX, and be scored as such; 1e300 is infinite in single precision."""
    numbers, said = LARGE[case]
    label, rows = Batch({"a": np.zeros((2, 1), "f")}, label=numbers), Batch({"a": numbers[:, None]})
    if ppl.__name__ == "mmppl.pyro" and numbers.dtype == np.int64:
        assert ppl.as_batch(label).label.tolist() == ppl.as_batch(rows)["a"][:, 0].tolist() == numbers.tolist()
        return
    with pytest.raises(DataError, match=f"Labels: {said}"):
        ppl.as_batch(label)
    with pytest.raises(DataError, match=f"Labels: {said}"):
        fit(models.mvae({"a": Modality((1,))}, ppl=ppl), label, epochs=1, batch_size=1, progress=False)
    with pytest.raises(DataError, match=f"Modality 'a': {said}"):
        ppl.as_batch(rows)


def test_other_draws_have_the_same_types(fitted):
    idata = to_arviz(fitted, rows(), kernel=None, num_samples=4, num_predictive=2, num_prior=3)
    for group in ("posterior_predictive", "prior_predictive"):
        assert {name: x.dtype for name, x in idata[group].data_vars.items()} == DRAWN, group
    data, _ = simulate(fitted, 5)
    assert {name: x.dtype for name, x in data.values.items()} == DRAWN
    infer(fitted, data, method="guide", num_samples=2)  # takes them
    assert {name: x.dtype for name, x in trajectory(fitted, rows(), frames=1, every=1).items()} == DRAWN


@pytest.mark.parametrize("dtype", [int, np.float64, np.float16])
def test_chains_start_at_values_of_any_type(fitted, dtype):
    options = {"method": "mala", "num_chains": 2, "num_samples": 3, "num_warmup": 4}
    start = np.array([[1], [0], [-1]])
    one, two = (infer(fitted, rows(), init={"z": start.astype(t)}, **options).draws["z"] for t in (dtype, np.float32))
    np.testing.assert_array_equal(one, two)
    assert one.dtype == np.float32


@pytest.mark.parametrize(("floats", "tokens"), [("f2", "u1"), ("f8", "i2"), ("f4", "i4")])
def test_a_fit_learns_the_same_from_rows_of_any_type(ppl, floats, tokens):
    rng = np.random.default_rng(0)
    values = {"x": rng.normal(size=(40, 3)).astype("f2"), "word": rng.integers(256, size=(40, 4))}
    modalities = {"x": Modality((3,)), "word": MODALITIES["word"]}
    history = []
    for types in ((floats, tokens), ("f4", "i8")):
        data = Batch(dict(zip(values, (x.astype(t) for x, t in zip(values.values(), types, strict=True)), strict=True)))
        program = models.mvae(modalities, ppl=ppl, latent_dim=2, hidden=8)
        fitted = fit(program, data, epochs=2, batch_size=20, progress=False)
        history.append([record["loss"] for record in fitted.history])
    np.testing.assert_allclose(*history, rtol=1e-6)


@pytest.mark.parametrize("name", ["word", "far"])
def test_a_guide_that_peeks_is_found_whatever_the_type_and_size(ppl, name):
    """The next of 256 ids needs more than a byte, and one more than 1e10 is 1e10 again in single precision."""
    host, dist = ppl.host, ppl.host.dist
    modalities = {"a": Modality((1,)), "word": Modality((4,), kind="tokens", vocabulary=300), "far": Modality((2,))}

    def model(batch):
        with ppl.plate(batch):
            host.sample("z", dist.Normal(host.zeros(1), 1.0).to_event(1))

    def guide(batch):
        with ppl.plate(batch):
            host.sample(
                "z", dist.Normal(1.0 * batch[name][..., :1], host.param("scale", host.zeros(1) + 1.0)).to_event(1)
            )

    values = {"a": np.zeros((4, 1)), "word": np.full((4, 4), 255, np.uint8), "far": np.full((4, 2), 1e10, "f")}
    with pytest.raises(ObjectiveError, match=f"got draws that change with '{name}' where it is hidden"):
        fit(Program(model, guide, ppl.MVAE(), ppl, modalities), Batch(values), epochs=1, progress=False)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64])
def test_labels_in_narrow_types_pick_one_gaussian_of_many(host, dtype):
    loc = np.arange(300, dtype="f")[:, None]
    prior = host.mm.Conditional(host.array(loc), 0.5, label=host.array(np.array([24, 100], dtype)))
    draws = host.sample(prior, (200,), 0)
    np.testing.assert_allclose(draws.mean(0)[:, 0], [24.0, 100.0], atol=0.3)


def test_arrays_that_may_not_be_written_to_are_taken_without_a_word(ppl):
    """As those of JAX are on Pyro, and files that are mapped."""
    fixed = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    fixed.flags.writeable = False
    batch = ppl.as_batch(Batch({"n": fixed}, label=fixed[:, 0], covariates={"age": fixed[:, 1]}))
    for found, given in ((batch["n"], fixed), (batch.label, fixed[:, 0]), (batch.covariates["age"], fixed[:, 1])):
        np.testing.assert_array_equal(np.asarray(found), given)
