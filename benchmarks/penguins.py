"""Imputation of a small table with real gaps: ``python -m benchmarks.penguins --file penguins.csv [HOST ...]``.

The file is as the package palmerpenguins 0.1.6 has it. Options: ``--seeds 0,1,2``.

Four measurements in millimetres and grams, species, island and sex of 344 penguins, some of them missing; the year is a
covariate. A fifth of the rows is for testing, and a quarter of all cells is hidden in both parts. Systems and ``fit``
are as they come. Judged on what is hidden in test rows: root mean squared error of measurements in deviations, coverage
of 80% intervals, and accuracy of categories. Results are kept in benchmarks/results/penguins.
"""

import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas

from benchmarks.pages import Cell, Row, cells, imputation_table, over_seeds, parser, resumed, stamp
from mmppl import Batch, models
from mmppl.data import Dataset, from_pandas, hide
from mmppl.diagnostics.calibration import places
from mmppl.inference import fit, generate

RATE, DRAWS = 0.25, 200
BODY = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
CLASSES = ("species", "island", "sex")
SYSTEMS = ("mopoe", "mvae")
# Systems with options: independent noise in place of what they take where single values are missing.
VARIANTS = {"mopoe_independent": ("mopoe", {"likelihood": {"vector": "normal"}})}
KEPT, PATH = Path("benchmarks/results/penguins"), Path("docs/results/penguins.md")


def read(file: str, seed: int) -> Dataset:
    """The table as it is."""
    frame = pandas.read_csv(file)
    views = {"body": BODY, **{name: name for name in CLASSES}}
    return from_pandas(frame, views, covariates=["year"], name="penguins", seed=seed)


def ours(system: str, host: str, data: Dataset, train: Batch, test: Batch, seed: int) -> Row:
    """Fits a system with its defaults."""
    start, ppl = time.perf_counter(), import_module(f"mmppl.{host}")
    name, options = VARIANTS.get(system, (system, {}))
    program = getattr(models, name)(data.modalities, ppl=ppl, covariates=data.covariates, seed=seed, **options)
    fitted = fit(program, train, seed=seed, progress=False)
    seconds = time.perf_counter() - start
    draws = generate(fitted, test, DRAWS, seed=seed)
    means = generate(fitted, test, DRAWS, mean=True, seed=seed)["body"].mean(0)
    votes = {n: (draws[n][..., None] == np.arange(data.modalities[n].ids or 0)).mean(0).argmax(-1) for n in CLASSES}
    gone = ~np.asarray(test.there("body")) & np.asarray(data.test.there("body"))
    place = places(draws["body"], data.test["body"], np.random.default_rng(seed))
    covered = float(np.mean(np.abs(place[gone] - 0.5) <= 0.4))
    return {"seconds": seconds, **errors(data, test, means, votes), "coverage": covered}


