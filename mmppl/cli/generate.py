"""`mmppl generate`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from mmppl.cli.completion import complete_words
from mmppl.cli.options import Force, RunFolder, Seed, new_file, parse_values, path_of
from mmppl.errors import OptionError

__all__ = ["generate"]

INTERVAL = 0.8


def generate(
    run: RunFolder,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The file to write: .npz, or one like that of --given, or a table of its .npz. Without an ending, a "
            "folder of .npy files, written block by block: for more draws than memory holds.",
            parser=path_of,
        ),
    ],
    given: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="What is observed, as in 'mmppl fit'; rows may lack modalities.", parser=path_of
        ),
    ] = None,
    covariates: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=VALUE,...",
            help="Covariates to draw under, of a model that conditions on any; with --given in place of the rows' own.",
        ),
    ] = None,
    want: Annotated[str | None, typer.Option(metavar="a,b", help="Modalities to write; all by default.")] = None,
    num: Annotated[int, typer.Option(help="Draws K: for each row of --given, or in all.", min=1)] = 1,
    sampler: Annotated[
        str | None,
        typer.Option(
            metavar="mala|ula",
            help="Move the guide's draws to the exact posterior.",
            autocompletion=complete_words("mala", "ula"),
        ),
    ] = None,
    mean: Annotated[bool, typer.Option("--mean", help="The likelihood's means instead of draws.")] = False,
    devices: Annotated[
        int, typer.Option(help="Number of devices: JAX's on NumPyro, processes of this machine on Pyro.", min=1)
    ] = 1,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Draw modalities given others, or from the prior.

    Writes for each wanted modality an array of shape (K, N, *event) with --given, and (K, *event) without.
    Observed modalities of a row come back unchanged, but for --covariates. A table, AnnData, MuData or zarr is
    written as it was given, with values in its columns or layers, and a .npz as a table where --out is one; of several
    draws their means and the ends of central 80% intervals.
    """
    from mmppl import inference
    from mmppl.data import open_rows, write_npz
    from mmppl.data.files import ENDINGS, is_file, load_file, write_like
    from mmppl.data.npz import check_free, names_and_units
    from mmppl.data.row_folders import is_row_folder
    from mmppl.data.source import named
    from mmppl.diagnostics.loading import check_columns, single
    from mmppl.inference import Run
    from mmppl.inference.drawn_blocks import keep
    from mmppl.models.loading import load

    in_folder = not out.suffix
    if not in_folder and not out.exists() and not is_file(out):
        raise OptionError(
            f"Expected a file to write that ends in {', '.join(ENDINGS)}, or without an ending; got {out}."
        )
    new_file(out, force and not in_folder)
    like = is_file(out) and out.suffix != ".npz"
    if given is not None and out.exists() and given.exists() and out.samefile(given):
        raise OptionError(f"Expected --out to be another file than --given, which is kept; got {out} for both.")
    if like and given is None:
        raise OptionError(f"Expected a file to write that ends in .npz, without --given; got {out}.")
    if like and covariates is not None:
        raise OptionError(f"Expected a file to write that ends in .npz with --covariates; got {out}.")
    if not (like or in_folder):
        check_free(out, force)
    fitted = load(run)
    known = fitted.program.covariates
    under = parse_values(covariates, known)
    source = open_rows(given, covariates=known) if given is not None and is_row_folder(given) else None
    dataset = None
    if given is not None and source is None:
        dataset = load_file(given, modalities=fitted.program.modalities, covariates=known)
        check_columns(Run(run).info(), dataset)
    observed = None if dataset is None else dataset.rows
    if want is None and dataset is not None and like:
        want = ",".join(dataset.modalities)
    names = None if want is None else [name.strip() for name in want.split(",") if name.strip()]
    rows = source if observed is None else single(observed)
    draws: Mapping[str, Any] = inference.generate(
        fitted,
        rows,
        num,
        want=names,
        mean=mean,
        sampler=sampler,
        covariates=under,
        seed=seed,
        devices=devices,
        out=out if in_folder else None,
        progress=True,
    )
    if in_folder:
        print(f"Wrote {out}: " + ", ".join(f"{name} {value.shape}" for name, value in draws.items()))
        return
    if observed is not None and under is None:  # as it stood in the file, in its own precision
        draws = {n: keep(x, observed, n) if n in observed.values else x for n, x in draws.items()}
    if dataset is None or given is None or not like:
        found = fitted.program.modalities
        write_npz(out, named(draws, found) | names_and_units(draws, found), force=force)
    else:
        write_like(out, given, draws, replace(dataset, modalities=dict(fitted.program.modalities)), interval=INTERVAL)
    print(f"Wrote {out}: " + ", ".join(f"{name} {value.shape}" for name, value in draws.items()))
