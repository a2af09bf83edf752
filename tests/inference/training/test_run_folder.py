"""The run folder as fit keeps it: who may write, what is resumed, what is removed, and what a bad disk does."""

import errno
import json
import os
import stat
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from mmppl.batch import Batch
from mmppl.errors import OptionError, OutOfMemoryError, RunError, TrainingError
from mmppl.inference import Run, fit
from mmppl.inference.training import durable

HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
file.write("process 4711 on another")
file.flush()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def run(numpy_host, tmp_path):
    """Fits to the folder, with other settings, data or program if wanted."""

    def run(data=None, program=None, **settings):
        data = numpy_host.data() if data is None else data
        settings = {"out": tmp_path / "run", **numpy_host.SETTINGS, **settings}
        return fit(program or numpy_host.program(), data, **settings)

    return run


class Stop(BaseException):
    """Something from outside that ends a run."""


def stopping(monkeypatch, method, number):
    """Makes a call of a method of the run folder the last act of a run."""
    original, calls = getattr(Run, method), []

    def counted(self, *args, **options):
        original(self, *args, **options)
        calls.append(1)
        if len(calls) == number:
            raise Stop

    monkeypatch.setattr(Run, method, counted)


def test_resuming_asks_for_the_same_settings(numpy_host, run, tmp_path):
    first = run()
    with pytest.raises(RunError, match=r"exists already; choose another folder, or pass force \(--force\)"):
        run()
    for settings, message in (
        ({"seed": 1}, "The run has seed=0, not 1; resume it with the same settings"),
        ({"clip": 2.0}, "The run has clip=None, not 2.0"),
        ({"info": {"data": "a.npz"}}, "The run has data=None, not 'a.npz'"),
        ({"program": numpy_host.program(width=3)}, r"The run has options=\{\}, not \{'width': 3\}"),
    ):
        with pytest.raises(RunError, match=message):
            run(resume=True, **settings)
    assert np.array_equal(Run(tmp_path / "run").weights()["w"], first.weights["w"])  # a refusal changes nothing
    assert run(resume=True).history == first.history
    run(force=True, seed=1)
    assert not np.array_equal(Run(tmp_path / "run").weights()["w"], first.weights["w"])


def test_a_run_that_does_not_say_its_part_of_the_data_is_gone_on_with(run):
    first = run()
    assert run(resume=True, info={"part": "train"}).history == first.history
    run(force=True, info={"part": "test"})
    with pytest.raises(RunError, match="The run has part='test', not 'train'; resume it with the same info"):
        run(resume=True, info={"part": "train"})


def test_options_that_come_back_as_lists_are_the_same(numpy_host, run):
    run(program=numpy_host.program(widths=(1, 2)))
    run(program=numpy_host.program(widths=(1, 2)), resume=True)


def test_resuming_asks_for_the_same_data(numpy_host, run):
    data = numpy_host.data()
    run()
    moved = data["a"].copy()
    moved[7, 1] = np.nextafter(moved[7, 1], np.float32(9))
    swapped = data.label.copy()
    swapped[[1, 2]] = swapped[[2, 1]]
    for other, message in (
        (data[:8], "8 rows, not 12"),
        (Batch({"a": moved}, label=data.label), "other values of modality 'a'"),
        (replace(data, label=swapped), "other labels"),
    ):
        with pytest.raises(RunError, match=f"The data are not those that the run began with: {message}"):
            run(other, resume=True)
    run(data, resume=True)


def test_a_zero_that_is_hidden_is_no_zero(numpy_host, run):
    there, pair = np.arange(12) != 3, {"a": np.ones((12, 2)), "b": np.zeros((12, 2))}
    run(Batch(pair), program=numpy_host.program(names="ab"))
    with pytest.raises(RunError, match="other presence of modality 'b'"):
        run(Batch(pair, {"b": there}), program=numpy_host.program(names="ab"), resume=True)


