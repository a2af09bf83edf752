"""Programs that are Pyro's own modules, whose layers take no axes of particles: the host's objective is the oracle."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.transforms import affine_autoregressive
from pyro.infer import Trace_ELBO
from pyro.nn import PyroModule, PyroParam
from scipy import stats

import mmppl.pyro as mm
from mmppl import Batch, Modality
from mmppl.inference import Fitted, Program, Run, fit, infer

ROWS = Batch({"a": np.random.default_rng(0).normal(2.0, 3.0, size=(32, 2))})


class Net(PyroModule):
    """A BatchNorm1d, which takes rows alone, and a layer."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm = PyroModule[torch.nn.BatchNorm1d](inputs, momentum=0.3)
        self.layer = PyroModule[torch.nn.Linear](inputs, outputs)

    def forward(self, x):
        return self.layer(self.norm(x))


class Model(PyroModule):
    def __init__(self):
        super().__init__()
        self.decoder = Net(1, 2)

    def forward(self, batch):
        with mm.plate(batch):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            mm.observe("a", dist.Normal(self.decoder(z), 1.0).to_event(1), batch)


class Guide(PyroModule):
    def __init__(self, point):
        super().__init__()
        self.encoder, self.point = Net(2, 1), point

    def forward(self, batch):
        loc = self.encoder(batch["a"])
        with mm.plate(batch):
            pyro.sample("z", dist.Delta(loc, event_dim=1) if self.point else dist.Normal(loc, 0.5).to_event(1))


@pytest.fixture(autouse=True)
def doubles():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def one_step(objective):
    """Loss, gradients and buffers of a step from the same weights."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    model, guide = Model(), Guide(point=True)
    loss = objective.loss_and_grads(model, guide, mm.as_batch(ROWS))
    parts = [*model.named_parameters(), *guide.named_parameters()]
    kept = {n: x.clone() for part in (model, guide) for n, x in part.named_buffers()}
    return loss, {n: x.grad for n, x in parts}, kept


@pytest.mark.parametrize("objective", [mm.ELBO(3), mm.ELBO(3, average=True)], ids=["weighted", "averaged"])
def test_every_particle_moves_the_networks_as_under_the_hosts_own_objective(objective):
    expected, found = one_step(Trace_ELBO(num_particles=3)), one_step(objective)
    assert found[0] == pytest.approx(expected[0])
    for theirs, ours in zip(expected[1:], found[1:], strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_fit_is_evaluated_by_the_running_statistics_that_it_kept(tmp_path):
    program = Program(Model(), Guide(point=False), mm.ELBO(3), mm, {"a": Modality((2,))})
    settings = {"batch_size": 16, "learning_rate": 1e-2, "progress": False}
    kept = fit(program, ROWS, epochs=20, out=tmp_path / "run", **settings)
    again = Program(Model(), Guide(point=False), mm.ELBO(3), mm, {"a": Modality((2,))})
    loaded = Fitted(again, Run(tmp_path / "run").weights())
    fit(program, ROWS, epochs=2, **settings)  # moves the program's modules, and not what was kept of them
    for fitted in (kept, loaded):
        check(fitted)


class Recurrent(torch.nn.Module):
    """A recurrent network, which has its weights in a list beside their names."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.GRU(2, 1)

    def forward(self, x):
        return self.inner(x)[0]


@pytest.mark.parametrize("make", [lambda: torch.nn.Linear(2, 1), Recurrent], ids=["linear", "recurrent"])
def test_another_fit_of_the_same_networks_leaves_the_first_as_it_was(make):
    net = make()

    def model(batch):
        with mm.plate(batch):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            mm.observe("a", dist.Normal(z.expand(*z.shape[:-1], 2), 1.0).to_event(1), batch)

    def guide(batch):
        loc = pyro.module("encoder", net)(batch["a"])
        with mm.plate(batch):
            pyro.sample("z", dist.Normal(loc, 0.5).to_event(1))

    program = Program(model, guide, mm.ELBO(), mm, {"a": Modality((2,))})
    first = fit(program, ROWS, epochs=1, progress=False)
    before = infer(first, ROWS, method="guide", num_samples=3)["z"]
    second = fit(program, ROWS, epochs=3, learning_rate=0.1, progress=False)
    np.testing.assert_array_equal(infer(first, ROWS, method="guide", num_samples=3)["z"], before)
    assert np.abs(infer(second, ROWS, method="guide", num_samples=3)["z"] - before).max() > 0.1


