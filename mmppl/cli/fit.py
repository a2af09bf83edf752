"""`mmppl fit`."""

import errno
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from mmppl.cli.completion import complete_data, complete_models, complete_settings, complete_words
from mmppl.cli.options import Force, Seed, parse_covariates, parse_kinds, parse_settings, path_of
from mmppl.display import number
from mmppl.errors import OptionError
from mmppl.modality import Modality

__all__ = ["fit"]


def fit(
    model: Annotated[
        str, typer.Option(metavar="NAME", help="The model; see 'mmppl systems'.", autocompletion=complete_models)
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="Name of the data, a file that ends in .npz, .csv, .parquet, .h5ad, .h5mu or .zarr, or a folder of "
            ".npy files, whose rows stay on the disk.",
            autocompletion=complete_data,
        ),
    ],
    backend: Annotated[
        str,
        typer.Option(metavar="numpyro|pyro", help="The host.", autocompletion=complete_words("numpyro", "pyro")),
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run folder to write.", parser=path_of)],
    data_root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of data that are not built in.", parser=path_of)
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the training data, all stages together; by default each stage goes on until a bound on a "
            "tenth of the rows, which are held out until then, is flat.",
            min=1,
        ),
    ] = None,
    seed: Seed = 0,
    validation: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Share of the training rows to hold out, on which each epoch is evaluated."),
    ] = None,
    early_stopping: Annotated[
        int | None,
        typer.Option(metavar="EPOCHS", help="End a stage after so many epochs without a better held-out loss.", min=1),
    ] = None,
    covariates: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:KIND],...",
            help="Columns of a file, of obs too, or arrays that the model conditions on in place of modelling them; "
            "kinds are number, category and size_factor.",
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="cosine|constant",
            help="How the learning rate goes over a stage.",
            autocompletion=complete_words("cosine", "constant"),
        ),
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option(metavar="BYTES", help="Size that a compressed .npz file may unpack to.", min=1)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="An option of the model, or batch_size, learning_rate, ema, clip, schedule, or kind=name:kind of a "
            "modality of a file; may be given again and again.",
            autocompletion=complete_settings,
        ),
    ] = None,
    published: Annotated[
        bool,
        typer.Option("--published", help="Score modalities as the data's publications do, with fixed scales."),
    ] = False,
    devices: Annotated[
        int,
        typer.Option(
            help="Number of devices among which the rows of a step are divided: JAX's on NumPyro; on Pyro processes of "
            "this machine, or those of torchrun.",
            min=1,
        ),
    ] = 1,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="bf16-mixed",
            help="Run networks in bfloat16 in the steps; weights stay in float32.",
            autocompletion=complete_words("bf16-mixed"),
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN, with the same options.")] = False,
    force: Force = False,
) -> None:
    """Fit a model to data and write a run folder."""
    from mmppl import inference, models
    from mmppl.batch import Batch
    from mmppl.data.kinds import kinds_table
    from mmppl.diagnostics.loading import TRAINED, columns_info, open_data, run_info
    from mmppl.models.catalogue import SYSTEMS, settings
    from mmppl.models.loading import ppl_of

    first = os.environ.get("RANK", "0") == "0"  # of the processes of torchrun
    if resume and force:
        raise OptionError("Expected --resume or --force; got both.")
    if model not in SYSTEMS:
        raise OptionError(f"Unknown model '{model}'; expected one of {', '.join(SYSTEMS)}.")
    others, kinds = parse_kinds(set_ or [])
    options, fit_settings = parse_settings(others, model, settings(model))
    ppl = ppl_of(backend)
    if schedule is not None:
        fit_settings["schedule"] = schedule
    said = parse_covariates(covariates)
    dataset = open_data(data, data_root, kinds, max_bytes, said)
    if said:
        options["covariates"] = dataset.covariates
    modalities = dataset.published if published else dataset.modalities
    program = models.make(model, modalities, ppl=ppl, seed=seed, **options)
    if dataset.rows is not None:
        # What cannot be fitted or written is refused without a table.
        (dataset.train if isinstance(dataset.train, Batch) else dataset.rows).validate(program.modalities)
        if first:
            _check_out(out, resume, force)
            taken = [kinds_table(program.modalities, dataset.rows), *_numbered(program.modalities, kinds, dataset.rows)]
            print("\n".join([*taken, *dataset.covariate_lines()]))
    info = run_info(data, data_root, kinds, max_bytes, said) | columns_info(dataset) | TRAINED
    fitted = inference.fit(
        program,
        dataset.train,
        validation=validation,
        early_stopping=early_stopping,
        epochs=epochs,
        seed=seed,
        out=out,
        resume=resume,
        force=force,
        info=info,
        devices=devices,
        precision=precision,
        **fit_settings,
    )
    if not first:
        return
    last = fitted.history[-1]
    print(f"Fitted {model} to {dataset.name} ({len(dataset.train)} tuples) with {backend}: epoch {last['epoch']}.")
    metrics = {k: v for k, v in last.items() if k not in ("epoch", "stage", "steps", "seconds")}
    print("\n".join(_lines(metrics, list(program.modalities))))
    print(f"Run folder: {out}")