def theirs(name: str, data: Dataset, train: Batch, test: Batch) -> Row:
    """An imputer of scikit-learn, of standardised numbers and one-hot classes."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

    start = time.perf_counter()
    seen = np.where(train.there("body"), train["body"], np.nan)
    centre, spread = np.nanmean(seen, axis=0), np.nanstd(seen, axis=0)

    def columns(rows: Batch) -> np.ndarray:
        parts = [(np.where(rows.there("body"), rows["body"], np.nan) - centre) / spread]
        for n in CLASSES:
            # Without the first class, whose share is what the others leave: all of them are collinear.
            codes = np.eye(data.modalities[n].ids or 0)[rows[n]][:, 1:]
            parts.append(np.where(np.asarray(rows.present[n])[:, None], codes, np.nan))
        return np.concatenate([*parts, np.asarray(rows.covariates["year"], float)[:, None] - 2008.0], axis=1)

    imputers = {
        "mean": SimpleImputer(),
        "knn": KNNImputer(n_neighbors=10, weights="distance"),
        "iterative": IterativeImputer(max_iter=30, tol=1e-2, random_state=0),
    }
    filled = imputers[name].fit(columns(train)).transform(columns(test))
    sizes = [len(BODY), *((data.modalities[n].ids or 0) - 1 for n in CLASSES)]
    body, *codes = np.split(filled, np.cumsum(sizes), axis=1)[:-1]
    shares = [np.concatenate([1.0 - x.sum(1, keepdims=True), x], axis=1) for x in codes]
    votes = {n: x.argmax(1) for n, x in zip(CLASSES, shares, strict=True)}
    return {"seconds": time.perf_counter() - start, **errors(data, test, body * spread + centre, votes)}


def errors(data: Dataset, test: Batch, body: np.ndarray, votes: dict[str, np.ndarray]) -> Row:
    """Root mean squared error of hidden measurements in deviations of the training rows, and accuracies of classes."""
    gone = ~np.asarray(test.there("body")) & np.asarray(data.test.there("body"))
    x = np.where(data.train.there("body"), data.train["body"], np.nan)
    wrong = (body - data.test["body"]) / np.nanstd(x, axis=0)
    out = {"error": float((wrong[gone] ** 2).mean() ** 0.5)}
    for n in CLASSES:
        hidden = np.asarray(data.test.present[n]) & ~np.asarray(test.present[n])
        out[n] = float((votes[n] == data.test[n])[hidden].mean())
    return out


def main() -> None:
    """Fits what has not been fitted yet, prints every fit, and writes the page."""
    options = parser(__doc__)
    options.add_argument("--file", required=True, help="penguins.csv")
    asked = options.parse_args()

    def run(system: str, host: str, seed: int) -> Row:
        data = read(asked.file, seed)
        train, test = (hide(part, RATE, elements=True, seed=seed + i) for part, i in ((data.train, 0), (data.test, 9)))
        return theirs(system, data, train, test) if host == "none" else ours(system, host, data, train, test, seed)

    rivals = [(name, "none", int(seed)) for seed in asked.seeds.split(",") for name in ("mean", "knn", "iterative")]
    for rows in resumed(KEPT, [*rivals, *cells((*SYSTEMS, *VARIANTS), asked)], run):
        PATH.write_text(_page(rows))
    print(PATH.read_text())


def _page(rows: dict[Cell, Row]) -> str:
    lines = [
        "# Penguins: numbers and categories with real gaps",
        "",
        f"Written by `python -m benchmarks.penguins --file penguins.csv` on {stamp()}.",
        "Palmer Archipelago penguins (Horst, Hill and Gorman, 2020, CC0; from palmerpenguins 0.1.6): 344 rows, 11 of",
        "which lack the sex and 2 all measurements; a fifth for testing. A quarter of all cells is hidden at random",
        "besides, in both parts. Ours: `models.<system>(data.modalities, covariates=data.covariates)` and `fit`, as",
        "they come, of the raw table, with the year as a covariate. Rivals get standardised numbers and classes",
        "one-hot but for the first, and the largest share is taken. Errors are of means over 200 draws, in deviations;",
        "classes are the most frequent of the draws. Mean over seeds, of split, gaps and weights, with its standard",
        "error; a test part has about 70 hidden measurements and 15 to 20 hidden cells of each class. Seconds are of a",
        "busy machine.",
        "",
        "Measurements lack single values, so that they have a low-rank covariance given the latent, of rank 2, and a",
        "tenth of those that are there is held out of a fit, whose noise ends as large as these say. Before that sets",
        "of `mvae` held 67.4 and 76.9% (NumPyro, Pyro), of `mopoe` 81.3 and 83.7%, with errors of 0.511, 0.512, 0.542",
        "and 0.539. `mopoe_independent` is of before too: independent noise, and none held out. `mopoe` learns one",
        "scale from all subsets that it encodes, also those without a measurement: residuals of training rows are 0.39",
        "to 0.60 deviations where the latent is drawn from all there is, 0.74 to 0.91 where from classes alone",
        "(NumPyro, seed 0, independent noise). So sets are wide where much is known.",
        "",
    ]
    found: dict[tuple[str, str], list[Row]] = {}
    for (system, host, _), row in rows.items():
        found.setdefault((system, host), []).append(row)
    lines += imputation_table(found, {n: lambda own, n=n: over_seeds([r[n] for r in own], 2) for n in CLASSES})
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
