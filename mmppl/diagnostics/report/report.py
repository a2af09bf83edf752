"""One page on a run: what was fitted, how it went, what it draws, and how far to trust it."""

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mmppl.coordinates import coordinates_text
from mmppl.data import Dataset
from mmppl.diagnostics.diagnosis import diagnose
from mmppl.diagnostics.energies import energies
from mmppl.diagnostics.evaluation import evaluate
from mmppl.diagnostics.loading import load_run
from mmppl.diagnostics.report.chain_pictures import chain_pictures
from mmppl.diagnostics.report.diagnosis_plots import coverage_charts, diagnosis_charts
from mmppl.diagnostics.report.page import across, chart, facts, grid, page, paragraph, table
from mmppl.diagnostics.report.pictures import rows_of
from mmppl.diagnostics.report.plots import energy_histogram, loss_curves
from mmppl.diagnostics.report.records import (
    DIAGNOSIS,
    EVALUATION,
    POSTERIOR,
    readable,
    record_of,
    summary_of,
    summary_of_run,
)
from mmppl.diagnostics.report.tables import (
    JUDGED,
    PREDICTION,
    cross_rows,
    energy_texts,
    estimate_text,
    frechet_row,
    likelihood_lines,
    likelihood_text,
    prediction_rows,
    short_number,
    subset_text,
)
from mmppl.diagnostics.report.trust import trust_list
from mmppl.diagnostics.summary import sample_posterior, write_posterior
from mmppl.inference import Fitted, Run, generate
from mmppl.inference.posterior.trust import trusted_k
from mmppl.inference.training.durable import write_whole
from mmppl.inference.training.run_info import RunInfo
from mmppl.progress import tqdm

__all__ = ["find_diagnosis", "report"]

COLUMNS = 10
NAMED = 12  # names of coordinates of a modality that are listed
HELD_OUT = (
    "Each modality given others, on test tuples that have both. RMSE is that of the mean, where it has one unit. "
    "R2 is 1 where the mean is the truth, and 0 where it is as good as the mean of the test tuples. Nats a datum: less "
    "is better. 80% sets hold 0.80 of the values where they are as wide as they say."
)
TWO_SAMPLE = "Classifier two-sample test, accuracy (0.5 as data)"


def report(path: str | os.PathLike, *, seed: int = 0, progress: bool = False) -> Path:
    """Writes ``report.html`` into a run folder: one self-contained file, replaced if it is there.

    ``evaluation.json`` and ``posterior.nc`` are computed and written first where they are missing, or older than the
    last epoch of the run.

    Arguments:
        path: The run folder.
        seed: Random seed.
        progress: Whether to show progress bars.

    Returns:
        The file.

    Raises:
        RunError, OptionError, DataError, HostError: If the run or its data cannot be loaded, or a file of the report
            cannot be read or written.
    """
    run = Run(path)
    info = run.info()
    fitted, dataset = load_run(path)
    evaluation = _evaluation(run, fitted, dataset, seed, progress)
    with readable(run.path / EVALUATION):
        numbers = _numbers(evaluation)
    summary = _summary(run, fitted, dataset, seed, progress)
    with readable(run.path / POSTERIOR):
        chains = _chains(summary, list(dataset.modalities))
    found = find_diagnosis(run, fitted, dataset, seed=seed, progress=progress)
    with readable(run.path / DIAGNOSIS):
        diagnosis = _diagnosis(found, summary)
    bar = tqdm(total=3, desc="page", disable=not progress, leave=False)
    sections = [("fitted", "What was fitted", _fitted(info, fitted, dataset))]
    sections.append(("diagnosis", "How far to trust it", diagnosis))
    sections.append(("curves", "How the fit went", _curves(fitted)))
    bar.update()
    sections.append(("joint", "Joint samples", _joint(fitted, dataset, seed)))
    sections.append(("conditional", "Conditional samples", _conditional(fitted, dataset, seed)))
    bar.update()
    sections.append(("numbers", "Coherence and likelihood", numbers))
    sections.append(("chains", "Chains", chains + chain_pictures(fitted, dataset, seed)))
    histograms = _energy(fitted, dataset, seed)
    if histograms:
        sections.append(("energy", "Energy of the prior", histograms))
    bar.update()
    bar.close()
    title = f"{info.model} on {dataset.name}"
    lead = f"Fitted with {info.backend}, {len(fitted.history)} epochs, seed {info.seed}."
    file = run.path / "report.html"
    write_whole(file, page(title, lead, sections).encode())
    return file


