"""The run folder: what a run was, its weights, and what going on needs. No pickle is read or written.

``run.json`` says what the run is; ``params.safetensors`` holds the weights; ``state/state.safetensors`` holds all that
resuming needs; ``metrics.jsonl`` has a line for each epoch. Every file is written beside its place and moved there.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mmppl.errors import RunError

__all__ = ["FORMAT", "Run"]

FORMAT = 1
PACKAGES = ("mmppl", "numpy", "jax", "numpyro", "equinox", "optax", "torch", "pyro-ppl", "arviz")


class Run:
    """A run folder.

    Arguments:
        path: The folder.

    Raises:
        RunError: From its methods, if the folder exists already, is not a run, or is of another version.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    def check_free(self, *, force: bool = False) -> None:
        """Raises if :meth:`create` would."""
        if self._taken():
            if not force:
                raise RunError(f"'{self.path}' exists already; choose another folder, or pass force (--force).")
            if not (self.path / "run.json").exists():
                raise RunError(f"'{self.path}' is not a run folder, so it is not replaced; choose another folder.")

    def create(self, info: Mapping[str, Any], *, force: bool = False) -> None:
        """Makes the folder anew and writes ``run.json``."""
        self.check_free(force=force)
        if self._taken():
            shutil.rmtree(self.path)
        (self.path / "state").mkdir(parents=True, exist_ok=True)
        self._write_json("run.json", {"format": FORMAT, **info, "versions": _versions(), "commit": _commit()})

    def _taken(self) -> bool:
        return self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))

    def info(self) -> dict[str, Any]:
        """Reads ``run.json``."""
        file = self.path / "run.json"
        if not file.is_file():
            raise RunError(f"'{self.path}' is not a run folder: it has no run.json.")
        try:
            info = json.loads(file.read_text())
        except ValueError as error:
            raise RunError(f"'{file}' cannot be read: {error}.") from error
        if not isinstance(info, dict) or info.get("format") != FORMAT:
            found = info.get("format") if isinstance(info, dict) else None
            raise RunError(f"'{self.path}' is a run of format {found}; expected {FORMAT}. Fit it again.")
        return info

    def save(self, weights: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray], progress: Mapping) -> None:
        """Saves weights and state together with how far the run is; the state last, so that it is never ahead."""
        self.save_weights(weights)
        self._write_arrays("state/state.safetensors", state, {"progress": json.dumps(dict(progress))})

    def save_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Saves the weights alone."""
        self._write_arrays("params.safetensors", weights, {})

    def weights(self) -> dict[str, np.ndarray]:
        """The weights by public name."""
        return self._read_arrays("params.safetensors")[0]

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The state and how far the run was."""
        arrays, meta = self._read_arrays("state/state.safetensors")
        if "progress" not in meta:
            raise RunError(f"'{self.path}' has a state that says not how far it is. Fit it again.")
        return arrays, json.loads(meta["progress"])

    def log(self, record: Mapping[str, Any]) -> None:
        """Adds a line to ``metrics.jsonl``."""
        with open(self.path / "metrics.jsonl", "a") as file:
            file.write(json.dumps(dict(record)) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; a last line cut off half-way is passed over."""
        file = self.path / "metrics.jsonl"
        out = []
        for line in file.read_text().splitlines() if file.exists() else []:
            try:
                out.append(json.loads(line))
            except ValueError:
                break
        return out

    def truncate(self, epochs: int) -> None:
        """Drops the lines of ``metrics.jsonl`` after so many epochs."""
        kept = [r for r in self.history() if r["epoch"] <= epochs]
        self._write_text("metrics.jsonl", "".join(json.dumps(r) + "\n" for r in kept))

    def write_json(self, name: str, content: Any) -> Path:
        """Writes a JSON file into the folder."""
        self._write_json(name, content)
        return self.path / name

    def _write_json(self, name: str, content: Any) -> None:
        self._write_text(name, json.dumps(content, indent=2) + "\n")

    def _write_text(self, name: str, text: str) -> None:
        temporary = self.path / f"{name}.part"
        temporary.write_text(text)
        os.replace(temporary, self.path / name)

    def _write_arrays(self, name: str, arrays: Mapping[str, np.ndarray], meta: dict[str, str]) -> None:
        temporary = self.path / f"{name}.part"
        save_file({k: np.asarray(v, order="C") for k, v in arrays.items()}, temporary, metadata=meta or None)
        os.replace(temporary, self.path / name)

    def _read_arrays(self, name: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        file = self.path / name
        self.info()
        if not file.is_file():
            raise RunError(f"'{self.path}' is half-written: it has no {name}. Fit it again, or resume it.")
        try:
            with safe_open(file, framework="numpy") as opened:
                return {key: opened.get_tensor(key) for key in opened.keys()}, dict(opened.metadata() or {})
        except (SafetensorError, OSError) as error:
            raise RunError(f"'{file}' cannot be read: {error}.") from error


def _versions() -> dict[str, str]:
    out = {}
    for package in PACKAGES:
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    return out


def _commit() -> str | None:
    """The commit of the working folder, if it is under git."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
