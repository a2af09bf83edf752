"""`mmppl generate`."""

from pathlib import Path
from typing import Annotated

import typer

from mmppl.cli.options import Force, RunFolder, Seed, new_file
from mmppl.errors import ModalityError

__all__ = ["generate"]


def generate(
    run: RunFolder,
    out: Annotated[Path, typer.Option(metavar="FILE.npz", help="The file to write.")],
    given: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="What is observed; rows may have different modalities.")
    ] = None,
    want: Annotated[str | None, typer.Option(metavar="a,b", help="Modalities to write; all by default.")] = None,
    num: Annotated[int, typer.Option(help="Draws K: for each row of --given, or in all.", min=1)] = 1,
    sampler: Annotated[
        str | None, typer.Option(metavar="mala|ula", help="Move the guide's draws to the exact posterior.")
    ] = None,
    mean: Annotated[bool, typer.Option("--mean", help="The likelihood's means instead of draws.")] = False,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Draw modalities given others, or from the prior.

    Writes for each wanted modality an array of shape (K, N, *event) with --given, and (K, *event) without.
    Observed modalities of a row come back unchanged.
    """
    from mmppl import inference
    from mmppl.data import read_npz, write_npz
    from mmppl.diagnostics.loading import single
    from mmppl.inference.generate import keep
    from mmppl.models.loading import load

    new_file(out, force)
    observed = None if given is None else read_npz(given)
    fitted = load(run)
    if observed is not None:
        unknown = [name for name in observed if name not in fitted.program.modalities]
        if unknown:
            raise ModalityError(
                f"Unknown modality '{unknown[0]}' in {given}; the run has {', '.join(fitted.program.modalities)}."
            )
    names = None if want is None else [name.strip() for name in want.split(",") if name.strip()]
    rows = None if observed is None else single(observed)
    draws = inference.generate(fitted, rows, num, want=names, mean=mean, sampler=sampler, seed=seed, progress=True)
    if observed is not None:  # as it stood in the file, in its own precision
        draws = {n: keep(x, observed, n) if n in observed.values else x for n, x in draws.items()}
    write_npz(out, draws, force=force)
    print(f"Wrote {out}: " + ", ".join(f"{name} {value.shape}" for name, value in draws.items()))