def find_diagnosis(
    run: Run, fitted: Fitted, dataset: Dataset, *, seed: int = 0, progress: bool = False
) -> dict[str, Any]:
    """``diagnosis.json`` of a run, made first if it is missing or older than the last epoch."""
    file = run.path / DIAGNOSIS
    found = record_of(file, len(fitted.history))
    if found is not None:
        return found
    result = diagnose(fitted, dataset, seed=seed, progress=progress)
    run.write_json(file.name, result)
    return result


def _evaluation(run: Run, fitted: Fitted, dataset: Dataset, seed: int, progress: bool) -> dict[str, Any]:
    file = run.path / EVALUATION
    found = record_of(file, len(fitted.history))
    if found is not None:
        return found
    result = evaluate(fitted, dataset, seed=seed, progress=progress)
    run.write_json(file.name, result)
    return result


def _summary(run: Run, fitted: Fitted, dataset: Dataset, seed: int, progress: bool) -> dict[str, Any]:
    found = summary_of_run(run)
    if found is None:
        drawn = sample_posterior(fitted, dataset, seed=seed, progress=progress)
        found = summary_of(write_posterior(drawn, run.path / POSTERIOR))
    return found


def _fitted(info: RunInfo, fitted: Fitted, dataset: Dataset) -> str:
    weights = sum(np.asarray(value).size for value in fitted.weights.values())
    seconds = sum(record.get("seconds", 0.0) for record in fitted.history)
    options = ", ".join(f"{k}={v}" for k, v in info.options.items()) or "all as by default"
    training = ", ".join(f"{k}={getattr(info, k)}" for k in ("batch_size", "learning_rate", "ema", "clip"))
    versions = ", ".join(f"{k} {v}" for k, v in info.versions.items())
    of = "" if info.epochs is None else f" of {info.epochs}"
    learned = (info.data_digest or {}).get("rows", len(dataset.train))
    held = len(dataset.train) - learned
    counts = [f"{learned} training", *([f"{held} held-out"] if held > 0 else [])]
    what = [
        ("Model", info.model),
        ("Options", options),
        ("Data", f"{Path(info.more['data']).name}: {', '.join(counts)} and {len(dataset.test)} test tuples"),
        ("Host", info.backend),
        ("Training", f"{len(fitted.history)}{of} epochs, {training}, {seconds:.0f} s"),
        ("Numbers learned", f"{weights:,}"),
        ("Versions", versions),
        ("Commit", info.commit or "not under git"),
    ]
    rows = []
    named = any(m.coordinates or m.units for m in dataset.modalities.values())
    for name, m in fitted.program.modalities.items():  # a system may score them otherwise than the data say
        present = np.asarray(dataset.train.there(name)).mean()
        likelihood = f"{m.likelihood}, scale {m.scale}" if m.scoring.scaled else str(m.likelihood)
        scored = "categorical" if m.ids else likelihood
        row = [
            name,
            m.kind,
            " × ".join(map(str, m.shape)) or (f"one of {m.categories}" if m.categories else "one"),
            scored,
            f"{100 * present:.0f}%",
        ]
        rows.append([*row, *([coordinates_text(name, m, NAMED) or "–"] if named else [])])
    header = ["Modality", "Kind", "Shape", "Likelihood", "Present", *(["Coordinates"] if named else [])]
    return facts(what) + table("The modalities", header, rows)


def _curves(fitted: Fitted) -> str:
    stages = loss_curves(fitted.history)
    parts = [paragraph("Means over the tuples of an epoch.")]
    if len(stages) > 1:
        parts = [
            paragraph("Means over the tuples of an epoch. Each stage has an objective, and so a loss, of its own.")
        ]
    energies_of = {s.name for s in fitted.program.stages if s.train and all(n.startswith("energy") for n in s.train)}
    for stage, terms in stages.items():
        records = [record for record in fitted.history if record["stage"] == stage]
        charts = [
            chart(
                svg,
                f"{_term(name)}, from {_at(records[0], name)} to {_at(records[-1], name)}",
                _read(name, stage in energies_of),
            )
            for name, svg in terms.items()
        ]
        heading = f"<h3>Stage: {escape(stage)}</h3>" if len(stages) > 1 else ""
        parts.append(f'{heading}<div class="charts">{"".join(charts)}</div>')
    return "".join(parts)


def _term(name: str) -> str:
    if name.startswith("log_lik."):
        return f"Log likelihood of {name.removeprefix('log_lik.')}"
    return {"loss": "Loss", "kl": "KL: log q(z) − log p(z)"}.get(name, name)


