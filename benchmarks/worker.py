"""A competitor in a process of its own, which may be of another environment: told what to do line by line.

Standard library only. One line of JSON in, one out. So competitors of different environments take turns in one run, and
the peak memory of each is its own.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["SHARE", "Worker", "serve", "timed"]

ROOT = Path(__file__).parents[1]
SHARE = "share of k > 0.7"  # of the log likelihood's importance weights, in what a worker says of it


class Worker:
    """The other end of :func:`serve`.

    Arguments:
        python: The interpreter.
        module: The module that serves.
        settings: What it is told first.
    """

    def __init__(self, python: str | Path, module: str, settings: Mapping[str, Any]):
        # One thread: small networks on few cores.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [str(python), "-m", module],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.ready = self.do("start", **settings)
        except BaseException:
            self.close()
            raise

    def do(self, what: str, **options: Any) -> Any:
        """Has something done and returns what came of it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": what, **options}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"A worker ended while it was to {what}; its own message stands above.")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *args: Any) -> None:
        self.close()


def serve(start: Callable[..., Mapping[str, Callable[..., Any]]]) -> None:
    """Answers until the input ends.

    Arguments:
        start: From the settings to functions by name; ``memory`` is there already.
    """
    # What libraries print must not come between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    functions: dict[str, Callable[..., Any]] = {"memory": _peak}
    for line in sys.stdin:
        order = json.loads(line)
        what = order.pop("do")
        if what == "start":
            functions |= start(**order)
            result: Any = _peak()
        else:
            result = functions[what](**order)
        print(json.dumps(result), file=answers, flush=True)


def timed(step: Callable[[], object], number: int) -> float:
    """Seconds of processor time of one step, a mean over several."""
    start = time.process_time()
    for _ in range(number):
        step()
    return (time.process_time() - start) / number


def _peak() -> float:
    """The most memory this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
