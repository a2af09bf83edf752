"""Evaluation and summary as plain text."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmppl.inference.posterior.trust import LIMIT_R_HAT, trusted_k
from mmppl.priors import LEAST_ESS

__all__ = [
    "JUDGED",
    "PREDICTION",
    "cross_rows",
    "diagnosis_text",
    "energy_texts",
    "estimate_text",
    "evaluation_table",
    "frechet_row",
    "likelihood_lines",
    "likelihood_text",
    "posterior_table",
    "prediction_rows",
    "short_number",
    "subset_text",
]

# What is evaluated, the program's own claim first.
JUDGED = ("draws", "means")
PREDICTION = ("predicted", "RMSE", "R2", "accuracy", "nats a datum", "80% sets hold")
MEASURES = ("coherence", "cross_coherence", "leave_one_out_coherence", "frechet")


def short_number(value: float) -> str:
    """A number with three digits that count, as people write it.

    Example:
        >>> [short_number(x) for x in (1538.2, 0.4741, 1.48e9, -2.5e-7)]
        ['1538', '0.474', '1.48e9', '-2.5e-7']
    """
    return (
        f"{value:.0f}" if 1e3 <= abs(value) < 1e7 else re.sub(r"e([+-])0*", r"e\1", f"{value:.3g}").replace("e+", "e")
    )


def subset_text(subset: str, every: Sequence[str]) -> str:
    """A subset of modalities in few words.

    Example:
        >>> [subset_text(s, ["a", "b", "c"]) for s in ("a", "a+b", "a+b+c")]
        ['a', 'all but c', 'all']
    """
    names = subset.split("+")
    left = [name for name in every if name not in names]
    if len(every) > 1 and not left:
        return "all"
    return f"all but {', '.join(left)}" if len(left) < len(names) else ", ".join(names)


def estimate_text(estimate: Mapping[str, Any] | None, digits: int = 3) -> str:
    """A value with its standard error.

    Example:
        >>> estimate_text({"value": 0.875, "error": 0.01}), estimate_text(None)
        ('0.875 ± 0.010', '–')
    """
    if estimate is None or estimate["value"] is None:
        return "–"
    trusted = estimate["error"] is not None and math.isfinite(estimate["error"])
    return f"{estimate['value']:.{digits}f}" + (f" ± {estimate['error']:.{digits}f}" if trusted else "")


def likelihood_text(value: Mapping[str, Any]) -> tuple[str, str]:
    """A log likelihood of ``evaluation.json``, with an error where it is to be trusted, and why it has none elsewhere.

    Evaluations by an earlier version hold errors that are not to be trusted; they are left out too. A lower bound has
    "at least" before it.

    Example:
        >>> likelihood_text({"value": -3.5, "error": 0.1, "share_k_above_0.7": 0.96})
        ('-3.50', 'not trusted')
        >>> likelihood_text({"value": -3.5, "error": 0.1, "method": "bound"})
        ('at least -3.50 ± 0.10', '')
    """
    if value["value"] is None:
        return "–", "no row has a primary modality"
    if value.get("method") == "bound":
        return f"at least {estimate_text(value, 2)}", ""
    if not trusted_k(value["share_k_above_0.7"]):
        return estimate_text({**value, "error": None}, 2), "not trusted"
    return estimate_text(value, 2), "" if value["error"] is not None else "no error, as log Z has none"


def likelihood_lines(value: Mapping[str, Any]) -> list[str]:
    """Methods that a log likelihood of ``evaluation.json`` is from, data that none served, and its density.

    Example:
        >>> found = {"num": 50, "methods": {"importance": 44, "normal": 6}, "untrusted": 1, "share_k_above_0.7": 0.02}
        >>> likelihood_lines({**found, "value": -9.0, "density": -9.0})
        ['44 by importance, 6 by normal; PSIS k above 0.7 with every method for 1 of 50']
    """
    if "methods" not in value:  # an evaluation by an earlier version has one method
        return [f"PSIS k above 0.7 for {100 * value['share_k_above_0.7']:.0f}%"]
    by = ", ".join(f"{count} by {name}" for name, count in value["methods"].items())
    lines = [f"{by}; PSIS k above 0.7 with every method for {value['untrusted']} of {value['num']}"]
    if value.get("method") == "bound":
        lines = ["a lower bound, that of the diffusion: the mean of random ones of each tuple"]
    if value["density"] != value["value"]:
        lines.append(
            f"as a density of pictures on [0, 1], to compare with continuous likelihoods: {value['density']:.2f}"
        )
    return lines


def energy_texts(health: Mapping[str, Any]) -> tuple[str, str, str]:
    """Gap, R-hat and log Z of an energy's health, with errors where chains mix and weights are many enough."""
    r_hat, ess = health["r_hat"], health["log_z_ess"]
    mixes = r_hat is not None and r_hat <= LIMIT_R_HAT
    pairs = (("gap", mixes), ("log_z", ess is not None and ess >= LEAST_ESS))
    gap, log_z = (
        estimate_text({"value": health[name], "error": health[f"{name}_error"] if has_error else None}, 2)
        for name, has_error in pairs
    )
    return gap, "–" if r_hat is None else f"{r_hat:.3f}", log_z


