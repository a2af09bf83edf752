"""What networks keep in mutable sites: moved by an objective as by the host's own, carried by a fit, and given back."""

from functools import cache

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
from flax import nnx
from numpyro import handlers
from numpyro.contrib.module import flax_module, nnx_module
from numpyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from numpyro.primitives import mutable

import mmppl.numpyro as mm
from mmppl import Batch, Modality
from mmppl.data import minibatches
from mmppl.errors import OptionError, TrainingError
from mmppl.inference import Fitted, Program, Run, fit, generate, infer
from mmppl.inference.objectives.evaluation import Evaluation
from mmppl.numpyro.tracing import Runs

NAMES = ("a", "b")
MODALITIES = {name: Modality((2,)) for name in NAMES}
DATA = Batch({n: 5 + np.random.default_rng(i).normal(size=(96, 2)).astype(np.float32) for i, n in enumerate("ab")})
SETTINGS = {"epochs": 3, "batch_size": 32, "learning_rate": 1e-2, "progress": False}
STEPS = 9
TINY = 1e-6


class Normed(nn.Module):
    """Batch normalisation by flax, and a layer."""

    average: bool = False

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.BatchNorm(use_running_average=self.average, momentum=0.5)(x))


class Dropping(nn.Module):
    """The same with dropout."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.Dropout(0.5, deterministic=False)(nn.BatchNorm(False, momentum=0.5)(x)))


class Nnx(nnx.Module):
    """The same by flax's newer interface, whose dropout keeps a stream of random keys."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.norm = nnx.BatchNorm(2, momentum=0.5, rngs=rngs)
        self.drop, self.layer = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(2, 2, rngs=rngs)

    def __call__(self, x):
        return self.layer(self.drop(self.norm(x)))


class Stateful(eqx.Module):
    """The same by Equinox."""

    norm: eqx.nn.BatchNorm
    layer: eqx.nn.Linear

    def __init__(self, key):
        self.norm = eqx.nn.BatchNorm(2, "rows", momentum=0.5, mode="batch")
        self.layer = eqx.nn.Linear(2, 2, key=key)

    def __call__(self, x, state):
        x, state = self.norm(x, state)
        return self.layer(x), state


def by_flax(name, x, average=False):
    return flax_module(name, Normed(average), input_shape=(1, 2), mutable=["batch_stats"])(x)


def by_dropout(name, x):
    net = flax_module(name, Dropping(), input_shape=(1, 2), apply_rng=["dropout"], mutable=["batch_stats"])
    return net(x, rngs={"dropout": numpyro.prng_key()})


def by_nnx(name, x):
    return nnx_module(name, Nnx())(x)


def by_equinox(name, x):
    module, first = eqx.nn.make_with_state(Stateful)(jax.random.key(0))
    net, held = mm.net(name, module), mutable(f"{name}$state", {"state": first})
    run = jax.vmap(net, in_axes=(0, None), out_axes=(0, None), axis_name="rows")
    out, held["state"] = run(x, held["state"])
    return out


def by_hand(name, x):
    """A mutable site of one's own, written into deep inside: a random key, a number, a flag, a mean."""
    first = {"mean": jnp.zeros(2), "count": jnp.array(0), "odd": jnp.array(False), "key": jax.random.key(7)}
    held = mutable(f"{name}$seen", {"deep": first})["deep"]
    held["mean"] = 0.5 * held["mean"] + 0.5 * x.mean(0)
    held["count"], held["odd"] = held["count"] + 1, ~held["odd"]
    held["key"] = jax.random.split(held["key"])[0]
    return flax_module(name, nn.Dense(2), input_shape=(1, 2))(x)


WAYS = {f.__name__: f for f in (by_flax, by_dropout, by_nnx, by_equinox, by_hand)}


def pair(encode=by_flax, decode=None, scale=0.5):
    def model(batch):
        with mm.plate(batch):
            z = numpyro.sample("z", dist.Normal(0, 1).expand([2]).to_event(1))
            for name in batch.modalities:
                loc = z if decode is None else decode(f"{name}.decoder", z)
                mm.observe(name, dist.Normal(loc, 1.0).to_event(1), batch)

    def guide(batch):
        with mm.plate(batch):
            locs = {name: encode(f"{name}.encoder", batch[name]) for name in batch.modalities}
            experts = {name: dist.Normal(loc, scale).to_event(1) for name, loc in locs.items()}
            numpyro.sample("z", mm.Product(experts, batch.present))

    return model, guide


def program(encode=by_flax, decode=None, objective=None, scale=0.5):
    return Program(*pair(encode, decode, scale), objective or mm.ELBO(), mm, MODALITIES)


