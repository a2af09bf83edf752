"""Callbacks, loggers, the history and the warnings of a fit, with a host in numpy that takes no time."""

import sys
import types

import numpy as np
import pytest

from mmppl.batch import Batch, Modality
from mmppl.errors import OptionError, PackageError, TrainingWarning
from mmppl.inference import Callback, EarlyStopping, History, MLflow, TensorBoard, WeightsAndBiases, fit, objectives
from mmppl.inference.training.advice import warn_of_cost, warn_of_scales, warn_of_units, warn_of_warm_up
from mmppl.inference.training.moments import Statistics
from mmppl.inference.training.settings import Settings, TrainingSettings


def test_callbacks_are_called_in_their_order(numpy_host):
    called = []

    class Tell:
        def on_step(self, event):
            called.append(("step", event.stage, event.epoch, event.step, sorted(event.record)))

        def on_stage(self, event):
            called.append(("stage", event.stage, event.epoch, event.step, []))

        def on_epoch(self, event):
            called.append(("epoch", event.stage, event.epoch, event.step, event.fitted.history == [event.record]))

        def on_end(self, event):
            called.append(("end", event.stage, event.epoch, event.step, event.record["epoch"]))

    fit(numpy_host.program(), numpy_host.data(8), callbacks=[Tell()], epochs=1, batch_size=4, progress=False)
    assert called == [
        ("stage", "joint", 0, 0, []),
        ("step", "joint", 0, 1, ["loss"]),
        ("step", "joint", 0, 2, ["loss"]),
        ("epoch", "joint", 1, 2, True),
        ("end", "joint", 1, 2, 1),
    ]


def test_a_fit_that_fails_ends_for_its_callbacks(numpy_host):
    ended = []

    class Fails(Callback):
        def on_epoch(self, event):
            raise KeyError("own")

        def on_end(self, event):
            ended.append(event.epoch)

    with pytest.raises(KeyError, match="own"):
        fit(numpy_host.program(), numpy_host.data(), callbacks=[Fails()], **numpy_host.SETTINGS)
    assert ended == [1]


class Half(Callback):
    state_dict = dict


