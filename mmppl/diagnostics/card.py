"""The card of a run: its folder's README, with data, metrics, coverage and warnings, as hubs of models read it."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmppl.batch import Modality
from mmppl.coordinates import coordinates_text
from mmppl.diagnostics.report.records import DIAGNOSIS, EVALUATION, readable, record_of, summary_of_run
from mmppl.diagnostics.report.tables import (
    JUDGED,
    PREDICTION,
    estimate_text,
    frechet_row,
    likelihood_lines,
    likelihood_text,
    prediction_rows,
)
from mmppl.diagnostics.report.trust import findings
from mmppl.errors import RunError
from mmppl.inference import Run
from mmppl.inference.training.durable import write_whole
from mmppl.inference.training.run_folder import CARD, is_card
from mmppl.inference.training.run_info import RunInfo
from mmppl.models.catalogue import SYSTEMS
from mmppl.models.citation import citation

__all__ = ["card", "check_card"]

SHOWN = (0.5, 0.8, 0.95)  # levels of coverage
ANEW = "`mmppl report` writes this file anew each time: put text of your own, such as a licence, into a copy of it."


def card(path: str | os.PathLike) -> Path:
    """Writes ``README.md`` into a run folder: a model's card, which says what was fitted to what, and how good it is.

    It tells what ``evaluation.json``, ``diagnosis.json`` and ``posterior.nc`` hold, where they are of the last epoch,
    and what is not measured where they are not; ``mmppl report`` makes all of them. It begins with the lines between
    dashes that hubs of models read. Replaced if it is there; add what only you know, such as a licence, to a copy.

    Arguments:
        path: The run folder.

    Returns:
        The file.

    Raises:
        RunError: If it is no run folder, or holds a ``README.md`` that is no card, or a record that cannot be read or
            is of another version.
    """
    run = Run(path)
    info = run.info()
    check_card(run)
    epochs = len(run.history())
    evaluation, diagnosis = (record_of(run.path / name, epochs) for name in (EVALUATION, DIAGNOSIS))
    summary = summary_of_run(run)
    data = Path(str(info.more.get("data", "data of its own"))).name
    with readable(run.path / EVALUATION):
        front, metrics = _front(info, evaluation, data), _metrics(evaluation)
    with readable(run.path / DIAGNOSIS):
        covered, warnings = _coverage(diagnosis, len(info.modalities)), _warnings(diagnosis, summary)
    parts = [front, f"# {info.model} on {data}", _about(info, epochs), ANEW, "## Data", _data(info)]
    parts += ["## Metrics", metrics, "## Coverage", covered, "## Warnings", warnings]
    parts += ["## Use", _use(info)]
    if info.model in SYSTEMS:
        parts += ["## Cite", f"```bibtex\n{citation(info.model)}\n```"]
    file = run.path / CARD
    write_whole(file, ("\n\n".join(parts) + "\n").encode())
    return file


def check_card(run: Run) -> None:
    """Raises :class:`RunError` if the folder has a ``README.md`` that is no card."""
    file = run.path / CARD
    if file.exists() and not is_card(file):
        raise RunError(f"Expected no {CARD} in '{run.path}' but a card of mmppl's; got another. Move it elsewhere.")


def _front(info: RunInfo, evaluation: dict[str, Any] | None, data: str) -> str:
    """Lines that hubs read: name of the library, tags, and numbers with the data they are of."""
    lines = ["---", "library_name: mmppl", f"tags: {json.dumps(['mmppl', info.backend, 'multimodal', info.model])}"]
    value = (evaluation or {}).get("log_likelihood")
    if value is not None and value.get("trusted"):
        name = ("lower bound of the " if value.get("method") == "bound" else "") + "log likelihood, nats a tuple"
        metric = {"type": "log_likelihood", "name": name, "value": round(value["value"], 3)}
        task = {"task": {"type": "multimodal-generation"}, "dataset": {"name": data, "type": data}, "metrics": [metric]}
        lines.append(f"model-index: {json.dumps([{'name': info.model, 'results': [task]}])}")
    return "\n".join([*lines, "---"])


def _about(info: RunInfo, epochs: int) -> str:
    options = ", ".join(f"`{k}={v}`" for k, v in info.options.items()) or "all as by default"
    versions = ", ".join(f"{name} {version}" for name, version in info.versions.items())
    return (
        f"A multi-modal generative model, fitted with mmppl on {info.backend}: {epochs} epochs, seed {info.seed}.\n\n"
        f"Options: {options}. Versions: {versions}."
    )


def _data(info: RunInfo) -> str:
    rows = []
    for name, fields in info.modalities.items():
        m = Modality(**fields)
        shape = " x ".join(map(str, m.shape)) or (f"one of {m.categories}" if m.categories else "one")
        scored = (
            "categorical" if m.ids else f"{m.likelihood}, scale {m.scale}" if m.scoring.scaled else str(m.likelihood)
        )
        rows.append((name, m.kind, shape, scored, coordinates_text(name, m, 12)))
    digest = info.data_digest
    told = f"{digest['rows']:,} training rows.\n\n" if digest else ""
    header = ("modality", "kind", "shape", "likelihood", "coordinates")
    width = len(header) if any(row[-1] for row in rows) else len(header) - 1
    return told + _table(header[:width], [row[:width] for row in rows])


def _metrics(found: dict[str, Any] | None) -> str:
    if found is None:
        return "Not measured: `mmppl evaluate` has not been run on this state of the run."
    rows: list[tuple[str, str]] = []
    for kind in JUDGED:
        if found["coherence"]:
            rows.append((f"joint coherence, {kind}", estimate_text(found["coherence"][kind]["joint"])))
        if found["cross_coherence"]:
            rows.append((f"cross coherence, {kind}", estimate_text(found["cross_coherence"][kind]["mean"])))
        if found["frechet"]:
            names, cells = found["frechet"][kind], frechet_row(found["frechet"][kind])
            rows += [(f"Frechet distance of {n}, {kind}", cell) for n, cell in zip(names, cells, strict=True)]
    for name, accuracy in ((found["two_sample"] or {}).get("draws") or {}).items():
        rows.append((f"classifier two-sample test of {name}, accuracy (0.5 as data)", estimate_text(accuracy)))
    value = found["log_likelihood"]
    if value is not None:
        text, why = likelihood_text(value)
        rows.append(("log likelihood, nats a tuple", f"{text}, {why}" if why else text))
        rows.append(("how it was found", "; ".join(likelihood_lines(value))))
    parts = [f"On the {found['split']} rows; ± is one standard error.", *filter(None, [found["skipped"]])]
    if value is None:
        parts.append(f"No log likelihood. {found['no_likelihood']}")
    if rows:
        parts.append(_table(("measure", "value"), rows))
    if found.get("prediction"):
        parts.append(_table(("given", *PREDICTION), prediction_rows(found["prediction"])))
    return "\n\n".join(parts)


def _coverage(found: dict[str, Any] | None, modalities: int) -> str:
    if modalities == 1:
        return "Not asked: it is of a modality given others, and the program has one."
    if found is None:
        return "Not measured: `mmppl report` has not been run on this state of the run."
    covered = found["coverage_by_subset"]
    if not covered:
        return "Not asked: the rows for testing have one modality."
    levels = np.asarray(covered["levels"])
    places = [int(np.abs(levels - level).argmin()) for level in SHOWN]
    rows = [
        (name, given.replace("+", ", ") or "nothing", *(f"{share[i]:.2f}" for i in places))
        for given, part in covered["subsets"].items()
        for name, share in part["share"].items()
    ]
    read = f"How often held-out values fall into predicted sets; {covered['miss']:.2f} off in the mean."
    return f"{read}\n\n" + _table(("modality", "given", *(f"{levels[i]:.0%} sets" for i in places)), rows)


def _warnings(found: dict[str, Any] | None, summary: dict[str, Any] | None) -> str:
    """Findings as the report ranks them."""
    if found is None:
        return "Not looked for: `mmppl report` has not been run on this state of the run."
    return "\n".join(f"- **{name}** {text}" for _, name, text in findings(found, summary))


def _use(info: RunInfo) -> str:
    names = info.options.get("covariates") or {}
    under = f", covariates={{{', '.join(f'{name!r}: ...' for name in names)}}}" if names else ""
    return (
        "```python\nimport mmppl\nfrom mmppl.inference import generate\n\n"
        f'fitted = mmppl.load("path/of/this/folder")  # on {info.backend}; ppl= loads it on the other host\n'
        f"draws = generate(fitted, num=16{under})\ndraws.show()\n```"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "| --- " * len(header) + "|"]
    cells = (" | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows)
    return "\n".join([*lines, *(f"| {row} |" for row in cells)])