def evaluation_table(result: Mapping[str, Any]) -> str:
    """Text of what :func:`mmppl.diagnostics.evaluate` returns."""
    lines = [f"Split: {result['split']}"]
    if result["skipped"]:
        lines.append(result["skipped"])
    for kind in JUDGED:
        lines += _generated_lines(result, kind)
    two_sample = (result.get("two_sample") or {}).get("draws")
    if two_sample:
        lines.append("Classifier two-sample test of draws, accuracy (0.5 where they cannot be told from data):")
        lines += _grid(list(two_sample), [[estimate_text(one) for one in two_sample.values()]])
    if result["latent_probe"]:
        lines.append(f"Latent probe, accuracy: {estimate_text(result['latent_probe'])}")
    predicted = result.get("prediction")
    if predicted:
        lines.append("Prediction of what was held out:")
        lines += _grid(["given", *PREDICTION], [[given, *cells] for given, *cells in prediction_rows(predicted)])
    value = result["log_likelihood"]
    if value is None:
        return "\n".join([*lines, f"Log likelihood: none. {result['no_likelihood']}"])
    text, why = likelihood_text(value)
    lines.append(f"Log likelihood: {text} nats a tuple ({value['num']} tuples{why and f': {why}'})")
    return "\n".join([*lines, *(f"  {line}" for line in likelihood_lines(value))])


def _generated_lines(result: Mapping[str, Any], kind: str) -> list[str]:
    """Lines of the measures of draws, or of means."""
    own = {name: (result[name] or {}).get(kind) for name in MEASURES}
    lines = []
    if own["coherence"]:
        joint = own["coherence"]["joint"]
        lines.append(f"Joint coherence of all modalities, {kind}: {estimate_text(joint)} ({joint['num']} samples)")
    if own["cross_coherence"]:
        cross = own["cross_coherence"]
        lines += [f"Cross coherence, {kind}: {estimate_text(cross['mean'])}", "  row given, column generated:"]
        lines += _grid(["", *cross["names"]], cross_rows(cross))
    if own["leave_one_out_coherence"]:
        left = own["leave_one_out_coherence"]
        lines.append(f"Coherence given all others, {kind}: {estimate_text(left['mean'])}")
        lines += _grid(list(left["accuracy"]), [[estimate_text(e) for e in left["accuracy"].values()]])
    if own["frechet"]:
        lines.append(f"Frechet distance of joint samples, {kind}:")
        lines += _grid(list(own["frechet"]), [frechet_row(own["frechet"])])
    return lines


def frechet_row(distances: Mapping[str, float | None]) -> list[str]:
    """Cells of Frechet distances by modality."""
    return ["–" if v is None else f"{v:.2f}" for v in distances.values()]