def _at(record: dict[str, Any], name: str) -> str:
    return f"{record[name]:.4g}" if name in record else "none"


def _read(name: str, energy: bool = False) -> str:
    """Caption of a term's curve: what it is and how to read it; an energy's loss lacks the normaliser."""
    if name == "loss" and energy:
        return "Loss without the energy's normaliser: it need not fall. Look at the energy's health instead."
    if name == "loss":
        return "Loss: lower is better. Flat at the end, the fit is done; held out rising, it has gone on too long."
    if name == "kl":
        return f"{_term(name)}: nats that latents carry. At 0 they carry nothing."
    if name.startswith("log_lik."):
        return f"{_term(name)}: higher is better."
    return _term(name)


def _joint(fitted: Fitted, dataset: Dataset, seed: int) -> str:
    # From the prior, under the covariates of test rows in turn.
    known, number = dataset.test.covariates, len(dataset.test)
    under = {name: np.asarray(x)[np.arange(COLUMNS) % number] for name, x in known.items()} or None
    draws = generate(fitted, num=COLUMNS, seed=seed, covariates=under)
    rows = [row for name, value in draws.items() for row in rows_of(dataset, name, value, "sample")]
    return paragraph(
        "All modalities from one draw of the latents from the prior: a column is one sample, a draw of the likelihood."
    ) + grid("Joint samples", ["", *(str(i + 1) for i in range(COLUMNS))], rows)


def _conditional(fitted: Fitted, dataset: Dataset, seed: int) -> str:
    read = (
        "One modality of a test tuple is given (shaded) and the others are drawn; below each draw is the truth, of "
        "numbers in grey. A column is a tuple."
    )
    parts = [paragraph(read)]
    for source in dataset.modalities:
        has = np.flatnonzero(np.asarray(dataset.test.present[source]))[:COLUMNS]
        if not has.size:
            continue
        rows = dataset.test[has]
        draws = generate(fitted, rows.only(source), num=1, seed=seed)
        lines = rows_of(dataset, source, np.asarray(rows[source]), "given, tuple", rows=rows, given=True)
        for name in dataset.modalities:
            if name != source:
                lines += rows_of(dataset, name, draws[name][0], f"drawn given {source}, tuple", rows=rows)
        header = ["", *(str(i + 1) for i in range(len(has)))]
        parts += [f"<h3>Given {escape(source)}</h3>", grid(f"Drawn given {source}", header, lines)]
    return "".join(parts)


def _numbers(result: dict[str, Any]) -> str:
    parts = [paragraph(f"On the {result['split']} tuples; ± is one standard error, where it is to be trusted.")]
    if result["skipped"]:
        parts.append(paragraph(result["skipped"]))
    value = result["log_likelihood"]
    rows = []
    for kind in JUDGED:
        if result["coherence"]:
            joint = result["coherence"][kind]["joint"]
            rows.append([f"Joint coherence of all modalities, {kind}", estimate_text(joint)])
        if result["cross_coherence"]:
            rows.append([f"Cross coherence, {kind}", estimate_text(result["cross_coherence"][kind]["mean"])])
        if result["leave_one_out_coherence"]:
            left = result["leave_one_out_coherence"][kind]["mean"]
            rows.append([f"Coherence given all others, {kind}", estimate_text(left)])
    if result["latent_probe"]:
        rows.append(["Latent probe, accuracy", estimate_text(result["latent_probe"])])
    text, why = ("–", "") if value is None else likelihood_text(value)
    rows.append(["Log likelihood, nats a tuple", f"{text}, {why}" if why else text])
    if result.get("no_likelihood"):  # an evaluation by an earlier version does not say why
        parts.append(paragraph(f"No log likelihood. {result['no_likelihood']}"))
    if value is not None:
        rows.append(["How it was found", "; ".join(likelihood_lines(value))])
    parts.append(table("Summary", ["Measure", "Value"], rows))
    if result["cross_coherence"]:
        cross = result["cross_coherence"]["draws"]
        parts.append(table("Coherence: row given, column drawn", ["", *cross["names"]], cross_rows(cross)))
    if result.get("prediction"):  # an evaluation by an earlier version has none
        cells = prediction_rows(result["prediction"])
        parts.append(paragraph(HELD_OUT))
        parts.append(table("Prediction of what was held out", ["given", *PREDICTION], cells))
    by_name: list[list[str]] = []
    two_sample = (result.get("two_sample") or {}).get("draws")  # an evaluation by an earlier version has none
    if two_sample and not result["frechet"]:
        parts.append(across(TWO_SAMPLE, list(two_sample), [["Accuracy", *map(estimate_text, two_sample.values())]]))
    if result["frechet"]:
        names = list(result["frechet"]["draws"])
        for kind in JUDGED:
            if result["leave_one_out_coherence"]:
                left = result["leave_one_out_coherence"][kind]["accuracy"]
                by_name.append([f"Coherence given all others, {kind}", *(estimate_text(left[n]) for n in names)])
            by_name.append([f"Frechet distance, {kind}", *frechet_row(result["frechet"][kind])])
        if two_sample:
            by_name.append([TWO_SAMPLE, *(estimate_text(two_sample[name]) for name in names)])
        if result["classifiers"]:
            accuracy = (result["classifiers"][name] for name in names)
            by_name.append(["Classifier's own accuracy", *("–" if v is None else f"{v:.3f}" for v in accuracy)])
        parts.append(across("By modality", names, by_name))
    if value is not None and not trusted_k(value["share_k_above_0.7"]):
        advice = "Where PSIS k is above 0.7 with every method the log likelihood is not to be trusted."
        parts.append(paragraph(advice))
    return "".join(parts)