def test_a_density_that_is_asked_for_after_the_program_has_the_weights_of_its_fit():
    """That of a flow, which a distribution runs when it is asked."""

    def make():
        torch.manual_seed(0)
        flow = affine_autoregressive(2)

        def model(batch):
            with mm.plate(batch):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 3.0).to_event(1))
                mm.observe("a", dist.Normal(z, 0.5).to_event(1), batch)

        def guide(batch):
            pyro.module("flow", flow)
            with mm.plate(batch):
                base = dist.Normal(0.0 * batch["a"], 1.0).to_event(1)
                pyro.sample("z", dist.TransformedDistribution(base, [flow]))

        return Program(model, guide, mm.ELBO(), mm, {"a": Modality((2,))})

    program, z = make(), np.ones((1, len(ROWS), 2))
    first = fit(program, ROWS, epochs=10, learning_rate=0.1, progress=False)
    wanted = mm.host.guide_log_prob(first.guide, {"z": z}, ROWS)
    loaded, start = Fitted(make(), first.weights), Fitted(make(), {**first.weights, **_weights_of(make())})
    assert np.abs(mm.host.guide_log_prob(start.guide, {"z": z}, ROWS) - wanted).max() > 1.0
    fit(program, ROWS, epochs=3, learning_rate=0.1, progress=False)
    for fitted in (first, loaded):
        np.testing.assert_array_equal(mm.host.guide_log_prob(fitted.guide, {"z": z}, ROWS), wanted)
        with pyro.poutine.trace() as run, pyro.poutine.condition(data={"z": torch.as_tensor(z[0])}):
            fitted.guide(mm.as_batch(ROWS))
        found = run.trace.nodes["z"]["fn"].log_prob(torch.as_tensor(z[0]))
        np.testing.assert_allclose(found.detach(), wanted[0])


def _weights_of(program):
    trainer = mm.host.Trainer(program, ROWS[:2], seed=0, learning_rate=1.0, clip=None, ema=0.0)
    return trainer.weights()


@pytest.mark.parametrize(("objective", "moves"), [(mm.MVAE(), 1), (mm.ELBO(3), 3)], ids=["MVAE", "ELBO"])
def test_networks_move_where_a_latent_is_outside_the_plate(objective, moves):
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 1))

    def model(batch):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with mm.plate(batch):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            mm.observe("a", dist.Normal(w + z.expand(*z.shape[:-1], 2), 1.0).to_event(1), batch)

    def guide(batch):
        loc = mm.net("encoder", net)(batch["a"])
        pyro.sample("w", dist.Normal(pyro.param("m", torch.zeros(())), 1.0))
        with mm.plate(batch):
            pyro.sample("z", dist.Normal(loc, 0.5).to_event(1))

    program = Program(model, guide, objective, mm, {"a": Modality((2,))})
    fitted = fit(program, ROWS, epochs=1, batch_size=len(ROWS), progress=False)
    assert fitted.weights["encoder.0.num_batches_tracked"] == moves


def test_buffers_of_the_model_and_of_the_guide_are_kept():
    class Shifted(PyroModule):
        def __init__(self):
            super().__init__()
            self.register_buffer("shift", torch.ones(2))

        def forward(self, batch):
            with mm.plate(batch):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                mm.observe("a", dist.Normal(z + self.shift, 1.0).to_event(1), batch)

    class Counting(PyroModule):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros(1))
            self.loc = PyroParam(torch.zeros(2))

        def forward(self, batch):
            if self.training:
                self.count += 1
            with mm.plate(batch):
                pyro.sample("z", dist.Normal(self.loc + 0.0 * batch["a"], 1.0).to_event(1))

    program = Program(Shifted(), Counting(), mm.ELBO(), mm, {"a": Modality((2,))})
    weights = fit(program, ROWS, epochs=3, batch_size=len(ROWS), progress=False).weights
    assert weights["count"] == 3
    np.testing.assert_array_equal(weights["shift"], [1.0, 1.0])


def check(fitted):
    """The guide's means and the likelihood are those of the weights, by hand."""

    def net(name, x):
        w = {n: next(v for k, v in fitted.weights.items() if k.endswith(f"{name}.{n}")) for n in PARTS}
        h = (x - w["norm.running_mean"]) / np.sqrt(w["norm.running_var"] + 1e-5) * w["norm.weight"] + w["norm.bias"]
        return h @ w["layer.weight"].T + w["layer.bias"]

    drawn = infer(fitted, ROWS, method="guide", num_samples=1000)["z"].mean((0, 1))
    np.testing.assert_allclose(drawn, net("encoder", ROWS["a"]), atol=0.08)
    z = np.linspace(-2.0, 2.0, 32)[None, :, None]
    found = mm.host.scores(fitted.model, {"z": z}, ROWS, prior=False)[0]["a"]
    np.testing.assert_allclose(found, stats.norm.logpdf(ROWS["a"], net("decoder", z)).sum(-1), rtol=1e-9)


PARTS = ("norm.running_mean", "norm.running_var", "norm.weight", "norm.bias", "layer.weight", "layer.bias")
