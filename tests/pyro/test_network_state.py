"""What torch's networks keep that is no parameter: trained, saved, given back, and moved by steps of training alone."""

import copy
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from torch import nn

import mmppl
import mmppl.pyro as mm
from mmppl import Batch, Modality
from mmppl.data import load, minibatches
from mmppl.diagnostics.loading import run_info
from mmppl.errors import OptionError, PosteriorWarning, TrainingError
from mmppl.inference import Fitted, Program, Run, Stage, fit, generate, infer
from mmppl.models import ebm

MODALITIES = {"a": Modality((2,)), "b": Modality((2,))}
DATA = Batch({n: 5 + np.random.default_rng(i).normal(size=(96, 2)).astype(np.float32) for i, n in enumerate("ab")})
SETTINGS = {"epochs": 4, "batch_size": 32, "learning_rate": 1e-2, "progress": False}
STEPS = 12


class Stop(BaseException):
    """Something from outside that ends a run."""


class Keeper(nn.Module):
    """Keeps a flag, a number in half precision, and what there is only once it was trained."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("flag", torch.tensor([False, True]))
        self.register_buffer("low", torch.ones(2, dtype=torch.bfloat16))
        self.register_buffer("late", None)

    def forward(self, x):
        if self.training:
            self.flag = ~self.flag
            self.low *= 0.5
            self.late = x[0].detach() if self.late is None else self.late + x[0].detach()
            if not hasattr(self, "count"):
                self.register_buffer("count", torch.tensor(0))
            self.count += 1
        return self.layer(x)


class Called(nn.Linear):
    """Says of every call how many rows it had, and whether it was for training; copies say it in the same place."""

    log: list[tuple[int, bool]] = []

    def forward(self, x):
        self.log.append((len(x), self.training))
        return super().forward(x)


def normed():
    return nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))


def used_before():
    """Torch's older spectral norm keeps the outcome of its last call, which cannot be copied as it is."""
    net = nn.utils.spectral_norm(nn.Linear(2, 2))
    net(torch.ones(1, 2))
    return net


NETS = {
    "batch norm": normed,
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2)),
    "older spectral norm": used_before,
    "dropout": lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2)),
    "keeper": Keeper,
}


def by_module(name, net):
    """The host's own way, which leaves the network the program's."""
    pyro.module(name, net)
    return net


def program(make, objective=None, declare=mm.net, scale=0.5, stages=()):
    torch.manual_seed(3)
    encoders = {name: make() for name in MODALITIES}

    def model(batch):
        with mm.plate(batch):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            for name in batch.modalities:
                mm.observe(name, dist.Normal(z, 1.0).to_event(1), batch)

    def guide(batch):
        nets = {name: declare(f"{name}.encoder", encoders[name]) for name in batch.modalities}
        with mm.plate(batch):
            experts = {name: dist.Normal(net(batch[name]), scale).to_event(1) for name, net in nets.items()}
            pyro.sample("z", mm.MixtureOfProducts(experts, batch.present))

    return Program(model, guide, objective or mm.ELBO(), mm, MODALITIES, stages=stages or (Stage(),))


@pytest.mark.parametrize(
    "objective",
    [
        *(mm.ELBO(), mm.ELBO(gradient="stl"), mm.ELBO(gradient="score")),
        *(mm.ELBO(4, gradient="dreg"), mm.Masked(), mm.Masked(4, gradient="dreg")),
    ],
    ids=repr,
)
def test_networks_move_once_a_step_as_by_the_hosts_own(objective):
    """However often the guide's density is asked for, and the model scored."""
    found = []
    for own in (objective, Trace_ELBO()):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        torch.manual_seed(3)
        encoder, decoder = (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for _ in range(2))

        def model(batch, decoder=decoder):
            with mm.plate(batch):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                net = mm.net("decoder", decoder)
                mean = net(z.reshape(-1, 2)).reshape(z.shape)
                mm.observe("a", dist.Normal(mean, 1.0).to_event(1), batch)

        def guide(batch, encoder=encoder):
            with mm.plate(batch):
                loc = mm.net("encoder", encoder)(batch["a"])
                pyro.sample("z", dist.Normal(loc, 0.5).to_event(1))

        SVI(model, guide, Adam({"lr": 0.0}), own).step(mm.as_batch(DATA.select("a")))
        found.append((encoder[1].num_batches_tracked.item(), decoder[1].num_batches_tracked.item()))
        found[-1] += tuple(encoder[1].running_mean.tolist())
    assert found[0] == pytest.approx(found[1])
    assert found[0][:2] == (1, 1)


