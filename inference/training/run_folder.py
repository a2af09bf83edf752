"""The run folder: what a run was, its weights, and what going on needs. No pickle is read or written.

``run.json`` says what the run is; ``params.safetensors`` holds the weights; ``state/state.safetensors`` holds all that
resuming needs; ``metrics.jsonl`` has a line for each epoch. Every file is written beside its place and moved there, and
carries a checksum; the arrays also say of which run they are, and how far it was.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mmppl.errors import RunError
from mmppl.inference.training import checksums
from mmppl.inference.training.durable import (
    add_line,
    folders_of,
    is_part,
    make_folder,
    part_of,
    parts_of,
    remove,
    remove_folder,
    write_whole,
)
from mmppl.inference.training.run_info import FORMAT, Progress, RunInfo
from mmppl.inference.training.writer_lock import LOCK, writer

__all__ = ["CARD", "FORMAT", "Run", "is_card"]

INFO, WEIGHTS, STATE, METRICS = "run.json", "params.safetensors", "state/state.safetensors", "metrics.jsonl"
# What commands put beside them; all that --force may remove.
CARD = "README.md"
SCRATCH = "scratch"  # large arrays of a fit that goes on, never resumed from
OWN = (WEIGHTS, STATE, METRICS, "evaluation.json", "diagnosis.json", "posterior.nc", "report.html", CARD, INFO)
CARD_BEGINS = "---\nlibrary_name: mmppl\n"
HEADER = ("format", "run", "progress")


class Run:
    """A run folder.

    Arguments:
        path: The folder.

    Raises:
        RunError: From its methods, if the folder exists already, is not a run, is of another version, is being written
            by another process, or holds what was not written there.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import models
        >>> from mmppl.data import load
        >>> from mmppl.inference import fit
        >>> import tempfile
        >>> data = load("linear_gaussian", num_train=64, num_test=8)
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fitted = fit(program, data.train, epochs=1, seed=0, out=folder, progress=False)
        ...     len(Run(folder).history()), Run(folder).info().model
        (1, 'mvae')
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._name: str | None = None  # the run's own, once it is known
        self._lines: list[str] = []  # checksums of the lines of metrics.jsonl

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the folder, which is made if need be, for this writer alone; what a killed one left is removed."""
        make_folder(self.path)
        with writer(self.path):
            for name in (INFO, WEIGHTS, STATE, METRICS):
                for part in parts_of(self.path / name):
                    remove(part)
            for folder in folders_of(self.path / SCRATCH):
                remove_folder(folder)
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder beside the run's files for what only this writer needs, within; one that is killed leaves it."""
        folder = part_of(self.path / SCRATCH)
        make_folder(folder)
        try:
            yield folder
        finally:
            remove_folder(folder)

    def check_free(self, *, force: bool = False) -> None:
        """Raises if :meth:`create` would."""
        if not self._taken():
            return
        if not force:
            on = " Or go on with it by resume (--resume)." if self._is_ours() else ""
            raise RunError(f"'{self.path}' exists already; choose another folder, or pass force (--force).{on}")
        if not self._is_ours():
            what = f"its {INFO} is not one of mmppl's" if (self.path / INFO).exists() else "it is not a run folder"
            raise RunError(f"'{self.path}': {what}, so it is not replaced; choose another folder.")
        foreign = [name for name in self._files() if not self._is_own(name)]
        if foreign:
            raise RunError(
                f"'{self.path}' holds what mmppl did not write, {', '.join(foreign[:3])}, so it is not replaced. Move "
                "that elsewhere, or choose another folder."
            )

    def create(self, info: RunInfo, *, force: bool = False) -> None:
        """Begins the run, in place of one that is there and of nothing else; within :meth:`writing`."""
        self.check_free(force=force)
        # The name of the run last: until then the folder is one that may be replaced again.
        for name in OWN[:-1]:
            remove(self.path / name)
        make_folder(self.path / "state")
        self.write_json(INFO, info.as_dict())
        self._name, self._lines = info.run, []

    def _is_own(self, name: str) -> bool:
        """Tells whether a file is what mmppl writes under its name."""
        path = self.path / name
        return name in OWN and not path.is_dir() and (name != CARD or is_card(path))

    def _files(self) -> list[str]:
        """Names of what is in the folder, as far as mmppl writes; without what a writer leaves behind."""
        inside: list[Path] = []
        for path in self.path.iterdir():
            state = path.name == "state" and path.is_dir() and not path.is_symlink()
            inside += path.iterdir() if state else [path]
        names = (path.relative_to(self.path).as_posix() for path in inside)
        return sorted(name for name in names if name != LOCK and not is_part(name))

    def _taken(self) -> bool:
        return self.path.exists() and (not self.path.is_dir() or bool(self._files()))

    def _is_ours(self) -> bool:
        """Tells whether ``run.json`` is one of mmppl's, of any version."""
        try:
            found = json.loads((self.path / INFO).read_text())
        except (OSError, ValueError):
            return False
        keys = {"format", "model", "backend", "options", "versions"}
        return isinstance(found, dict) and keys <= set(found) and "mmppl" in (found["versions"] or ())

    def info(self, *, resume: bool = False) -> RunInfo:
        """Reads ``run.json``, to go on with the run or to read it."""
        file = self.path / INFO
        if not file.is_file() and resume:
            raise RunError(
                f"'{self.path}' is not a run folder: it has no {INFO}. Fit without resume (--resume), which writes one."
            )
        if not file.is_file():
            data = " Data are read by mmppl.data.load." if self.path.is_file() else ""
            raise RunError(
                "Expected a run folder, as fit(..., out=FOLDER), Fitted.save and mmppl fit write; got "
                f"'{self.path}', which has no {INFO}.{data}"
            )
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"'{file}' cannot be read: {error}.") from error
        found = RunInfo.read(content, str(file))
        self._name = found.run
        return found

    def save(self, weights: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray], epoch: int) -> None:
        """Saves weights and state after an epoch; the state last, so that it is never ahead."""
        make_folder((self.path / STATE).parent)
        self.save_weights(weights, epoch)
        self._write_arrays(STATE, state, epoch)

    def save_weights(self, weights: Mapping[str, np.ndarray], epoch: int) -> None:
        """Saves the weights alone."""
        self._write_arrays(WEIGHTS, weights, epoch)

    def weights(self) -> dict[str, np.ndarray]:
        """The weights by public name."""
        return self._read_arrays(WEIGHTS)[0]

    def weights_and_history(self) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
        """The weights, and the lines of ``metrics.jsonl`` up to them."""
        weights, progress = self._read_arrays(WEIGHTS)
        return weights, self.history(progress)

    def state(self) -> tuple[dict[str, np.ndarray], Progress] | None:
        """The state and how far the run was; None if it ended before its first save."""
        if not (self.path / STATE).is_file():
            self.info()
            if not (self.path / WEIGHTS).is_file() or self._read_arrays(WEIGHTS)[1].epoch <= 1:
                return None
            raise RunError(
                f"'{self.path}' has weights but no {STATE} to go on from. Load it as it is, or fit it again with "
                "force (--force)."
            )
        return self._read_arrays(STATE)

    def log(self, record: Mapping[str, Any]) -> None:
        """Adds a line to ``metrics.jsonl``."""
        line = json.dumps(dict(record))
        add_line(self.path / METRICS, line)
        self._lines.append(_checksum(line))

    def history(self, progress: Progress | None = None) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl`` up to a save, the last one of the weights by default.

        A line that was written without being saved is passed over; one that was saved and is not there, or has changed,
        is an error.
        """
        if progress is None and (self.path / WEIGHTS).is_file():
            progress = self._read_arrays(WEIGHTS)[1]
        return [json.loads(line) for line in self._read_lines(() if progress is None else progress.lines)]

    def _read_lines(self, wanted: tuple[str, ...]) -> list[str]:
        file = self.path / METRICS
        try:
            lines = file.read_bytes().split(b"\n") if file.exists() else []
        except OSError as error:
            raise RunError(f"'{file}' cannot be read: {error}.") from error
        for number, held in enumerate(wanted):
            found = lines[number] if number < len(lines) else None
            if found is None or f"{checksums.checksum(found):08x}" != held:
                what = "is missing" if found in (None, b"") else f"is not what was written: {found!r:.80}"
                raise RunError(f"'{file}', line {number + 1} {what}. Take it from a copy, or fit the run again.")
        return [line.decode() for line in lines[: len(wanted)]]

    def go_back(self, progress: Progress | None) -> list[dict[str, Any]]:
        """Drops the lines of ``metrics.jsonl`` after a save, or all, and returns what they say."""
        lines = self._read_lines(() if progress is None else progress.lines)
        write_whole(self.path / METRICS, "".join(f"{line}\n" for line in lines).encode())
        self._lines = [_checksum(line) for line in lines]
        return [json.loads(line) for line in lines]

    def write_json(self, name: str, content: Any) -> Path:
        """Writes a JSON file into the folder."""
        write_whole(self.path / name, f"{json.dumps(content, indent=2)}\n".encode())
        return self.path / name

    def _write_arrays(self, name: str, arrays: Mapping[str, np.ndarray], epoch: int) -> None:
        held = {k: np.asarray(v, order="C") for k, v in arrays.items()}
        values = (str(FORMAT), self._name or self.info().run, Progress(epoch, tuple(self._lines)).as_text())
        header = dict(zip(HEADER, values, strict=True))
        write_whole(self.path / name, save(held, {**header, "checksum": _sealed(held, header)}))

    def _read_arrays(self, name: str) -> tuple[dict[str, np.ndarray], Progress]:
        file = self.path / name
        run = self.info().run
        if not file.is_file():
            raise RunError(f"'{self.path}' is half-written: it has no {name}. Resume it (--resume), or fit it again.")
        try:
            with safe_open(file, framework="numpy") as opened:
                arrays, header = {key: opened.get_tensor(key) for key in opened.keys()}, dict(opened.metadata() or {})
        except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
            raise RunError(f"'{file}' cannot be read: {error}.") from error
        if set(header) != {*HEADER, "checksum"}:
            raise RunError(f"'{file}' does not say of which run it is, so mmppl did not write it. Fit it again.")
        if _sealed(arrays, header) != header["checksum"]:
            raise RunError(f"'{file}' has been changed since it was written: its checksum is another. Fit it again.")
        if header["run"] != run:
            raise RunError(f"'{file}' is of another run than {INFO} beside it. Fit it again with force (--force).")
        return arrays, Progress.read(header["progress"], str(file))


def is_card(file: Path) -> bool:
    """Tells whether a README is a card of a run, by its first lines."""
    try:
        return file.read_text(encoding="utf-8").startswith(CARD_BEGINS)
    except (OSError, ValueError):
        return False


def _sealed(arrays: Mapping[str, np.ndarray], header: Mapping[str, str]) -> str:
    """The checksum of arrays and of what is said of them."""
    start = checksums.checksum(json.dumps([header[name] for name in HEADER]).encode())
    return f"{checksums.of_arrays(arrays, start):08x}"


def _checksum(line: str) -> str:
    return f"{checksums.checksum(line.encode()):08x}"