def _numbered(modalities: Mapping[str, Modality], kinds: Mapping[str, str], rows: Any) -> list[str]:
    r"""A line for each modality whose whole numbers may be counts, though nobody said so.

    They are ids of classes, or numbers: a table with gaps may have 3.0 for three eggs.

    Example:
        >>> import numpy as np
        >>> from mmppl.batch import Batch
        >>> eggs = {"eggs": Modality((), kind="category", categories=9), "wings": Modality((1,))}
        >>> print(*_numbered(eggs, {}, Batch({"eggs": np.arange(9), "wings": np.arange(9.0)[:, None]})), sep="\n")
        eggs: whole numbers as 9 classes; where they count something, --set kind=eggs:counts
        wings: whole numbers as a number; where they count something, --set kind=wings:counts
    """
    out = []
    for name, m in modalities.items():
        classes = m.kind == "category" and m.names is None and (m.categories or 0) > 2
        if name not in kinds and (classes or (m.kind == "vector" and m.shape == (1,) and _counts(rows, name))):
            taken = f"{m.categories} classes" if classes else "a number"
            hint = quote(f"kind={name}:counts")
            out.append(f"{name}: whole numbers as {taken}; where they count something, --set {hint}")
    return out


def _counts(rows: Any, name: str) -> bool:
    """Tells whether numbers are 0, 1, 2, ... and more than truth values."""
    import numpy as np

    known = np.asarray(rows[name])[np.asarray(rows.there(name))]
    return bool(known.size and known.min() >= 0 and known.max() > 1 and (known % 1 == 0).all())


def _lines(metrics: Mapping[str, float], names: Sequence[str] = ()) -> list[str]:
    """The metrics of an epoch, those of the modalities on a line of their own, in their order, after what they measure.

    Example:
        >>> _lines({"loss": 3.0, "log_lik.a": -1.0, "log_lik.b": -2.0, "validation.loss": 4.0})
        ['loss=3', 'log_lik: a=-1  b=-2', 'validation: loss=4']
        >>> _lines({"kl": 1.0, "log_lik.a": -1.0, "log_lik.b": -2.0, "loss": 3.0}, ["b", "a"])  # as JAX sorts them
        ['loss=3  kl=1', 'log_lik: b=-2  a=-1']
    """
    groups: dict[str, dict[str, float]] = {"": {}}
    for key, value in metrics.items():
        head = re.match(r"(validation\.)?((log_lik|conditional)\.)?", key)[0]  # type: ignore[index]
        groups.setdefault(head, {})[key.removeprefix(head)] = value
    place = {name: i for i, name in enumerate(["loss", *names])}
    lines = []
    for head, found in groups.items():
        ordered = sorted(found, key=lambda name: place.get(name, len(place)))
        text = "  ".join(f"{name}={number(found[name])}" for name in ordered)
        lines += [(f"{head[:-1]}: " if head else "") + text] if text else []
    return lines


def _check_out(out: Path, resume: bool, force: bool) -> None:
    """Refuses a folder that fitting would refuse."""
    from mmppl.inference import Run

    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(above))
    if not resume:
        Run(out).check_free(force=force)
