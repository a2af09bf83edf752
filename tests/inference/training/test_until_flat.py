"""Fits that go on until the held-out bound is flat: how long, from which weights on, of which rows; over a pause.

The program has one parameter c and no latent that matters: x ~ N(z + c, 1) with the exact posterior as its guide, whose
loss is that of N(c, 2). Adam's steps are about its learning rate, so that c climbs evenly to the mean.
"""

import json

import numpy as np
import pytest

from mmppl.batch import Batch, Modality
from mmppl.data import load
from mmppl.errors import RunError
from mmppl.inference import EarlyStopping, Program, Run, fit
from mmppl.inference.training.course import Course, until_flat
from mmppl.inference.training.history import History
from mmppl.inference.training.schedules import SCHEDULES


def rows(mean, num=8):
    x = np.linspace(-1.0, 1.0, num)[:, None] + mean
    return Batch({"x": x.astype(np.float32)})


@pytest.fixture
def program(ppl):
    host = ppl.host

    def model(batch):
        c = host.param("c", host.zeros(1))
        with ppl.plate(batch):
            z = host.sample("z", host.dist.Normal(host.zeros(1), 1.0).to_event(1))
            ppl.observe("x", host.dist.Normal(z + c, 1.0).to_event(1), batch)

    def guide(batch):
        c = host.param("c", host.zeros(1))
        with ppl.plate(batch):
            host.sample("z", host.dist.Normal((batch["x"] - c) / 2, 0.5**0.5).to_event(1))

    return Program(model, guide, ppl.ELBO(), ppl, {"x": Modality((1,), scale=1.0)})


