"""Kills in the middle of saves: whatever the moment, the run goes on to the same bits."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from mmppl.inference import Run, fit

KILLS = 30


@pytest.fixture
def slow_fits():
    """Starts fits in processes of their own on a slow disk, and tells how each ended."""
    args = [sys.executable, str(Path(__file__).parent / "killed_fit.py"), "128", "0.002"]
    process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(folder, seconds=None):
        how = "resume" if (folder / "run.json").exists() else "fit"
        process.stdin.write(f"{how} {folder}\n")
        process.stdin.flush()
        child = int(process.stdout.readline())
        assert process.stdout.readline() == "saving\n"
        if seconds is not None:
            time.sleep(seconds)
            with suppress(ProcessLookupError):  # it has ended
                os.kill(child, signal.SIGKILL)
        return process.stdout.readline().strip()

    yield run
    process.stdin.close()
    process.stdout.close()
    process.wait(10)


def test_kills_at_random_moments_of_saves_end_in_the_same_bits(numpy_host, slow_fits, tmp_path):
    whole = fit(numpy_host.program(), numpy_host.data(), out=tmp_path / "whole", **numpy_host.SETTINGS)
    state = Run(tmp_path / "whole").state()[0]
    rng, kills, half = np.random.default_rng(0), 0, set()
    for number in range(KILLS):
        folder, how = tmp_path / f"run{number}", ""
        while how != "exit 0" and kills < KILLS:
            how = slow_fits(folder, rng.uniform(0.0, 0.1))
            assert how in ("killed", "exit 0")
            kills += how == "killed"
            half |= {part.name.split(".")[1] for part in folder.rglob("*.part")}
        if how != "exit 0":
            assert slow_fits(folder) == "exit 0"
        run = Run(folder)
        assert np.array_equal(run.weights()["w"], whole.weights["w"])
        assert all(np.array_equal(value, state[name]) for name, value in run.state()[0].items())
        assert [line["loss"] for line in run.history()] == [line["loss"] for line in whole.history]
        if kills == KILLS:
            break
    assert kills == KILLS
    assert {"params", "state"} <= half  # files that a kill has cut
