"""Fits by several processes on Pyro: losses, weights and run folders are those of one; all end when one does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mmppl.pyro as mm
from mmppl import models
from mmppl.data import load
from mmppl.errors import OptionError
from mmppl.inference import Run, fit

SCRIPT = Path(__file__).parents[1] / "inference" / "fit_on_devices.py"
BEGIN = f"""
import os, signal, sys, warnings
sys.path.insert(0, {str(SCRIPT.parent)!r})
import pyro, pyro.distributions as dist, torch
import mmppl.pyro as mm
from fit_on_devices import HOW, program, rows
from mmppl.batch import Batch
from mmppl.inference import Program, fit

os.cpu_count = lambda: 4
children, fork = [], os.fork

def noted():
    child = fork()
    if child:
        children.append(child)
    return child

os.fork = noted
"""
KILLED = """
class Kill:
    def on_epoch(self, event):
        if event.epoch == 2:
            print(children[0], flush=True)
            if sys.argv[2] == "other":
                os.kill(children[0], signal.SIGKILL)
            elif sys.argv[2] == "first":
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                raise KeyError("mine")

try:
    fit(program("mopoe", mm), rows(), devices=2, out=sys.argv[1], callbacks=[Kill()], **HOW)
except Exception as error:
    print(type(error).__name__, error)
"""
REFUSED = """
from mmppl.batch import Modality
import numpy as np

net = torch.nn.Sequential(torch.nn.Linear(10, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
data = Batch({"a": np.random.default_rng(0).normal(size=(32, 10)).astype(np.float32)})

def model(batch):
    shift = pyro.sample("shift", dist.Normal(0.0, 1.0)) if KIND == "global" else 0.0
    with mm.plate(batch):
        prior = dist.Gamma(torch.ones(2), 1.0) if KIND == "gamma" else dist.Normal(torch.zeros(2), 1.0)
        z = pyro.sample("z", prior.to_event(1))
        mm.observe("a", dist.Normal(mm.net("decoder", decoder)(z) + shift, 1.0).to_event(1), batch)

decoder = torch.nn.Linear(2, 10)

def guide(batch):
    if KIND == "global":
        pyro.sample("shift", dist.Normal(pyro.param("where", torch.zeros(())), 0.1))
    with mm.plate(batch):
        code = mm.net("encoder", net if KIND == "norm" else linear)(batch["a"])
        own = dist.Gamma(torch.exp(code), 1.0) if KIND == "gamma" else dist.Normal(code, 0.1)
        pyro.sample("z", own.to_event(1))

linear = torch.nn.Linear(10, 2)
for KIND in ("global", "norm", "gamma", "plain"):
    made = Program(model, guide, mm.ELBO(), mm, {"a": Modality((10,))})
    try:
        fit(made, data, devices=2, epochs=1, batch_size=16, progress=False)
        print(KIND, "fitted")
    except Exception as error:
        print(KIND, type(error).__name__, str(error).splitlines()[0])
"""


def python(*args, launcher=()):
    env = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    return subprocess.run([sys.executable, *launcher, *args], capture_output=True, text=True, env=env, check=False)


@pytest.mark.parametrize("system", ["mopoe", "ebm", "mld"])
def test_two_and_four_processes_give_what_one_gives(system, tmp_path, same_on_devices):
    done = python(str(SCRIPT), "pyro", "1,2,4", system, str(tmp_path))
    assert not done.returncode, done.stderr[-3000:]
    same_on_devices(done.stdout.splitlines())


@pytest.mark.parametrize("who", ["other", "first", "callback"])
def test_a_kill_of_one_process_ends_all_and_the_run_goes_on(who, tmp_path):
    done = python("-c", BEGIN + KILLED, str(tmp_path / "run"), who)
    child, *said = done.stdout.splitlines()
    if who == "other":
        assert said == [
            "TrainingError Process 2 of 2 was ended by SIGKILL, so all processes of the fit have ended. What was saved "
            "before is kept: go on with resume=True (--resume)."
        ]
    elif who == "callback":
        assert said == ["KeyError 'mine'"]
    else:
        assert done.returncode == -signal.SIGKILL
    assert ended(int(child))
    assert len(Run(tmp_path / "run").history()) in (1, 2)
    if who == "other":
        again = "fit(program('mopoe', mm), rows(), devices=2, out=sys.argv[1], resume=True, **HOW)\n"
        done = python("-c", BEGIN + again, str(tmp_path / "run"))
        assert not done.returncode, done.stderr[-3000:]
        whole = python("-c", BEGIN + again.replace("True", "False"), str(tmp_path / "whole"))
        assert not whole.returncode, whole.stderr[-3000:]
        same, other = Run(tmp_path / "run").weights(), Run(tmp_path / "whole").weights()
        assert all((same[name] == value).all() for name, value in other.items())  # the same bits


def ended(process):
    """Whether a process ends within some seconds."""
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{process}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


def test_programs_whose_rows_are_not_each_by_themselves_are_refused():
    done = python("-c", BEGIN + REFUSED)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["global", "norm", "gamma", "plain"], done.stderr[-3000:]
    for line in lines[:2]:
        assert "OptionError Expected a program whose rows are each by themselves" in line
    assert "OptionError Expected draws that can be divided (devices=, accumulate=); got _standard_gamma" in lines[2]
    assert lines[3] == "plain fitted"


def test_torchrun_starts_the_processes(tmp_path):
    script = tmp_path / "fit.py"
    script.write_text(
        f"{BEGIN}\nfitted = fit(program('mopoe', mm), rows(), devices=2, out=sys.argv[1], **HOW)\n"
        "print(f\"{fitted.history[-1]['loss']:.9g}\", flush=True)\n"
    )
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = python(str(script), str(tmp_path / "run"), launcher=launcher)
    assert not done.returncode, done.stderr[-3000:]
    losses = [float(line) for line in done.stdout.splitlines() if line]
    assert len(losses) == 2
    assert losses[0] == losses[1]
    one = python("-c", BEGIN + "print(fit(program('mopoe', mm), rows(), **HOW).history[-1]['loss'])")
    assert abs(losses[0] - float(one.stdout)) < 1e-5
    assert len(Run(tmp_path / "run").history()) == 4


def test_numbers_of_processes_that_cannot_be_are_refused(tmp_path, monkeypatch):
    data = load("linear_gaussian")
    program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=4)
    how = {"epochs": 1, "progress": False, "out": tmp_path / "run"}
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    with pytest.raises(OptionError, match=r"devices \(--devices\) of at most 3, the cores of this machine; got 4"):
        fit(program, data.train[:20], devices=4, **how)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(OptionError, match="Expected one process; this is rank 1 of 2 .*Pass devices=2"):
        fit(program, data.train[:20], **how)
    with pytest.raises(OptionError, match="Expected devices=2, as many as there are processes of torchrun; got 4"):
        fit(program, data.train[:20], devices=4, **how)
    assert not (tmp_path / "run").exists()