def updated(objective, encode=by_flax, decode=None, jit=True):
    """The host's state before and after a step from it, all objectives from the same one."""
    batch = mm.as_batch(DATA)
    model, guide = pair(encode, decode, TINY)
    svi = SVI(model, guide, optax.sgd(0.0), objective)
    before = svi.init(jax.random.key(0), batch)
    return svi, before, (jax.jit(svi.update) if jit else svi.update)(before, batch)[0]


@cache
def hosts(decode, encode=by_flax):
    """The state after a step of the host's own objective."""
    return updated(Trace_ELBO(), encode, decode)[2]


def plain(tree):
    return jax.tree.map(lambda x: np.asarray(jax.random.key_data(x) if is_key(x) else x), tree)


def is_key(x):
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def assert_same(one, other, **close):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(plain(one)), jax.tree.leaves(plain(other)), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, **{"rtol": 1e-6, **close})


OBJECTIVES = {
    "ELBO": mm.ELBO(),
    "ELBO, K": mm.ELBO(3),
    "MVAE": mm.MVAE(),
    "MVAE, sticking the landing": mm.MVAE(2, gradient="stl"),
    "MVAE, DReG": mm.MVAE(2, gradient="dreg"),
    "MMVAE": mm.MMVAE(2, gradient="dreg"),
    "MoPoE": mm.MoPoE(),
    "MoPoE, one": mm.MoPoE(strata="one"),
    "JMVAE": mm.JMVAE(),
    "MMJSD": mm.MMJSD(),
    "MMVAEPlus": mm.MMVAEPlus(2),
    "MVTCAE": mm.MVTCAE(),
    "Masked": mm.Masked(),
    "Refined": mm.Refined(mm.ELBO(), steps=2),
    "Refined MVAE": mm.Refined(mm.MVAE(random=0), steps=2),
    "no decoder": mm.ELBO(score=()),
}


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_a_guide_moves_as_by_the_hosts_own(objective):
    """Its networks see the same values, whatever is asked of them, so that the outcome is the same to the bit."""
    theirs = hosts(by_flax)
    _, before, ours = updated(objective, decode=by_flax)
    assert ours.mutable_state.keys() == theirs.mutable_state.keys()
    assert jax.tree.map(np.shape, ours.mutable_state) == jax.tree.map(np.shape, theirs.mutable_state)
    for name in NAMES:
        assert_same(ours.mutable_state[f"{name}.encoder$state"], theirs.mutable_state[f"{name}.encoder$state"])
        moved = ours.mutable_state[f"{name}.decoder$state"]["batch_stats"]["BatchNorm_0"]["var"]
        first = before.mutable_state[f"{name}.decoder$state"]["batch_stats"]["BatchNorm_0"]["var"]
        assert (np.abs(moved - first) > 1e-3).all() == (objective.score is None)


@pytest.mark.parametrize("encode", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("objective", [mm.ELBO(), mm.JMVAE()], ids=["ELBO", "JMVAE"])  # the latter runs it twice
def test_so_does_any_way_to_write_a_network(encode, objective):
    jit = encode is not by_hand  # which is quick enough without
    found = updated(objective, encode, jit=jit)[2].mutable_state
    assert_same(found, hosts(None, encode).mutable_state, rtol=1e-5)


def test_a_model_moves_as_by_the_hosts_own():
    """The guide's draws are all but certain, so that the model sees the same latents."""
    for objective in (mm.ELBO(), mm.ELBO(3), mm.JMVAE(), mm.MVTCAE()):
        found = updated(objective, decode=by_flax)[2].mutable_state
        assert_same(found, hosts(by_flax).mutable_state, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"particles": 2}, {"particles": 2, "gradient": "dreg"}], ids=str)
def test_a_decoder_moves_once_by_the_terms_that_score_it(options):
    svi, before, after = updated(mm.MVAE(random=0, **options), decode=by_flax)
    given = {**svi.get_params(before), **before.mutable_state}

    def draw(*names):
        guide = handlers.substitute(handlers.seed(svi.guide, jax.random.key(1)), data=given)
        batch = mm.as_batch(DATA)
        present = {name: batch.present[name] & (name in names) for name in NAMES}
        return handlers.trace(guide).get_trace(Batch.trusted(batch.values, present, None, 96))["z"]["value"]

    for name in NAMES:
        seen = jnp.concatenate([draw(*NAMES), draw(name)])
        held = before.mutable_state[f"{name}.decoder$state"]["batch_stats"]["BatchNorm_0"]
        found = after.mutable_state[f"{name}.decoder$state"]["batch_stats"]["BatchNorm_0"]
        np.testing.assert_allclose(found["mean"], 0.5 * held["mean"] + 0.5 * seen.mean(0), atol=1e-4)
        np.testing.assert_allclose(found["var"], 0.5 * held["var"] + 0.5 * seen.var(0), rtol=1e-3)


