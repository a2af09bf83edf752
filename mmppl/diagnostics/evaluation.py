"""Evaluation of a fitted program: every number of ``mmppl evaluate``."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import at_least, checked
from mmppl.data import Dataset
from mmppl.diagnostics.likelihood import likelihood_of_rows
from mmppl.diagnostics.prediction import as_json, prediction_by_subset
from mmppl.diagnostics.two_sample import LEAST, two_sample_accuracy
from mmppl.errors import ModalityError, OptionError
from mmppl.inference import Fitted, generate
from mmppl.metrics import (
    Classifiers,
    Estimate,
    coherence,
    cross_coherence,
    frechet,
    latent_probe,
    leave_one_out_coherence,
    train_classifiers,
)
from mmppl.progress import tqdm

__all__ = ["evaluate", "guide_latents"]

Features = Mapping[str, Callable[[np.ndarray], np.ndarray]]
SPLITS = ("train", "test")
PREDICTED = 50  # draws a row


@checked(num=at_least(1), prediction_rows=at_least(0), likelihood_rows=at_least(0), particles=at_least(2))
def evaluate(
    fitted: Fitted,
    dataset: Dataset,
    *,
    split: str = "test",
    classifiers: Classifiers | None = None,
    features: Features | None = None,
    num: int = 1000,
    prediction_rows: int = 100,
    likelihood_rows: int | None = None,
    particles: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    r"""Coherence, Frechet distances, latent probe, prediction and log likelihood of a fitted program, ready for JSON.

    What is generated is evaluated as draws, which is what the program says of data, and beside them as means of the
    likelihood, as most published protocols do. Without labels there are no classifiers; what needs them is then None
    (Frechet distances only where ``features`` are given), and ``skipped`` says why. So is the log likelihood of a
    program with deterministic encoders, whose guide has no density, and ``no_likelihood`` says why.

    Arguments:
        fitted: A fitted program.
        dataset: Its data.
        split: ``"test"`` or ``"train"``: the rows that are encoded, compared and scored.
        classifiers: Classifiers of the modalities; trained on the data (once, then kept) if None.
        features: What Frechet distances are taken between, by name: functions from ``(N, *event)`` to ``(N, F)``, such
            as an Inception network for images (FID) or VGGish for sounds (FAD); those of the classifiers for the
            others.
        num: Joint samples K, and most rows of the split for coherence and the probe.
        prediction_rows: Most rows for the prediction, which takes 50 draws of each given every subset that it judges;
            0 for none.
        likelihood_rows: Most rows for the log likelihood; None for 200, for fewer where chains have to run for most of
            them (as many as hold 40,000 values, but not fewer than 20), and for none where the prior is a diffusion, as
            every draw would take an integration of its own (seconds).
        particles: Importance samples for each of them, from the guide and from a normal.
        seed: Random seed.
        progress: Whether to show a progress bar.

    Returns:
        A dictionary: ``coherence``, ``cross_coherence``, ``leave_one_out_coherence`` and ``frechet``, each of
        ``"draws"`` and of ``"means"``; ``two_sample``, of draws, the accuracy of classifiers that tell them from data,
        see :func:`~mmppl.diagnostics.two_sample_accuracy`; ``latent_probe``; ``prediction`` of each modality given each
        other one and given all others, of 100 rows and 50 draws, see
        :func:`~mmppl.diagnostics.prediction_by_subset`; ``log_likelihood``, each datum by the first method whose
        diagnosis holds, see :func:`~mmppl.diagnostics.likelihood.likelihood_of_rows`; ``no_likelihood``. Estimates are
        ``{"value", "error", "num"}``, where the error is None if what it rests on is not to be trusted; for the log
        likelihood that is ``trusted``.

    Raises:
        OptionError: If the split is unknown.
        ModalityError: If the classifiers do not have the modalities, or features are of an unknown one.
    """
    if split not in SPLITS:
        raise OptionError(f"Unknown split '{split}'; expected one of {', '.join(SPLITS)}.")
    unknown = [name for name in features or {} if name not in dataset.modalities]
    if unknown:
        raise ModalityError(f"Expected features of modalities among {list(dataset.modalities)}; got {unknown[0]!r}.")
    every = getattr(dataset, split)
    rows = fitted.program.taken(every[np.flatnonzero(np.asarray(every.observed()))][:num])
    skipped = _why_not(rows)
    bar = tqdm(total=11, disable=not progress, leave=False)

    def say(what: str) -> None:
        bar.set_description(what)
        bar.update()

    out: dict[str, Any] = {"split": split, "seed": seed, "epochs": len(fitted.history), "skipped": skipped}
    out |= dict.fromkeys(("classifiers", "coherence", "cross_coherence", "leave_one_out_coherence", "frechet"))
    out |= {"two_sample": None, "latent_probe": None}
    try:
        trained = None
        if skipped is None:
            say("classifiers")
            trained = classifiers or train_classifiers(dataset)
            out["classifiers"] = {name: trained.accuracy.get(name) for name in rows.modalities}
        see = {name: partial(trained.features, name) for name in rows.modalities} if trained else {}
        # The two-sample test needs no labels.
        for kind, mean in (("draws", False), ("means", True)):
            if see or features or not mean:
                found = _generated(fitted, rows, trained, {**see, **(features or {})}, num, seed, mean, say, kind)
                for name, value in found.items():
                    out[name] = {**(out[name] or {}), kind: value}
        if trained:
            say("latent probe")
            out["latent_probe"] = _probe(fitted, dataset.train, rows, num, seed)
        say("prediction")
        out["prediction"] = None
        if prediction_rows:
            out["prediction"] = as_json(prediction_by_subset(fitted, rows[:prediction_rows], num=PREDICTED, seed=seed))
        say("log likelihood")
        out["log_likelihood"] = None
        out["no_likelihood"] = _why_no_likelihood(fitted, likelihood_rows)
        if out["no_likelihood"] is None:
            out["log_likelihood"] = likelihood_of_rows(fitted, rows, likelihood_rows, particles, seed)
    finally:
        bar.close()
    return out


def _generated(
    fitted: Fitted,
    rows: Batch,
    trained: Classifiers | None,
    features: Features,
    num: int,
    seed: int,
    mean: bool,
    say: Callable[[str], None],
    kind: str,
) -> dict[str, Any]:
    """Measures of what is generated, as draws or as means."""
    say(f"joint samples, {kind}")
    # From the prior, under the covariates of the rows in turn.
    under = {name: x[np.arange(num) % len(rows)] for name, x in rows.covariates.items()} or None
    samples = generate(fitted, num=num, mean=mean, seed=seed, covariates=under)
    out: dict[str, Any] = {"frechet": _frechet(samples, rows, features)} if features else {}
    if not mean:
        say("classifier two-sample test")
        out["two_sample"] = _two_samples(samples, rows, fitted, seed)
    if trained is None:
        return out
    out["coherence"] = _joint(samples, trained)
    if len(rows.modalities) == 1:
        return out

    def draw(given: Batch, want: Any) -> Mapping[str, np.ndarray]:
        return generate(fitted, given, want=want, mean=mean, seed=seed)

    say(f"one modality from another, {kind}")
    cross = cross_coherence(draw, rows, trained)
    out["cross_coherence"] = {
        "mean": _plain(cross.mean),
        "names": list(cross.names),
        "accuracy": _matrix(cross.accuracy),
        "error": _matrix(cross.error),
    }
    say(f"one modality from all others, {kind}")
    left = leave_one_out_coherence(draw, rows, trained)
    accuracy = {name: _plain(estimate) for name, estimate in left.accuracy.items()}
    out["leave_one_out_coherence"] = {"mean": _plain(left.mean), "accuracy": accuracy}
    return out


def guide_latents(fitted: Fitted, batch: Batch, seed: int) -> dict[str, np.ndarray]:
    """One draw of every latent from the guide, ``(N, *event)`` by site."""
    host = fitted.program.ppl.host
    drawn = host.latents(fitted.model, fitted.guide, batch, 1, seed, np.zeros(len(batch), bool))
    return {name: np.asarray(z)[0] for name, z in drawn.items()}


def _why_not(rows: Batch) -> str | None:
    if rows.label is None:
        return "The data have no labels: coherence, Frechet distance and latent probe are left out."
    if len(np.unique(rows.label)) < 2:
        return "The labels are of one class: coherence, Frechet distance and latent probe are left out."
    return None


def _why_no_likelihood(fitted: Fitted, asked: int | None) -> str | None:
    if not fitted.program.density:
        return "The encoders are deterministic."
    if asked == 0:
        return "None was asked for: likelihood_rows is 0."
    if fitted.program.ode_density and fitted.program.bound is None and asked is None:
        return "Under a diffusion every draw takes an integration; evaluate(likelihood_rows=...) in Python does them."
    return None


def _joint(samples: Mapping[str, np.ndarray], classifiers: Classifiers) -> dict[str, Any]:
    joint = coherence(samples, classifiers)
    return {"joint": _plain(joint.joint), "names": list(joint.names), "pairs": _matrix(joint.pairs)}


def _frechet(samples: Mapping[str, np.ndarray], rows: Batch, features: Features) -> dict[str, float | None]:
    out: dict[str, float | None] = {}
    for name, see in features.items():
        real = np.asarray(rows[name])[np.flatnonzero(np.asarray(rows.whole(name)))]
        out[name] = _number(frechet(see(samples[name]), see(real))) if len(real) > 1 else None
    return out


def _two_samples(
    samples: Mapping[str, np.ndarray], rows: Batch, fitted: Fitted, seed: int
) -> dict[str, dict[str, Any] | None]:
    out: dict[str, dict[str, Any] | None] = {}
    for name in rows.modalities:
        real = np.asarray(rows[name])[np.flatnonzero(np.asarray(rows.whole(name)))]
        enough = min(len(real), len(samples[name])) >= LEAST
        modality = fitted.program.modalities[name]
        out[name] = _plain(two_sample_accuracy(samples[name], real, modality, seed=seed)) if enough else None
    return out


def _probe(fitted: Fitted, train: Batch, rows: Batch, num: int, seed: int) -> dict[str, Any]:
    start = fitted.program.taken(train[np.flatnonzero(np.asarray(train.observed()))][: 2 * num])
    z_train, z_test = (
        np.concatenate(
            [z.reshape(len(b), -1) for z in guide_latents(fitted, b.select(*rows.modalities), s).values()], 1
        )
        for b, s in ((start, seed), (rows, seed + 1))
    )
    return _plain(latent_probe(z_train, np.asarray(start.label), z_test, np.asarray(rows.label), seed=seed))


def _plain(estimate: Estimate) -> dict[str, Any]:
    return {"value": _number(estimate.value), "error": _number(estimate.error), "num": estimate.num}


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if np.isfinite(value) else None


def _matrix(values: np.ndarray) -> list[list[float | None]]:
    return [[_number(v) for v in row] for row in values]