class Live(Half):
    def state_dict(self):
        return {"net": object()}

    def load_state_dict(self, state):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"callbacks": [3]}, "Expected callbacks with some of on_step, on_epoch, on_stage, on_end; got 3"),
        ({"callbacks": [Callback]}, "Expected callbacks with some of"),
        ({"callbacks": Callback()}, r"Expected callbacks=\[\.\.\.\], a list of callbacks; got a Callback"),
        ({"callbacks": [Half()]}, "Expected load_state_dict beside state_dict"),
        ({"callbacks": [Live()]}, "Expected the state of callbacks to be arrays and what JSON can hold"),
        ({"early_stopping": 2}, r"Expected validation= with early_stopping="),
        ({"early_stopping": 0, "validation": 0.5}, "a patience in epochs, a whole number >= 1"),
        ({"early_stopping": True, "validation": 0.5}, "a patience in epochs"),
        ({"validation": 1.0}, r"0 < validation < 1; got validation=1\.0"),
        ({"validation": True}, "0 < validation < 1"),
        ({"validation": "test"}, "Expected validation to be data or a share of the rows"),
        (
            {"schedule": "linear"},
            r"Expected a schedule among \['cosine', 'constant'\], or one of the host; got 'linear'",
        ),
        ({"optimiser": 3}, r"Unknown settings \['optimiser'\] of fit; it has \['epochs'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_made(numpy_host, tmp_path, options, message):
    with pytest.raises(OptionError, match=message):
        fit(numpy_host.program(), numpy_host.data(), out=tmp_path / "run", **{**numpy_host.SETTINGS, **options})
    assert not (tmp_path / "run").exists()


def test_the_keywords_of_fit_are_its_settings():
    assert list(TrainingSettings.__annotations__) == list(Settings.__dataclass_fields__)
    assert len(fit.__code__.co_varnames[: fit.__code__.co_argcount + fit.__code__.co_kwonlyargcount]) <= 12
    with pytest.raises(OptionError, match="Expected min_delta >= 0, in nats; got -1"):
        EarlyStopping(3, min_delta=-1)


def test_early_stopping_takes_no_gain_that_is_too_small_and_no_loss_that_is_none():
    assert EarlyStopping(2, min_delta=0.5).best([3.0, 2.6, 2.4]) == 2
    assert EarlyStopping(2, min_delta=0.5).best([3.0, 2.6, 2.55]) == 0
    assert EarlyStopping(2).best([np.nan, 2.0, np.nan]) == 1
    assert EarlyStopping(2).ended([np.nan, np.nan, np.nan])


def test_history_is_a_table_with_a_plot(numpy_host):
    data = numpy_host.data()
    history = fit(numpy_host.program(), data, validation=data, **numpy_host.SETTINGS).history
    table = history.table()
    assert table["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert history.terms() == ["loss"]
    axes = history.plot().axes
    assert [line.get_label() for line in axes[0].lines] == ["training", "held out"]
    for line, name in zip(axes[0].lines, ("loss", "validation.loss"), strict=True):
        assert line.get_ydata().tolist() == table[name].tolist() == [record[name] for record in history]
    two = History([{"epoch": 1, "stage": "a", "loss": 1.0}, {"epoch": 2, "stage": "b", "loss": 2.0, "kl": 1.0}])
    panels = [[line.get_ydata().tolist() for line in axes.lines] for axes in two.plot("loss", "kl").axes]
    assert panels == [[[1.0]], [[2.0]], [], [[1.0]]]  # a row for each term, a column for each stage
    assert two.table()["stage"].tolist() == ["a", "b"]


def test_loggers_write_the_history(numpy_host, tmp_path, monkeypatch):
    board, logged, opened, ended = [], [], [], []

    class SummaryWriter:
        def __init__(self, folder):
            opened.append(folder)

        def add_scalar(self, name, value, step):
            board.append((name, value, step))

        def close(self):
            ended.append("board")

    def init(**options):
        opened.append(options)
        return types.SimpleNamespace(
            id="w1", log=lambda record, step: logged.append((step, record)), finish=lambda: ended.append("wandb")
        )

    def start_run(**options):
        opened.append(options)
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="m1"))

    def log_metrics(record, step):
        logged.append((step, record))

    mlflow = types.SimpleNamespace(
        active_run=lambda: None, start_run=start_run, log_metrics=log_metrics, end_run=lambda: ended.append("mlflow")
    )
    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=SummaryWriter))
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init, run=None))
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    settings = {**numpy_host.SETTINGS, "epochs": 2, "out": tmp_path / "run"}
    every = [TensorBoard(tmp_path / "logs"), WeightsAndBiases(project="p"), MLflow(run_name="n")]
    history = fit(numpy_host.program(), numpy_host.data(), callbacks=every, **settings).history
    assert opened == [str(tmp_path / "logs"), {"project": "p"}, {"run_name": "n"}]
    numbers = [{k: v for k, v in record.items() if k != "stage"} for record in history]
    assert logged == [(n, numbers[n - 1]) for n in (1, 1, 2, 2)]
    assert board == [(name, value, n) for n in (1, 2) for name, value in numbers[n - 1].items()]
    assert ended == ["board", "wandb", "mlflow"]
    # A run that goes on, goes on there too.
    again = [TensorBoard(tmp_path / "logs"), WeightsAndBiases(project="p"), MLflow(run_name="n")]
    fit(numpy_host.program(), numpy_host.data(), callbacks=again, resume=True, **settings)
    assert again[1].options == {"project": "p", "id": "w1", "resume": "allow"}
    assert again[2].options == {"run_id": "m1"}


