"""`mmppl evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from mmppl.cli.completion import complete_words
from mmppl.cli.options import Force, RunFolder, Seed, new_file, path_of

__all__ = ["evaluate"]


def evaluate(
    run: RunFolder,
    split: Annotated[
        str,
        typer.Option(
            metavar="test|train", help="The rows to evaluate on.", autocompletion=complete_words("test", "train")
        ),
    ] = "test",
    classifiers: Annotated[
        Path | None,
        typer.Option(
            "--classifiers",
            "--judges",
            metavar="FILE",
            help="Saved by Classifiers.save; trained, once, by default.",
            parser=path_of,
        ),
    ] = None,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Measure a run: a table, and RUN/evaluation.json.

    Joint, cross and leave-one-out coherence, Frechet distances, a latent probe and the log likelihood.
    """
    from mmppl import diagnostics
    from mmppl.diagnostics.report.tables import evaluation_table
    from mmppl.inference import Run
    from mmppl.metrics import Classifiers

    folder = Run(run)
    folder.info()
    new_file(folder.path / "evaluation.json", force)
    chosen = None if classifiers is None else Classifiers.load(classifiers)
    fitted, dataset = diagnostics.load_run(run)
    result = diagnostics.evaluate(fitted, dataset, split=split, classifiers=chosen, seed=seed, progress=True)
    file = folder.write_json("evaluation.json", result)
    print(evaluation_table(result))
    print(f"Wrote {file}")
