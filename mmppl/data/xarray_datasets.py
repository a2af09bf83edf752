"""Xarray data sets: variables as modalities, and values back as variables."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.coordinates import names_of_columns, with_columns
from mmppl.data.arrays import BESIDE, LABEL, PRESENT, Said, batch_of, said_of, with_covariates
from mmppl.data.dataset import Dataset
from mmppl.data.optional import need
from mmppl.data.source import Source, as_read, imputations, latent_means
from mmppl.errors import DataError
from mmppl.modality import Modality

__all__ = ["from_xarray", "to_xarray"]


def from_xarray(
    dataset: Any,
    *,
    dim: str | None = None,
    label: str | None = None,
    covariates: Said | None = None,
    kinds: Mapping[str, str] | None = None,
    modalities: Mapping[str, Modality] | None = None,
    name: str = "xarray",
    seed: int = 0,
) -> Dataset:
    """A data set of the variables of an xarray data set, each a modality.

    Coordinates of a variable's other dimension that are texts name those of the modality, and its attribute ``units``
    says their unit.

    Arguments:
        dataset: An ``xarray.Dataset``.
        dim: The dimension of the rows; by default the only one that all variables have.
        label: The variable or coordinate of labels; by default the one called ``label``, if there is one.
        covariates: Variables or coordinates of the rows that are covariates: names, or their kinds by name, as in
            :func:`~mmppl.data.from_pandas`; or those of a program.
        kinds: Kinds by modality, which go before the rules of :mod:`mmppl.data.kinds`.
        modalities: What the modalities are, where it is known: those of a program that the rows are for. All rows are
            then test rows.
        name: Name of the data set.
        seed: Seed of the split into training and test rows.

    Raises:
        DataError: If it is no such data set, a variable lacks the dimension of the rows, values do not fit, or
            coordinates that name those of a modality have a name twice.
        ModalityError: If coordinates stand in another order than those of a program's modalities.

    Example:
        >>> import xarray
        >>> grid = xarray.Dataset({"age": ("row", [3.5, 4.5]), "rna": (("row", "gene"), [[0, 3], [2, 1]])})
        >>> {n: m.kind for n, m in from_xarray(grid).modalities.items()}
        {'age': 'vector', 'rna': 'counts'}
    """
    xarray = need("xarray", "tables")
    if not isinstance(dataset, xarray.Dataset):
        raise DataError(f"Expected an xarray.Dataset; got a {type(dataset).__name__}.")
    column = LABEL if label is None and LABEL in dataset.variables else label
    if column is not None and column not in dataset.variables:
        raise DataError(f"Expected a label among the variables {list(dataset.variables)}; got '{column}'.")
    said = said_of(covariates)
    unknown = [n for n in said if n not in dataset.variables]
    if unknown:
        raise DataError(f"Expected covariates among the variables {list(dataset.variables)}; got {unknown}.")
    names = [n for n in dataset.data_vars if n != column and n not in said]
    dim = _rows_of(dataset, names) if dim is None else dim
    for variable in names:
        if dim not in dataset[variable].dims and not str(variable).endswith(BESIDE):
            raise DataError(
                f"Variable '{variable}': expected the dimension '{dim}' of the rows; got {dataset[variable].dims}."
            )
    for variable in said:
        if dataset[variable].dims != (dim,):
            raise DataError(
                f"Covariate '{variable}': expected the dimension '{dim}' of the rows alone; got "
                f"{dataset[variable].dims}."
            )
    arrays: dict[str, Any] = {
        str(n): (dataset[n].transpose(dim, ...) if dim in dataset[n].dims else dataset[n]).to_numpy() for n in names
    }
    if column is not None:
        arrays[LABEL] = dataset[column].to_numpy()
    batch, found = batch_of(arrays, kinds=kinds, modalities=modalities, where=f"'{name}'")
    batch, known = with_covariates(batch, {n: dataset[n].to_numpy() for n in said}, said)
    dims = {n: dataset[n].transpose(dim, ...).dims for n in found}
    found = {n: with_columns(n, m, _names(dataset, dims[n]), _unit(dataset[n])) for n, m in found.items()}
    types = {n: (dataset[n].dtype,) for n in found}
    source = Source("xarray", dim, dims, types, template=dataset)
    return Dataset.of_rows(name, found, batch, seed, source, split=modalities is None, covariates=known)


def to_xarray(
    values: Batch | Mapping[str, Any],
    data: Dataset,
    *,
    latents: Mapping[str, Any] | None = None,
    interval: float | None = None,
) -> Any:
    """Values as an xarray data set with the variables, dimensions and coordinates that the data were read from.

    Arguments:
        values: A batch, values or draws, as in :func:`~mmppl.data.source.imputations`; ``{}`` for latents alone.
        data: The data set that :func:`from_xarray` made.
        latents: Latents by site, ``(..., N, D)``, such as ``infer(...).draws``; means over draws are variables
            ``mmppl_<site>``.
        interval: Level of central intervals of draws: variables ``<name>_low`` and ``<name>_high`` beside each.

    Raises:
        DataError, ModalityError, OptionError: As :func:`~mmppl.data.source.imputations`.

    Example:
        >>> import xarray
        >>> grid = xarray.Dataset({"age": ("row", [3.5, 4.5]), "rna": (("row", "gene"), [[0, 3], [2, 1]])})
        >>> data = from_xarray(grid)
        >>> to_xarray(data.rows, data).identical(grid)
        True
    """
    made = imputations(values, data, interval)
    source: Any = data.source
    out = source.template.drop_vars([n for n in source.template.data_vars if n not in data.covariates])
    for name, found in made.items():
        like, modality, dtype = source.template[name], data.modalities[name], source.dtypes[name][0]
        dims = source.columns[name]
        shape = tuple(source.template.sizes[d] for d in dims)
        for end, part in (("", found.value), ("_low", found.low), ("_high", found.high)):
            if part is not None:
                kept = as_read(part, found.there, modality, np.dtype(float) if end else dtype).reshape(shape)
                made_again = (dims, kept, like.attrs)
                out[f"{name}{end}"] = made_again
                out[f"{name}{end}"] = out[f"{name}{end}"].transpose(*like.dims)
        if dtype.kind in "iub" and not found.there.all():
            there = found.there if found.there.ndim == 1 else found.there.reshape(shape)
            out[f"{name}{PRESENT}"] = (dims[: there.ndim], there)
    for site, z in latent_means(latents or {}, source.template.sizes[source.index]).items():
        out[f"mmppl_{site}"] = ((source.index, f"mmppl_{site}_latent"), z)
    return out


def _names(dataset: Any, dims: tuple) -> tuple[str, ...] | None:
    """Texts that the only dimension beside the rows has for coordinates.

    Raises:
        DataError: If one stands twice.
    """
    if len(dims) != 2 or dims[1] not in dataset.coords:
        return None
    names = dataset.coords[dims[1]].to_numpy().tolist()
    twice = next((n for i, n in enumerate(names) if isinstance(n, str) and n in names[:i]), None)
    if twice is not None:
        raise DataError(
            f"Expected coordinates of different names in dimension '{dims[1]}'; got '{twice}' twice. Rename one by "
            f"assign_coords, or drop them, dataset.drop_vars('{dims[1]}')."
        )
    return names_of_columns(names)


def _unit(variable: Any) -> str | None:
    unit = variable.attrs.get("units")
    return unit if isinstance(unit, str) and unit else None


def _rows_of(dataset: Any, names: list) -> str:
    shared = [d for d in dataset.sizes if all(d in dataset[n].dims or str(n).endswith(BESIDE) for n in names)]
    if not names or len(shared) != 1:
        raise DataError(
            f"Expected one dimension that all variables have, that of the rows; got {shared} of {list(dataset.sizes)}. "
            "Name it by dim=."
        )
    return str(shared[0])