def _chains(summary: dict[str, Any], names: Sequence[str]) -> str:
    what = (
        f"Posterior of {summary['data']} test tuples by {summary['sampler']}: {summary['chains']} chains of "
        f"{summary['draws']} draws for each."
    )
    if not summary["sites"]:
        return paragraph(what) + paragraph("Independent draws: R-hat and ESS do not apply.")
    header = ["Latent", "R-hat max", "R-hat median", "R-hat ≤ 1.01", "Bulk ESS min", "Bulk ESS median", "Tail ESS min"]
    rows = [
        [
            name,
            f"{s['r_hat_max']:.3f}",
            f"{s['r_hat_median']:.3f}",
            f"{100 * s['share_r_hat_good']:.0f}%",
            f"{s['ess_bulk_min']:.0f}",
            f"{s['ess_bulk_median']:.0f}",
            f"{s['ess_tail_min']:.0f}",
        ]
        for name, s in summary["sites"].items()
    ]
    accepted = "" if summary["acceptance"] is None else f" Mean acceptance {summary['acceptance']:.2f}."
    advice = " R-hat is at most 1.01 where chains mix well; above 1.1 they have not mixed, which is a warning."
    worst = [
        [
            str(d["datum"]),
            subset_text(d["present"], names),
            *(_figure(d[key]) for key in ("r_hat", "ess_bulk", "ess_tail", "acceptance")),
        ]
        for d in summary["worst"]
    ]
    columns = ["Tuple", "Has", "R-hat", "Bulk ESS", "Tail ESS", "Acceptance"]
    return (
        paragraph(what + accepted + advice)
        + table("R-hat and effective sample size", header, rows)
        + table("The tuples to be trusted least", columns, worst)
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else short_number(value)


def _diagnosis(found: dict[str, Any], summary: dict[str, Any]) -> str:
    parts = [trust_list(found, summary)]
    read, covered = coverage_charts(found["coverage_by_subset"])
    if covered:
        charts = "".join(chart(svg, f"Coverage of {name}", name) for name, svg in covered)
        parts.append(f'<h3>Coverage given every subset</h3>{paragraph(read)}<div class="charts">{charts}</div>')
    charts = "".join(chart(svg, name, f"{name}. {read}") for name, read, svg in diagnosis_charts(found))
    if charts:
        parts.append(f'<h3>Guide and inference</h3><div class="charts">{charts}</div>')
    rows = [[site, *energy_texts(h)] for site, h in found["energy"].items()]
    if rows:
        header = ["Latent", "Energy, posterior less prior", "R-hat on the prior", "log Z"]
        parts.append(table("Health of the energy", header, rows))
        parts.append(
            paragraph("The gap is 0 where the prior has learned its posterior; R-hat is at most 1.1 where chains mix.")
        )
    return "".join(parts)


def _energy(fitted: Fitted, dataset: Dataset, seed: int) -> str:
    charts = []
    for site, (posterior, prior) in energies(fitted, dataset.test[:500], seed=seed).items():
        what = (
            f"Energy of {site}: mean {posterior.mean():.2f} over posterior draws, {prior.mean():.2f} over prior draws"
        )
        charts.append(chart(energy_histogram(posterior, prior), what, what + ".", "wide"))
    if not charts:
        return ""
    note = "A prior that has learned its posterior draws gives both the same energies."
    return paragraph(note) + "".join(charts)