def location(fitted, name="a"):
    """The guide's mean given one modality, all its rows."""
    batch = mm.as_batch(DATA.only(name))
    with torch.no_grad():
        fn = pyro.poutine.trace(fitted.guide).get_trace(batch).nodes["z"]["fn"]
        torch.manual_seed(0)
        return fn.sample().numpy()


def running(name, epochs=4, momentum=0.1):
    """Torch's running statistics of the first layer, from the steps' batches alone."""
    mean, var = np.zeros(2), np.ones(2)
    for epoch in range(epochs):
        for batch in minibatches(DATA, 32, seed=0, epoch=epoch):
            mean = (1 - momentum) * mean + momentum * batch[name].mean(0)
            var = (1 - momentum) * var + momentum * batch[name].var(0, ddof=1)
    return mean, var


@pytest.mark.parametrize("declare", [mm.net, by_module])
@pytest.mark.parametrize("objective", [mm.ELBO(), mm.MVAE(), mm.MMVAE(2), mm.JMVAE()], ids=lambda o: type(o).__name__)
def test_statistics_run_over_the_steps_and_are_what_evaluation_uses(objective, declare):
    fitted = fit(program(normed, objective, declare, scale=1e-5), DATA, **SETTINGS)
    found = fitted.weights
    for name in MODALITIES:
        mean, var = (found[f"{name}.encoder.0.running_{part}"] for part in ("mean", "var"))
        steps = found[f"{name}.encoder.0.num_batches_tracked"]
        if declare is mm.net or isinstance(objective, mm.ELBO):
            assert steps == STEPS
            assert steps.dtype == np.int64
            np.testing.assert_allclose(mean, running(name)[0], rtol=1e-5)
            np.testing.assert_allclose(var, running(name)[1], rtol=1e-5)
        scaled = (DATA[name] - mean) / np.sqrt(var + 1e-5)
        scaled = scaled * found[f"{name}.encoder.0.weight"] + found[f"{name}.encoder.0.bias"]
        right = scaled @ found[f"{name}.encoder.1.weight"].T + found[f"{name}.encoder.1.bias"]
        np.testing.assert_allclose(location(fitted, name), right, atol=2e-4)


def test_dropout_is_for_training():
    fitted = fit(program(NETS["dropout"], scale=1e-5), DATA, **SETTINGS)
    weight, bias = fitted.weights["a.encoder.1.weight"], fitted.weights["a.encoder.1.bias"]
    np.testing.assert_allclose(location(fitted), DATA["a"] @ weight.T + bias, atol=2e-4)
    dry = fit(program(lambda: NETS["dropout"]().eval(), scale=1e-5), DATA, **SETTINGS)
    assert np.abs(dry.weights["a.encoder.1.weight"] - weight).max() > 1e-3


def test_an_averaged_network_keeps_the_live_buffers():
    fitted = fit(program(normed), DATA, ema=0.9, **SETTINGS)
    np.testing.assert_allclose(fitted.weights["a.encoder.0.running_mean"], running("a")[0], rtol=1e-5)
    live = fit(program(normed), DATA, **SETTINGS)
    assert np.abs(fitted.weights["a.encoder.1.weight"] - live.weights["a.encoder.1.weight"]).max() > 1e-4


