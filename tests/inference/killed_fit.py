"""Forks fits on a slow disk, to be killed: one for every line "fit FOLDER" or "resume FOLDER".

What it says is the process, that it begins to save, and how it ended.

``python killed_fit.py CHUNK SECONDS``: every so many bytes of a save take so many seconds.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import numpy_host

from mmppl.inference import fit
from mmppl.inference.training import durable

begun: list[None] = []
chunk, seconds = int(sys.argv[1]), float(sys.argv[2])


def slowly(file, content):
    if not begun:
        begun.append(print("saving", flush=True))
    for start in range(0, len(content), chunk):
        file.write(content[start : start + chunk])
        file.flush()
        time.sleep(seconds)
    os.fsync(file.fileno())


durable._to_disk = slowly
for line in sys.stdin:
    how, out = line.split()
    child = os.fork()
    if not child:
        code = 0
        try:
            resume = how == "resume"
            fit(numpy_host.program(), numpy_host.data(), out=out, resume=resume, **numpy_host.SETTINGS)
        except Exception as error:
            code = 1
            print(repr(error), file=sys.stderr, flush=True)
        os._exit(code)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}", flush=True)