@pytest.mark.parametrize(("method", "number"), [("create", 1), ("log", 1), ("save_weights", 1)])
def test_a_run_that_ended_before_its_first_save_begins_anew(run, tmp_path, monkeypatch, method, number):
    whole = run(out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        stopping(patch, method, number)
        with pytest.raises(Stop):
            run()
    resumed = run(resume=True)
    assert np.array_equal(resumed.weights["w"], whole.weights["w"])
    assert [line["loss"] for line in Run(tmp_path / "run").history()] == [line["loss"] for line in whole.history]


def test_what_is_lost_is_told(run, tmp_path):
    folder = tmp_path / "run"
    run()
    (folder / "state" / "state.safetensors").unlink()
    with pytest.raises(RunError, match=r"has weights but no state/state\.safetensors to go on from. Load it as it is"):
        run(resume=True)
    (folder / "run.json").unlink()
    with pytest.raises(RunError, match=r"is not a run folder: it has no run\.json. Fit without resume"):
        run(resume=True)


def test_a_folder_that_was_only_begun_is_free(run, tmp_path):
    """A kill before run.json was there leaves the lock, and a part of the file."""
    (tmp_path / "run" / "state").mkdir(parents=True)
    (tmp_path / "run" / ".lock").write_text("process 1 on another")
    (tmp_path / "run" / ".run.json.123.part").write_text("{")
    run()


def test_a_state_folder_that_is_gone_is_made_again(run, tmp_path):
    whole = run()
    for name in ("params.safetensors", "metrics.jsonl", "state/state.safetensors"):
        (tmp_path / "run" / name).unlink()
    (tmp_path / "run" / "state").rmdir()
    with pytest.raises(RunError, match=r"exists already; .* Or go on with it by resume \(--resume\)"):
        run()
    assert np.array_equal(run(resume=True).weights["w"], whole.weights["w"])


def test_resuming_removes_what_a_killed_writer_left(run, tmp_path):
    folder = tmp_path / "run"
    run()
    left = [folder / ".params.safetensors.123.part", folder / "state" / ".state.safetensors.4711.part"]
    others = [folder / ".evaluation.json.123.part", folder / "params.safetensors.mine.part"]  # may be being written
    for path in (*left, *others):
        path.write_text("half")
    run(resume=True)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)


def test_a_second_writer_is_refused(run, tmp_path):
    folder = tmp_path / "run"
    first = run()
    args = [sys.executable, "-c", HOLDER, str(folder / ".lock")]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        for how in ({"resume": True}, {"force": True}):
            with pytest.raises(RunError, match="is being written by process 4711 on another. Wait until it has ended"):
                run(**how)
        with pytest.raises(RunError, match="is being written by process 4711"):
            first.save(folder, force=True)
        assert Run(folder).history() == first.history  # it may be read
        holder.kill()
    run(resume=True)
    with Run(folder).writing(), pytest.raises(RunError, match=f"is being written by process {os.getpid()} on"):
        run(force=True)


def test_force_removes_what_mmppl_wrote_and_nothing_else(run, tmp_path):
    folder = tmp_path / "run"
    run()
    (folder / "evaluation.json").write_text("{}")
    run(force=True)
    assert not (folder / "evaluation.json").exists()
    before = (folder / "params.safetensors").read_bytes()
    (folder / "report.html").mkdir()
    with pytest.raises(RunError, match="holds what mmppl did not write, report.html, so"):
        run(force=True)
    assert (folder / "params.safetensors").read_bytes() == before
    (folder / "report.html").rmdir()
    for path in ("thesis.tex", "state/notes.txt", "pictures/one.png"):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text("years of work")
        name = path.removesuffix("/one.png")
        with pytest.raises(RunError, match=f"holds what mmppl did not write, {name}, so it is not replaced. Move that"):
            run(force=True)
        assert (folder / path).read_text() == "years of work"
        (folder / path).unlink()
    (folder / "pictures").rmdir()
    assert (folder / "params.safetensors").read_bytes() == before
    (folder / "run.json").write_text(json.dumps({"run": 7, "model": "a marathon"}))
    with pytest.raises(RunError, match=r"its run\.json is not one of mmppl's, so it is not replaced"):
        run(force=True)
    (folder / "run.json").unlink()
    with pytest.raises(RunError, match="it is not a run folder, so it is not replaced"):
        run(force=True)
    assert (folder / "params.safetensors").read_bytes() == before