@pytest.mark.parametrize("declare", [mm.net, by_module])
@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_a_run_goes_on_bit_for_bit_and_comes_back(make, declare, tmp_path, monkeypatch):
    def fresh():
        return program(make, mm.MVAE(), declare)

    whole = fit(fresh(), DATA, **SETTINGS)
    drawn = infer(whole, DATA, method="guide", num_samples=3, seed=1)["z"]
    save = Run.save

    def stopping(self, weights, state, epoch):
        save(self, weights, state, epoch)
        if epoch == 2:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", stopping)
        with pytest.raises(Stop):
            fit(fresh(), DATA, out=tmp_path / "run", **SETTINGS)
    resumed = fit(fresh(), DATA, out=tmp_path / "run", resume=True, **SETTINGS)
    for weights in (resumed.weights, Run(tmp_path / "run").weights()):
        assert weights.keys() == whole.weights.keys()
        for name, value in whole.weights.items():
            np.testing.assert_array_equal(weights[name], value, err_msg=name)
            assert weights[name].dtype == value.dtype
    again = Fitted(fresh(), Run(tmp_path / "run").weights())
    np.testing.assert_array_equal(infer(again, DATA, method="guide", num_samples=3, seed=1)["z"], drawn)


def test_what_a_network_keeps_in_other_types_or_makes_in_training_is_kept():
    found = fit(program(Keeper), DATA, **SETTINGS).weights
    np.testing.assert_array_equal(found["a.encoder.flag"], [False, True])  # turned in each of 12 steps
    np.testing.assert_array_equal(found["a.encoder.low"], np.float32(0.5**STEPS))
    assert found["a.encoder.count"] == STEPS
    first = [b["a"][0] for epoch in range(4) for b in minibatches(DATA, 32, seed=0, epoch=epoch)]
    np.testing.assert_allclose(found["a.encoder.late"], np.sum(first, 0), rtol=1e-5)


@pytest.mark.parametrize("declare", [mm.net, by_module])
def test_networks_train_in_steps_and_are_evaluated_anywhere_else(declare):
    own = program(lambda: Called(2, 2), declare=declare)
    Called.log.clear()
    fitted = fit(own, DATA, **SETTINGS)
    calls = [rows for rows, training in Called.log if training]
    assert calls == [32] * (2 * STEPS)
    Called.log.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)  # the chains are short
        for method in ("guide", "psis", "mala"):
            infer(fitted, DATA, method=method, num_samples=2)
    generate(fitted, DATA.only("a"), num=2)
    assert Called.log
    assert not any(training for _, training in Called.log)


def test_the_mode_is_the_programs_to_give():
    def make():
        net = normed()
        net[0].eval()
        return net

    found = fit(program(make), DATA, **SETTINGS).weights
    assert found["a.encoder.0.num_batches_tracked"] == 0
    np.testing.assert_array_equal(found["a.encoder.0.running_mean"], 0.0)


@pytest.mark.parametrize("declare", [mm.net, by_module])
def test_a_network_that_a_stage_leaves_alone_rests(declare):
    stages = (Stage("first", 0.5, train=("b.",)), Stage("second", 0.5))
    own = program(normed, declare=declare, stages=stages)
    found = fit(own, DATA, **SETTINGS).weights
    assert found["a.encoder.0.num_batches_tracked"] == STEPS / 2
    assert found["b.encoder.0.num_batches_tracked"] == STEPS


def test_parameters_that_ask_for_no_gradient_are_saved_and_given_back():
    def make():
        net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        net[0].requires_grad_(False)
        return net

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = fit(program(make, scale=1e-5), DATA, **SETTINGS)
    found = fitted.weights
    hidden = DATA["a"] @ found["a.encoder.0.weight"].T + found["a.encoder.0.bias"]
    right = hidden @ found["a.encoder.1.weight"].T + found["a.encoder.1.bias"]
    np.testing.assert_allclose(location(fitted), right, atol=2e-4)
    changed = {**found, "a.encoder.0.bias": found["a.encoder.0.bias"] + 1.0}
    moved = location(Fitted(fitted.program, changed)) - location(fitted)
    np.testing.assert_allclose(moved, np.broadcast_to(found["a.encoder.1.weight"].sum(1), moved.shape), atol=2e-4)


