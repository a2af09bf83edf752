"""Environments of packages that ours are measured against, each made the first time."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.worker import ROOT

__all__ = ["environment"]

# Versions that were measured; MuVI 0.2.2 cannot be imported with pyro-ppl 1.9.2, where deep_getattr has moved.
WANTED = {
    "multivae": ["multivae", "array-api-compat"],
    "mofaflex": ["mofaflex==0.1.2"],
    "muvi": ["muvi==0.2.2", "pyro-ppl==1.9.1"],
}
FREE = ("muvi",)  # what our constraints would not let in


def environment(name: str) -> Path:
    """The interpreter of an environment with a package, ``.venv-<name>``."""
    folder = ROOT / f".venv-{name}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"Installing {name} into {folder.name} (some minutes) ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        wanted = ["torch==" + version("torch").partition("+")[0], *WANTED[name]]
        quiet = ["--quiet", "--disable-pip-version-check"]
        quiet += [] if name in FREE else ["-c", str(ROOT / "constraints.txt")]
        subprocess.run([str(python), "-m", "pip", "install", *quiet, *wanted], check=True)
        (folder / "ready").touch()
    return python