def test_loggers_write_to_an_open_run_and_leave_it_open(numpy_host, monkeypatch):
    logged = []

    class Run:
        info = types.SimpleNamespace(run_id="m1")
        id = "w1"

        def log(self, record, step):
            logged.append(("wandb", step, record))

    def refuse(**options):
        raise AssertionError("A run of the user's own is open.")

    run = Run()
    mlflow = types.SimpleNamespace(
        active_run=lambda: run,
        start_run=refuse,
        end_run=refuse,
        log_metrics=lambda record, step: logged.append(("mlflow", step, record)),
    )
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=refuse, run=run))
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    settings = {**numpy_host.SETTINGS, "epochs": 2}
    fit(numpy_host.program(), numpy_host.data(), callbacks=[WeightsAndBiases(), MLflow()], **settings)
    assert [(name, step) for name, step, _ in logged] == [("wandb", 1), ("mlflow", 1), ("wandb", 2), ("mlflow", 2)]


def test_a_logger_without_its_package_names_the_extra(monkeypatch):
    for package, make, extra in (
        ("tensorboardX", lambda: TensorBoard("x"), "tensorboard"),
        ("wandb", WeightsAndBiases, "wandb"),
        ("mlflow", MLflow, "mlflow"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(PackageError, match=rf"'{package}', which is not installed.*mmppl\[{extra}\]"):
            make()


def test_a_warm_up_longer_than_its_stage_is_said():
    objective = objectives.ELBO(beta=objectives.schedules.WarmUp(100, 2.0))
    with pytest.warns(TrainingWarning, match=r"within the 25 steps of stage 'joint'; got 100 .* ends at 0.5, not at 2"):
        warn_of_warm_up(objective, "joint", 25)
    warn_of_warm_up(objective, "joint", 100)


def test_all_strata_of_many_modalities_say_what_they_cost():
    with pytest.warns(TrainingWarning, match=r"MoPoE\(strata='all'\) of stage 'joint' decodes every datum 31 times"):
        warn_of_cost(objectives.MoPoE(), "joint", 5)
    for objective, number in ((objectives.MoPoE(), 4), (objectives.MoPoE(strata="one"), 5), (objectives.MMVAE(), 16)):
        warn_of_cost(objective, "joint", number)


def test_very_different_units_are_said_where_nothing_standardises():
    rng = np.random.default_rng(0)
    data = Batch({"a": rng.normal(size=(50, 2)), "b": 500 * rng.normal(size=(50, 1))})
    modalities = {"a": Modality((2,)), "b": Modality((1,))}
    with pytest.warns(TrainingWarning, match=r"standard deviations from .* \('a'\) to 4\d\d \('b'\)"):
        warn_of_units(Statistics(data, modalities), ["a.net.weight"])
    warn_of_units(Statistics(data, modalities), ["a.net.weight", "b.encoder.0.centre"])


@pytest.mark.parametrize("likelihood", ["normal", "laplace"])
def test_a_scale_that_residuals_speak_against_is_said(numpy_host, likelihood):
    """The mean log likelihood at a scale of 0.5 of residuals that have a scale of 0.2, 0.5 and 1.5."""
    program = numpy_host.program()
    program.modalities["a"] = Modality((2,), likelihood=likelihood, scale=0.5)
    for size in (0.2, 0.5, 1.5):
        if likelihood == "normal":
            value = 2 * (-0.5 * np.log(2 * np.pi * 0.25) - 0.5 * (size / 0.5) ** 2)
        else:
            value = 2 * (-np.log(2 * 0.5) - size / 0.5)
        history = [{"log_lik.a": value}] * 8
        if size == 0.5:
            warn_of_scales(program, history)
            continue
        with pytest.warns(TrainingWarning, match=rf"'a' of about its fixed scale, 0\.5; got {size}, .*scale='learned'"):
            warn_of_scales(program, history)
    warn_of_scales(program, history[:3])  # larger ones may still shrink
