"""A disk that is full: every writer says so, keeps what was there, and leaves no part of a file."""

import resource
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

import mmppl.pyro as mm
from mmppl import cli, data, inference, models
from mmppl.diagnostics import loading, write_posterior
from mmppl.errors import DataError, RunError

ROOM = 2**14


def mounted(folder: Path) -> bool:
    """Whether a file system of that size is at a folder now."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)]
    return bool(shutil.which("mount")) and not subprocess.run(command, capture_output=True).returncode


def may_mount() -> bool:
    with tempfile.TemporaryDirectory() as place:
        done = mounted(Path(place))
        if done:
            subprocess.run(["umount", place], check=True)
        return done


WAYS = ["limited", "mounted"] if may_mount() else ["limited"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A file of data."""
    x = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    return data.write_npz(tmp_path_factory.mktemp("data") / "rows.npz", {"a": x[:, :3], "b": x[:, 3:]})


@pytest.fixture(scope="module")
def fitted(rows):
    found = data.load(rows)
    program = models.mvae(found.modalities, ppl=mm, latent_dim=2, hidden=64)
    return inference.fit(program, found.train, epochs=1, progress=False)


@pytest.fixture(params=WAYS)
def small(request, tmp_path):
    """A folder that takes no file of more than 16 KiB: by a limit, and by a file system where one may be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    if request.param == "limited":
        before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
        yield folder
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
        return
    assert mounted(folder)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def left(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_fit(small, fitted, rows):
    with pytest.raises(RunError, match="cannot be written: (No space left on device|File too large)") as told:
        inference.fit(fitted.program, data.load(rows).train, epochs=1, out=small / "run", progress=False)
    assert told.value.fitted.weights.keys() == fitted.weights.keys()
    assert set(left(small)) <= {"run/.lock", "run/metrics.jsonl", "run/run.json"}
    with pytest.raises(RunError, match="cannot be written"):
        fitted.save(small / "saved")
    assert not any(name.endswith(".part") for name in left(small))


def test_draws_and_what_was_there(small, fitted, tmp_path, rows, capsys):
    info = loading.run_info(rows)
    inference.fit(fitted.program, data.load(rows).train[:2], epochs=1, progress=False, info=info)
    big = {"a": np.zeros((100, 100))}
    there = data.write_npz(small / "a.npz", {"a": np.zeros(1)}).read_bytes()
    with pytest.raises(DataError, match=r"a.npz' cannot be written: .*what was there is kept"):
        data.write_npz(small / "a.npz", big, force=True)
    assert (small / "a.npz").read_bytes() == there
    assert left(small) == ["a.npz"]


def test_chains(small, fitted, rows):
    drawn = inference.to_arviz(fitted, data.load(rows).test, num_samples=100, num_warmup=5)
    with pytest.raises(DataError, match=r"posterior.nc' cannot be written"):
        write_posterior(drawn, small / "posterior.nc")
    assert left(small) == []


def test_the_command_says_it_in_a_line(small, rows, capsys):
    named = ["--model", "mvae", "--backend", "pyro", "--data", str(rows), "--epochs", "1", "--set", "hidden=64"]
    assert cli.main(["fit", *named, "--out", str(small / "run")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("mmppl: ")
    assert "cannot be written" in said