def test_a_network_that_parts_share_moves_with_each():
    """The host, which runs the model once, calls it once for every modality, too."""

    def guide(batch):
        with mm.plate(batch):
            numpyro.sample("z", dist.Normal(jnp.zeros(2), 1.0).to_event(1))

    def model(batch):
        begun, trunk = mutable("begun", {"count": jnp.array(0)}), mutable("trunk", {"count": jnp.array(0)})
        begun["count"] = begun["count"] + 1
        with mm.plate(batch):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
            for name in batch.modalities:
                trunk["count"] = trunk["count"] + 1
                mm.observe(name, dist.Normal(z, 1.0).to_event(1), batch)

    batch = mm.as_batch(DATA)
    for objective in (Trace_ELBO(), mm.ELBO(), mm.MVAE(), mm.MVAE(2, gradient="dreg")):
        svi = SVI(model, guide, optax.sgd(0.0), objective)
        state = svi.update(svi.init(jax.random.key(0), batch), batch)[0].mutable_state
        # The host's first run counts; what moves with the log prior does so once, not with every part.
        assert state["trunk"]["count"] == 4
        assert state["begun"]["count"] == 2


def test_what_runs_with_parameters_held_fixed_moves_nothing():
    """As a chain's steps, which leave no tracers of their loop behind."""
    svi, before, _ = updated(mm.ELBO(), decode=by_flax)
    given = {**svi.get_params(before), **before.mutable_state}
    batch = mm.as_batch(DATA)
    run = Evaluation(Runs(given, jax.random.key(1)), svi.model, svi.guide, batch, NAMES)
    draws = run.draw(mm.ELBO().terms(run.backend, batch, None, run.like), 1, average=True)
    run.score(draws, NAMES)
    moved = run.runs.mutable.moved
    frozen = run.frozen()

    def step(z, _):
        frozen.score(draws._replace(latents={"z": z}), NAMES)
        return z + 1.0, None

    jax.lax.scan(step, draws.latents["z"], None, length=2)
    assert run.runs.mutable.moved is moved
    assert_same(moved, plain(moved))


def statistics(name, epochs):
    """Running statistics from the batches alone: the host's first run, then every step's."""
    batches = [DATA[:32], *(b for e in range(epochs) for b in minibatches(DATA, 32, seed=0, epoch=e))]
    mean, var = np.zeros(2), np.ones(2)
    for batch in batches:
        mean, var = 0.5 * mean + 0.5 * batch[name].mean(0), 0.5 * var + 0.5 * batch[name].var(0)
    return mean, var


@pytest.mark.parametrize("objective", [mm.ELBO(), mm.MoPoE(), mm.MVAE()], ids=["ELBO", "MoPoE", "MVAE"])
def test_a_fit_carries_the_state_and_evaluation_starts_from_it(objective):
    found = fit(program(objective=objective), DATA, ema=0.9, **SETTINGS).weights
    norm = "a.encoder$state.batch_stats.BatchNorm_0"
    for part, right in zip(("mean", "var"), statistics("a", 3), strict=True):
        np.testing.assert_allclose(found[f"{norm}.{part}"], right, rtol=1e-4)

    def evaluated(name, x):
        return by_flax(name, x, average=True)

    fitted = Fitted(program(evaluated, scale=TINY), found)
    scaled = (DATA["a"] - found[f"{norm}.mean"]) / np.sqrt(found[f"{norm}.var"] + 1e-5)
    scaled = scaled * found["a.encoder.BatchNorm_0.scale"] + found["a.encoder.BatchNorm_0.bias"]
    right = scaled @ found["a.encoder.Dense_0.kernel"] + found["a.encoder.Dense_0.bias"]
    drawn = infer(fitted, DATA.only("a"), method="guide", num_samples=1)["z"]
    np.testing.assert_allclose(drawn[0, 0], right, atol=1e-4)


@pytest.mark.parametrize("encode", WAYS.values(), ids=WAYS)
def test_a_run_goes_on_bit_for_bit_and_comes_back(encode, tmp_path, monkeypatch):
    def fresh():
        return program(encode, objective=mm.MoPoE())

    whole = fit(fresh(), DATA, **SETTINGS)
    drawn = infer(whole, DATA, method="guide", num_samples=2, seed=1)["z"]
    save = Run.save

    def stopping(self, weights, state, epoch):
        save(self, weights, state, epoch)
        if epoch == 1:
            raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", stopping)
        with pytest.raises(SystemExit):
            fit(fresh(), DATA, out=tmp_path / "run", **SETTINGS)
    resumed = fit(fresh(), DATA, out=tmp_path / "run", resume=True, **SETTINGS)
    for weights in (resumed.weights, Run(tmp_path / "run").weights()):
        assert weights.keys() == whole.weights.keys()
        for name, value in whole.weights.items():
            np.testing.assert_array_equal(weights[name], value, err_msg=name)
            assert weights[name].dtype == value.dtype
    again = Fitted(fresh(), Run(tmp_path / "run").weights())
    np.testing.assert_array_equal(infer(again, DATA, method="guide", num_samples=2, seed=1)["z"], drawn)
    infer(again, DATA, method="guide", num_samples=1)  # compiled anew, so that nothing of the first time may be left