def cross_rows(cross: Mapping[str, Any]) -> list[list[str]]:
    """The cells of the cross-coherence matrix, each row after the name of what is given."""
    return [
        [name, *(estimate_text({"value": v, "error": e}) for v, e in zip(values, errors, strict=True))]
        for name, values, errors in zip(cross["names"], cross["accuracy"], cross["error"], strict=True)
    ]


def prediction_rows(predicted: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[list[str]]:
    """Cells of predictions: what is given, the modality, and its measures as in ``PREDICTION``.

    Example:
        >>> one = {"num": 9, "error": 0.5, "r2": 0.75, "accuracy": None, "nll": 1.0, "nll_error": 0.1, "coverage": 0.8}
        >>> prediction_rows({"a": {"b": one}})
        [['a', 'b', '0.5', '0.750', '–', '1.00 ± 0.10', '0.80']]
    """

    def cell(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    given_alone = [name for given in predicted for name in given.split("+") if name]
    every = list(dict.fromkeys([*given_alone, *(name for own in predicted.values() for name in own)]))
    return [
        [
            subset_text(given, every),
            name,
            "–" if one["error"] is None else short_number(one["error"]),
            cell(one["r2"], ".3f"),
            cell(one["accuracy"], ".3f"),
            estimate_text({"value": one["nll"], "error": one["nll_error"]}, 2),
            f"{one['coverage']:.2f}",
        ]
        for given, own in predicted.items()
        for name, one in own.items()
    ]


def posterior_table(summary: Mapping[str, Any]) -> str:
    """Text of what :func:`mmppl.diagnostics.summarise_posterior` returns."""
    lines = [
        f"Posterior of {summary['data']} tuples by {summary['sampler']}: "
        f"{summary['chains']} chains of {summary['draws']} draws"
    ]
    if not summary["sites"]:
        lines.append("Independent draws: R-hat and ESS do not apply.")
    for name, site in summary["sites"].items():
        lines.append(
            f"  {name}: R-hat max {site['r_hat_max']:.3f}, median {site['r_hat_median']:.3f}, at most 1.01 for "
            f"{100 * site['share_r_hat_good']:.0f}%; bulk ESS min {site['ess_bulk_min']:.0f}, median "
            f"{site['ess_bulk_median']:.0f}; tail ESS min {site['ess_tail_min']:.0f}"
        )
    if summary["acceptance"] is not None:
        lines.append(f"  acceptance {summary['acceptance']:.2f}")
    return "\n".join(lines)


def diagnosis_text(found: Mapping[str, Any], worst: Sequence[Mapping[str, Any]]) -> str:
    """Text of the findings of :func:`mmppl.diagnostics.diagnose`, with the data whose chains are worst."""
    lines = []
    if worst:
        keys = ("datum", "present", "r_hat", "ess_bulk", "ess_tail", "acceptance")
        cells = [
            ["–" if d[k] is None else d[k] if isinstance(d[k], str) else short_number(d[k]) for k in keys]
            for d in worst
        ]
        lines += [
            "Tuples to be trusted least:",
            *_grid(["tuple", "has", "R-hat", "bulk ESS", "tail ESS", "accept"], cells),
        ]
    for name, error in ((found["coverage"] or {}).get("calibration_error") or {}).items():
        lines.append(f"Calibration error of {name} held out: {error:.3f}")
    for site, h in found["energy"].items():
        gap, mixing, log_z = energy_texts(h)
        lines.append(f"Energy of {site}: posterior less prior {gap}, R-hat on the prior {mixing}, log Z {log_z}")
    return "\n".join([*lines, *(f"Warning: {text}" for text in found["warnings"])])


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows under a header, in columns of equal width, indented."""
    columns = [header, *rows]
    width = [max(len(row[i]) for row in columns) for i in range(len(header))]
    return ["  " + "  ".join(text.rjust(w) for text, w in zip(row, width, strict=True)) for row in columns]