def test_a_run_of_an_older_format_may_be_replaced(run, tmp_path):
    (tmp_path / "run").mkdir()
    about = {"format": 1, "model": "mvae", "options": {}, "backend": "pyro", "versions": {"mmppl": "0.1"}}
    (tmp_path / "run" / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match=r"is of a run of format 1; expected 3. Fit it again"):
        run(resume=True)
    run(force=True)


@pytest.mark.parametrize("number", range(1, 13))
def test_a_full_disk_keeps_the_last_save(run, tmp_path, monkeypatch, number):
    whole = run(out=tmp_path / "whole")
    written, original = [], durable._to_disk

    def full(file, content):
        written.append(1)
        if len(written) == number:
            file.write(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        original(file, content)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "_to_disk", full)
        with pytest.raises(RunError, match="cannot be written: No space left on device. What was saved before") as told:
            run()
    assert not list((tmp_path / "run").rglob("*.part"))
    if number > 1:  # run.json is there
        epochs = (number + 1) // 3
        assert [line["epoch"] for line in told.value.fitted.history] == list(range(1, epochs + 1))
        assert np.isfinite(told.value.fitted.weights["w"]).all()
    resumed = run(resume=number > 1)
    assert np.array_equal(resumed.weights["w"], whole.weights["w"])


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    acts = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)

        def act(*args, name=name, original=original):
            acts.append(name)
            return original(*args)

        monkeypatch.setattr(os, name, act)
    durable.write_whole(tmp_path / "a", b"1")
    assert acts == ["fsync", "replace", "fsync"]  # the file, its name


def test_files_have_one_mode(run, tmp_path):
    before = os.umask(0o027)
    try:
        run()
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o640}


def test_weights_that_are_not_finite_are_never_saved(numpy_host, run, tmp_path):
    class Runaway(numpy_host.Trainer):
        def weights(self):
            found = super().weights()
            return {"w": found["w"] * np.float32(np.nan)} if self.steps > 6 else found

        steps = 0

        def step(self, batch):
            self.steps += 1
            return super().step(batch)

    with pytest.raises(TrainingError, match="Weights 'w' are not finite after epoch 3: 2 of 2 values") as told:
        run(program=numpy_host.program(Runaway))
    kept = Run(tmp_path / "run")
    assert np.isfinite(kept.weights()["w"]).all()
    assert kept.state()[1].epoch == 2
    assert np.array_equal(told.value.fitted.weights["w"], kept.weights()["w"])
    assert told.value.fitted.history == kept.history()


def test_a_lack_of_memory_is_told_with_what_asked_for_it(numpy_host, run):
    class Large(numpy_host.Trainer):
        def step(self, batch):
            raise MemoryError("Unable to allocate 8 GiB")

    with pytest.raises(OutOfMemoryError, match=r"a step of 'toy' with 4 rows \(batch_size\): Unable to allocate 8 GiB"):
        run(program=numpy_host.program(Large))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 2.5, "epochs to be None or a whole number, epochs >= 1; got epochs=2.5"),
        ("epochs", True, "epochs to be None or a whole number"),
        ("batch_size", "4", "batch_size to be a whole number, batch_size >= 1; got batch_size='4'"),
        ("learning_rate", np.inf, "learning_rate to be a finite number"),
        ("learning_rate", np.nan, "learning_rate to be a finite number"),
        ("learning_rate", 1e31, "at most 1e30"),
        ("seed", -1, "seed to be a whole number, seed >= 0; got seed=-1"),
        ("ema", np.nan, "0 <= ema < 1"),
        ("clip", np.nan, "clip to be None or a finite number"),
        ("clip", np.inf, "clip to be None or a finite number"),
    ],
)
def test_a_setting_out_of_range_is_named(run, tmp_path, name, value, message):
    with pytest.raises(OptionError, match=message):
        run(**{name: value})
    assert not (tmp_path / "run").exists()


def test_numbers_of_numpy_are_numbers(run):
    run(epochs=np.int64(2), learning_rate=np.float32(0.5))
    run(epochs=2, learning_rate=0.5, resume=True)


def test_several_processes_are_told(run, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(OptionError, match="Expected one process; this is rank 1 of 2 .*tart it without torchrun"):
        run()
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("WORLD_SIZE", "1")
    run()
