"""Systems on MNIST-SVHN: ``python -m benchmarks.mnist_svhn [HOST ...] --data-root FOLDER [--systems NAME,...]``.

All systems have the same data, batches, learning rate and networks, the defaults for pictures. Those that first fit
autoencoders and then a score, whose steps take a tenth, have more epochs. What is generated is judged twice, as draws
and as means of the likelihood, as in the published tables. Every fit is kept in benchmarks/results/mnist_svhn, so that
a run that was stopped goes on; docs/results/mnist_svhn.md is of all that there are.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.judging import judged, measures
from benchmarks.pages import Cell, Row, cells, over_seeds, parser, resumed, stamp, table
from benchmarks.svhn_judge import judges
from mmppl import models
from mmppl.data import load
from mmppl.errors import TrainingError
from mmppl.inference import fit
from mmppl.inference.posterior.trust import trusted_k

SCORED = ("mld", "mld_inpaint", "mld_uni", "sbm")
SYSTEMS = ("mvae", "mmvae", "mopoe", "nexus", "mvtcae", "mmvae_plus", "ebm", "ebm_plus", *SCORED)
PAIRINGS, EPOCHS, LONGER = 5, 15, 50
SETTINGS: dict[str, Any] = {"batch_size": 128, "learning_rate": 1e-3}
KEPT, PAGE = Path("benchmarks/results/mnist_svhn"), Path("docs/results/mnist_svhn.md")
JUDGE = Path("runs/mnist_svhn/judge.pt")
COVERED = 100
MEASURES = {
    "joint": "joint, draws",
    "joint, means": "joint, means",
    "mnist to svhn": "SVHN given MNIST, draws",
    "mnist to svhn, means": "means",
    "svhn to mnist": "MNIST given SVHN, draws",
    "svhn to mnist, means": "means",
    "frechet": "Frechet distance, draws",
    "told": "two-sample accuracy",
    "coverage": "80% sets hold",
    "log_lik": "log likelihood, nats",
    "bad_k": "PSIS k > 0.7",
    "seconds": "seconds of the fit",
    "judge": "its judge of SVHN",
}
# Percent: joint, SVHN given MNIST, MNIST given SVHN, and where.
PUBLISHED = {
    "mvae": ((38.19, 48.21, 28.57, "Bounoua et al."), (12.7, 9.5, 9.3, "Yuan et al.")),
    "mmvae": ((37.82, 11.72, 67.55, "Bounoua et al."), (21.5, 16.9, 52.3, "Yuan et al.")),
    "mopoe": ((39.93, 12.27, 68.82, "Bounoua et al."),),
    "nexus": ((40.0, 16.68, 70.67, "Bounoua et al."),),
    "mvtcae": ((48.78, 81.97, 49.78, "Bounoua et al."),),
    "mld": ((85.22, 83.79, 79.13, "Bounoua et al."),),
    "ebm": ((41.9, 23.7, 65.3, "Yuan et al."),),
}


def main() -> None:
    """Fits what has not been fitted yet, and writes the table after every fit."""
    options = parser(__doc__)
    options.add_argument("--data-root", required=True, help="folder of the data")
    options.add_argument("--systems", default=",".join(SYSTEMS), help="names with commas")
    asked = options.parse_args()
    data = load("mnist_svhn", root=asked.data_root, pairings=PAIRINGS)
    classifiers = judges(data, JUDGE)

    def run(system: str, host: str, seed: int) -> Row:
        program = models.make(system, data.modalities, ppl=import_module(f"mmppl.{host}"))
        epochs, out = LONGER if system in SCORED else EPOCHS, Path(f"runs/mnist_svhn/{system}_{host}_{seed}")
        how = {"epochs": epochs, "out": out, "resume": out.exists(), "progress": False, **SETTINGS}
        try:
            fitted = fit(program, data.train, seed=seed, **how)
        except TrainingError as error:
            return {"failed": str(error)}
        found = judged(fitted, data, classifiers, COVERED, seed)
        row = measures(found, fitted, "draws") | {"joint, means": measures(found, fitted, "means")["joint"]}
        for kind, end in (("draws", ""), ("means", ", means")):
            cross = found["cross_coherence"][kind]
            mnist, svhn = (cross["names"].index(name) for name in ("mnist", "svhn"))
            row |= {f"mnist to svhn{end}": cross["accuracy"][mnist][svhn]}
            row |= {f"svhn to mnist{end}": cross["accuracy"][svhn][mnist]}
        seconds = sum(record["seconds"] for record in fitted.history)
        return {**row, "seconds": seconds, "classifiers": dict(classifiers.accuracy), "rows": len(data.train)}

    for rows in resumed(KEPT, cells(asked.systems.split(","), asked), run):
        if rows:
            PAGE.write_text(page(rows))
    print(PAGE.read_text())


def page(rows: dict[Cell, Row]) -> str:
    """The table of our rows, and that of published ones."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for (system, host, _), row in sorted(rows.items(), key=lambda item: SYSTEMS.index(item[0][0])):
        groups.setdefault((system, host), []).append(row)
    first = next(row for row in rows.values() if "rows" in row)
    for row in rows.values():
        row["judge"] = row.get("classifiers", {}).get("svhn")
    lines = [
        "# MNIST-SVHN (10k part)",
        "",
        f"Written by `python -m benchmarks.mnist_svhn` on {stamp()}.",
        "MNIST and the first 10,000 digits of SVHN's test set, split by photograph: no benchmark of SVHN. Each digit",
        f"of SVHN stands in {PAIRINGS} pairs, {first['rows']:,} in all to train on; the papers have 1.1 million,",
        "of SVHN's training set in 20 pairings. Settings: "
        + ", ".join(f"{k} {v}" for k, v in SETTINGS.items())
        + f", epochs {EPOCHS}, and {LONGER}",
        f"for {', '.join(SCORED)}; all else by default. Means over seeds, ± the standard error of the mean.",
        f"The judge of MNIST reads {first['classifiers']['mnist']:.3f} of real test digits right, that of SVHN as much",
        "as each row says: that is the ceiling. The first was a perceptron, and low, for it has 8,000 digits to learn",
        "from; now convolutional. By chance 0.1 of all agree. Coherences are of 1,000 draws and as many test pairs;",
        "the table has draws, with means of the likelihood beside them, which are what is published. Columns as on",
        "[the page of polydigits](polydigits_calibrated.md).",
        "",
        *table(
            ["system", "host", "seeds", *MEASURES.values()],
            [[*group, f"{len(own)}", *(_cell(own, name) for name in MEASURES)] for group, own in groups.items()],
        ),
        "",
        "## Published",
        "",
        "Percent, of means, other networks and the whole of SVHN: MLD's table (Bounoua et al., 2024), and EBM's",
        "(Yuan et al., 2024, the project's page).",
        "",
        *table(
            ["system", "joint", "SVHN given MNIST", "MNIST given SVHN", "source"],
            [[system, *line] for system, lines in PUBLISHED.items() for line in lines],
        ),
    ]
    return "\n".join(lines) + "\n"


def _cell(own: list[Row], name: str) -> str:
    values = [row[name] for row in own if row.get(name) is not None]
    if not values:
        return "–"
    trusted = name != "log_lik" or all(trusted_k(row["bad_k"]) for row in own if row.get("bad_k") is not None)
    return over_seeds(values, {"frechet": 1, "log_lik": 1, "seconds": 0}.get(name, 3), trusted)


if __name__ == "__main__":
    main()