@pytest.mark.filterwarnings("ignore:Expected data of like units:mmppl.errors.TrainingWarning")
def test_a_step_that_is_not_finite_moves_no_buffer():
    values = {name: value.copy() for name, value in DATA.values.items()}
    last = list(np.random.default_rng([0, 0]).permutation(96))[-1]
    values["a"][last] = 1e30  # in the third step of three
    with pytest.raises(TrainingError, match="epoch 1, step 3") as caught:
        fit(program(normed), Batch(values), **SETTINGS)
    found = caught.value.fitted.weights
    assert found["a.encoder.0.num_batches_tracked"] == 2
    assert found["b.encoder.0.num_batches_tracked"] == 2
    assert np.abs(found["a.encoder.0.running_mean"]).max() < 2.0


def test_a_fit_leaves_the_networks_of_the_program_as_they_are():
    torch.manual_seed(0)
    net = normed()
    before = copy.deepcopy(net.state_dict())
    fit(program(lambda: net), DATA, **SETTINGS)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training


class Late(nn.Module):
    """Makes its only layer when it is first called."""

    def __init__(self):
        super().__init__()
        self.layer = None

    def forward(self, x):
        if self.layer is None:
            self.layer = nn.Linear(2, 2)
        return self.layer(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LazyLinear(2), r"'a.encoder' makes \['weight', 'bias'\] at its first call"),
        (lambda: nn.Sequential(nn.LazyBatchNorm1d(), nn.Linear(2, 2)), "makes .* at its first call.* Call it once"),
        (Late, r"'a.encoder' makes \['layer.weight', 'layer.bias'\] when it is called"),
    ],
)
def test_parameters_that_a_first_call_makes_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        fit(program(make), DATA, **SETTINGS)


def test_a_network_that_was_called_before_is_fitted():
    def make():
        net = nn.Sequential(nn.LazyLinear(2), nn.LazyBatchNorm1d())
        net(torch.zeros(3, 2))
        return net

    assert fit(program(make), DATA, **SETTINGS).weights["a.encoder.1.num_batches_tracked"] == STEPS + 1


def test_two_arrays_of_one_name_are_refused():
    inner = nn.ModuleDict({"b": nn.Linear(2, 2)})

    def guide(batch):
        mm.net("a", inner)
        mm.net("a.b", nn.Linear(2, 2))
        with mm.plate(batch):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    own = Program(program(normed).model, guide, mm.ELBO(), mm, MODALITIES)
    with pytest.raises(OptionError, match=r"a name of its own for every array; got \['a.b.weight', 'a.b.bias'\] twice"):
        fit(own, DATA, **SETTINGS)


def test_a_stage_that_moves_no_parameter_is_refused():
    with pytest.raises(OptionError, match="stage 'still' to train some of the parameters"):
        fit(program(normed, stages=(Stage("still", train=("a.encoder.0.running_mean",)),)), DATA, **SETTINGS)


def test_chains_come_back_with_the_run(tmp_path):
    data = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=64)
    options = {"latent_dim": 2, "hidden": 8, "energy_hidden": 8, "chains": 8, "buffer": 32, "steps": 2}
    own = ebm(data.modalities, ppl=mm, **options)
    about = run_info("linear_gaussian")
    fit(own, data.train, epochs=4, batch_size=32, out=tmp_path / "run", info=about, progress=False)
    loaded = mmppl.load(tmp_path / "run")
    (prior,) = mm.host.find_prior(loaded.model, data.test[:2]).values()
    assert loaded.weights["energy.chains"].shape == (32, 2)
    np.testing.assert_array_equal(prior.module.chains, loaded.weights["energy.chains"])