def test_other_types_are_kept_as_they_are():
    found = fit(program(by_hand), DATA, **SETTINGS).weights
    key = jax.random.key(7)
    for _ in range(1 + STEPS):
        key = jax.random.split(key)[0]
    np.testing.assert_array_equal(found["a.encoder$seen.deep.key"], jax.random.key_data(key))
    assert found["a.encoder$seen.deep.count"] == 1 + STEPS
    assert found["a.encoder$seen.deep.odd"].dtype == bool
    np.testing.assert_allclose(found["a.encoder$seen.deep.mean"], statistics("a", 3)[0], rtol=1e-4)


def test_decoders_are_evaluated_with_their_state_by_every_tool():
    found = fit(program(decode=by_flax, objective=mm.MVAE()), DATA, **SETTINGS).weights

    def evaluated(name, x):
        return by_flax(name, x, average=True)

    fitted = Fitted(program(evaluated, evaluated, scale=TINY), found)
    norm = "b.decoder$state.batch_stats.BatchNorm_0"
    z = infer(fitted, DATA.only("a"), method="guide", num_samples=1)["z"][0, 0]
    scaled = (z - found[f"{norm}.mean"]) / np.sqrt(found[f"{norm}.var"] + 1e-5)
    scaled = scaled * found["b.decoder.BatchNorm_0.scale"] + found["b.decoder.BatchNorm_0.bias"]
    right = scaled @ found["b.decoder.Dense_0.kernel"] + found["b.decoder.Dense_0.bias"]
    means = generate(fitted, DATA.only("a"), num=1, mean=True)["b"][0]
    np.testing.assert_allclose(means, right, atol=1e-3)
    batch = mm.as_batch(DATA[:4])
    for kernel in (NUTS(fitted.model), mm.MALA(fitted.model)):
        mcmc = MCMC(kernel, num_warmup=3, num_samples=3, num_chains=2, chain_method="vectorized", progress_bar=False)
        mcmc.run(jax.random.key(0), batch)
        assert np.isfinite(mcmc.get_samples()["z"]).all()
    site = handlers.trace(handlers.seed(fitted.model, jax.random.key(0))).get_trace(batch)["b.decoder$state"]
    np.testing.assert_array_equal(site["value"]["batch_stats"]["BatchNorm_0"]["mean"], found[f"{norm}.mean"])


@pytest.mark.filterwarnings("ignore:Expected data of like units:mmppl.errors.TrainingWarning")
def test_a_step_that_is_not_finite_moves_no_state():
    values = {name: value.copy() for name, value in DATA.values.items()}
    last = list(np.random.default_rng([0, 0]).permutation(96))[-1]
    values["a"][last] = 1e30  # in the third step of three
    with pytest.raises(TrainingError, match="epoch 1, step 3") as caught:
        fit(program(by_hand), Batch(values), **SETTINGS)
    assert caught.value.fitted.weights["a.encoder$seen.deep.count"] == 3
    assert caught.value.fitted.weights["b.encoder$seen.deep.count"] == 3


def test_two_arrays_of_one_name_are_refused():
    model, guide = pair()

    def named(batch):
        numpyro.param("a.encoder.Dense_0.kernel", jnp.zeros(2))
        guide(batch)

    with pytest.raises(OptionError, match=r"a name of its own for every array; got \['a.encoder.Dense_0.kernel'\] tw"):
        fit(Program(model, named, mm.ELBO(), mm, MODALITIES), DATA, **SETTINGS)


def test_a_network_takes_arguments_by_name():
    """As Equinox's dropout takes its key."""

    def encode(name, x):
        net = mm.net(name, eqx.nn.Sequential([eqx.nn.Linear(2, 2, key=jax.random.key(0)), eqx.nn.Dropout(0.5)]))
        keys = jax.random.split(numpyro.prng_key(), len(x))
        return jax.vmap(lambda row, key: net(row, key=key))(x, keys)

    assert np.isfinite(fit(program(encode, objective=mm.MoPoE()), DATA, **SETTINGS).history[-1]["loss"])