def test_the_rate_is_annealed_from_the_best_weights_on(program):
    """c climbs to 1, past held-out rows around 0.3: it goes back to 0.3 and is annealed half as long as it took."""
    how = {"validation": rows(0.3), "learning_rate": 0.1, "batch_size": 8, "progress": False}
    fitted = fit(program, rows(1.0), early_stopping=2, **how)
    losses = fitted.history.table()["validation.loss"]
    best = int(losses[:5].argmin()) + 1
    assert best in (2, 3)
    assert len(losses) == best + 2 + -(-best // 2)
    # The same weights by hand: constant to the best epoch, and Adam's moments go on with a rate that falls.
    ended = float(fitted.weights["c"][0])
    plain = fit(program, rows(1.0), epochs=best, schedule="constant", **{**how, "validation": None})
    before = float(plain.weights["c"][0])
    steps = -(-best // 2)
    factors = SCHEDULES["late cosine"](np.arange(best, best + steps) / (best + steps))
    assert before < ended
    assert ended - before == pytest.approx(0.1 * factors.sum(), rel=0.1)


def test_a_schedule_that_is_given_is_not_annealed(program):
    how = {"validation": rows(0.3), "learning_rate": 0.1, "batch_size": 8, "progress": False, "schedule": "constant"}
    fitted = fit(program, rows(1.0), early_stopping=2, **how)
    best = int(fitted.history.table()["validation.loss"].argmin()) + 1
    assert len(fitted.history) == best + 2
    assert np.array_equal(fitted.weights["c"], fit(program, rows(1.0), epochs=best, **how).weights["c"])


def test_a_history_shows_the_last_held_out_value_that_there_is():
    records = [{"epoch": i + 1, "stage": "joint", "loss": 3.0 - i} for i in range(4)]
    for record in records[:2]:
        record["validation.loss"] = record["loss"] - 0.5
    history = History(records)
    assert repr(history) == "History of 4 epochs: loss 3 to 0 nats, held out 1.5"
    assert "nan" not in history._repr_html_()


class Stop(BaseException):
    pass


def test_a_published_system_learns_from_all_rows_in_the_end_and_resumes_bit_for_bit(small, tmp_path, monkeypatch):
    monkeypatch.setattr("mmppl.inference.training.course.PATIENCE", 2)
    monkeypatch.setattr("mmppl.inference.training.course.STEPS", 6)
    data = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=130, num_test=8).train
    program, how = small("mvae", {"a": Modality((3,)), "b": Modality((2,))}), {"batch_size": 39, "progress": False}
    how["learning_rate"] = 0.03
    whole = fit(program, data, out=tmp_path / "whole", **how)
    table = whole.history.table()
    held = np.isfinite(table["validation.loss"])
    searched = int(held.sum())
    best = int(np.nanargmin(table["validation.loss"])) + 1
    assert held[:searched].all()
    assert (searched, len(held)) == (best + 2, searched + -(-best // 2))
    # 117 rows are three steps; of all 130 there are three as well, of other rows.
    assert set(table["steps"]) == {3}
    info = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert info["validation"] == {"share": 0.1, "by_default": True}
    assert (info.get("epochs"), info["data_digest"]["rows"]) == (None, 130)
    for at in (2, searched, searched + 1):
        original, calls = Run.save, []

        def save(self, *args, original=original, calls=calls, at=at):
            original(self, *args)
            calls.append(1)
            if len(calls) == at:
                raise Stop

        with monkeypatch.context() as patch:
            patch.setattr(Run, "save", save)
            with pytest.raises(Stop):
                fit(program, data, out=tmp_path / str(at), **how)
        resumed = fit(program, data, out=tmp_path / str(at), resume=True, **how)
        assert all(np.array_equal(resumed.weights[n], x) for n, x in whole.weights.items())
        lines = [[{k: v for k, v in r.items() if k != "seconds"} for r in f.history] for f in (whole, resumed)]
        assert lines[0] == lines[1]
    with pytest.raises(RunError, match="The run has epochs=None, not 9"):
        fit(program, data, out=tmp_path / "2", resume=True, epochs=9, **how)


def test_every_stage_is_looked_at_by_itself_but_for_an_energy(small, monkeypatch):
    monkeypatch.setattr("mmppl.inference.training.course.LONGEST", 2)
    monkeypatch.setattr("mmppl.inference.training.course.LONGEST_STEPS", 2)
    data = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=128, num_test=8)
    how = {"batch_size": 64, "progress": False}
    stages = [r["stage"] for r in fit(small("mld", data.modalities), data.train, **how).history]
    assert stages == ["autoencoders"] * 3 + ["prior"] * 3
    monkeypatch.setattr("mmppl.inference.training.settings.MOST", 5)
    history = fit(small("ebm", data.modalities), data.train, **how).history
    assert [r["stage"] for r in history] == ["backbone"] * 3 + ["energy"] * 2


def test_a_course_tells_where_it_ends():
    losses = [5.0, 4.0, 3.0, 3.5, 3.2]
    course = Course(9, EarlyStopping(2), anneals=True)
    assert [course.length(losses[:n]) for n in range(6)] == [None, None, None, None, None, 7]
    assert (course.best(losses), course.annealing(losses)) == (3, 2)
    after = [*losses, float("nan"), float("nan")]
    assert (course.over(after[:6]), course.over(after)) == (False, True)
    assert Course(3, EarlyStopping(9), anneals=True).length(losses[:3]) == 5  # of as many as it may take
    assert [Course(3).over(losses[:n]) for n in (2, 3)] == [False, True]
    assert [(until_flat(steps, None).number, until_flat(steps, None).rule.patience) for steps in (1, 12, 1000)] == [
        (3000, 500),
        (500, 42),
        (300, 5),
    ]


@pytest.mark.parametrize(
    ("steps", "best", "waited"), [(1, 40, 200), (1, 600, 300), (1, 2000, 500), (100, 9, 5), (2, 300, 150)]
)
def test_what_is_waited_for_goes_by_the_steps_to_the_best_bound(steps, best, waited):
    """In epochs of so many steps: half of those to the best, at least 200 steps, at most 500, or five epochs."""
    rule, falling = until_flat(steps, None).rule, [float(best - epoch) for epoch in range(best)]
    assert not rule.ended(falling + [1.5] * (waited - 1))
    assert rule.ended(falling + [1.5] * waited)


def test_a_course_looks_at_each_loss_once():
    """Asked after every epoch of a small table, of which there are thousands, it must not take longer than they do."""

    class Loss(float):
        compared = 0

        def __lt__(self, other):
            Loss.compared += 1
            return float(self) < other

    losses = [Loss(1 / (1 + epoch)) for epoch in range(2000)]
    assert until_flat(1, None).searched(losses) is None
    assert Loss.compared == len(losses)
