"""Several tasks against one: ``python -m benchmarks.mt_mnist [HOST ...] --data-root FOLDER [--seeds 0,1,2]``.

MNIST at 28 x 28, as a diffusion of the image alone, of it with its label, and of it with a masked copy, the same
network for the same number of steps. Draws of the image are judged by the Frechet distance of a classifier's features
from those of test images; the paper claims that further tasks cost the first one nothing. Rows are kept in
benchmarks/results/mt_mnist, from which docs/results/mt_mnist.md is written.
"""

import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import Cell, Row, cells, over_seeds, parser, resumed, stamp, table
from mmppl import Batch, Modality, models
from mmppl.data import Dataset, with_labels, with_masks
from mmppl.inference import fit, generate
from mmppl.metrics import frechet, train_classifiers

TASKS = ("image", "label", "masked")
OWN: dict[str, dict[str, Any]] = {
    "image": {"p_single": 1.0, "p_marginal": 0.0, "p_conditional": 0.0},
    "label": {"p_conditional": 0.5},
    "masked": {"p_conditional": 0.5, "p_marginal": 0.0},
}
SETTINGS: dict[str, Any] = {"batch_size": 64, "learning_rate": 2e-3}
OPTIONS: dict[str, Any] = {"space": "data", "net": "dit", "width": 128, "solver": "flow", "steps": 30, "ema": 0.998}
ROWS, EPOCHS, DRAWS = 20_000, 8, 2000
KEPT, PAGE = Path("benchmarks/results/mt_mnist"), Path("docs/results/mt_mnist.md")
MEASURES = {
    "frechet": "Frechet distance of draws",
    "training": "of training images",
    "label": "label given image",
    "agree": "image given label",
    "steps": "steps",
    "step": "processor ms a step",
    "draw": "ms a draw",
}


def main() -> None:
    """Fits what has not been fitted yet, and writes the page."""
    options = parser(__doc__)
    options.add_argument("--data-root", required=True, help="folder of the data")
    asked = options.parse_args()
    data = mnist(Path(asked.data_root))
    classifiers = train_classifiers(data)
    print("classifier", dict(classifiers.accuracy), flush=True)
    test = np.asarray(data.test["image"])[:DRAWS]

    def features(images: np.ndarray) -> np.ndarray:
        return classifiers.features("image", images)

    def run(task: str, host: str, seed: int) -> Row:
        own = with_masks(data, "image", size=7, law=[1.0] * 9) if task == "masked" else with_labels(data)
        options = {**OPTIONS, **OWN[task], "ppl": import_module(f"mmppl.{host}"), "primary": "image"}
        program = models.make("mt_diffusion", own.modalities, **options)
        start = time.process_time()
        fitted = fit(program, own.train, epochs=EPOCHS, seed=seed, progress=False, **SETTINGS)
        spent, steps = time.process_time() - start, EPOCHS * -(-len(own.train) // SETTINGS["batch_size"])
        start = time.process_time()
        drawn = generate(fitted, num=DRAWS, want=["image"] if task == "image" else None, seed=seed)["image"]
        row: Row = {
            "frechet": frechet(features(drawn), features(test)),
            "training": frechet(features(np.asarray(data.train["image"])[:DRAWS]), features(test)),
            "steps": steps,
            "step": 1e3 * spent / steps,
            "draw": 1e3 * (time.process_time() - start) / DRAWS,
        }
        if task == "label":
            given, label = own.test[:500], np.asarray(own.test["label"])[:500]
            found = generate(fitted, given.only("image"), num=20, want=["label"], seed=seed)["label"]
            votes = np.stack([(found == k).sum(0) for k in range(10)])
            drawn = generate(fitted, given.only("label"), want=["image"], seed=seed)["image"][0]
            row["label"] = float((votes.argmax(0) == label).mean())
            row["agree"] = float((classifiers.predict("image", drawn) == label).mean())
        return row

    for rows in resumed(KEPT, cells(TASKS, asked), run):
        if rows:
            PAGE.write_text(page(rows))
    print(PAGE.read_text())


def mnist(root: Path) -> Dataset:
    """Images and labels of MNIST, the first of the training set and all of the test set."""
    file = next(path for path in (root / "mnist.npz", root / "polymnist" / "mnist.npz") if path.is_file())
    with np.load(file) as arrays:
        parts = [
            Batch(
                {"image": np.divide(arrays[f"x_{split}"][:num, None], 255, dtype=np.float32)},
                label=arrays[f"y_{split}"][:num].astype(np.int64),
            )
            for split, num in (("train", ROWS), ("test", None))
        ]
    return Dataset("mnist", {"image": Modality((1, 28, 28), kind="image")}, *parts)


def page(rows: dict[Cell, Row]) -> str:
    """The table, and what it says of the claim."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for (task, host, _), row in sorted(rows.items(), key=lambda item: TASKS.index(item[0][0])):
        groups.setdefault((task, host), []).append(row)
    measured = {name: text for name, text in MEASURES.items() if any(name in r for own in groups.values() for r in own)}
    body = [[*group, f"{len(own)}", *(_cell(own, name) for name in measured)] for group, own in groups.items()]
    settings = ", ".join(f"{k} {v}" for k, v in {**SETTINGS, **OPTIONS}.items())
    lines = [
        "# Several tasks against one, on MNIST",
        "",
        f"Written by `python -m benchmarks.mt_mnist` on {stamp()}.",
        f"{ROWS:,} images of MNIST's training set at 28 x 28, {EPOCHS} epochs; {settings};",
        "all else by default. The same network, batches and number of steps for the image alone (`p_single=1`), for it",
        "with its label, and for it with a copy of which 0 to 8 squares of 7 x 7 are hidden. Frechet distances are of",
        f"{DRAWS:,} draws of the image from the joint distribution to as many test images, by the features of a small",
        "classifier and so not comparable with FID; *of training images*: theirs, which is the floor. Means over",
        "seeds, ± the standard error of the mean.",
        "",
        *table(["task", "host", "seeds", *measured.values()], body),
    ]
    return "\n".join(lines) + "\n"


def _cell(own: list[Row], name: str) -> str:
    values = [row[name] for row in own if row.get(name) is not None]
    return over_seeds(values, {"steps": 0, "frechet": 2, "training": 2}.get(name, 3)) if values else "–"


if __name__ == "__main__":
    main()
