"""AnnData: ``X``, layers, ``obsm`` and ``obs`` as modalities, and values back beside them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.coordinates import names_of_columns, with_columns
from mmppl.data.arrays import LABEL, Said, batch_of, said_of, with_covariates
from mmppl.data.dataset import Dataset
from mmppl.data.kinds import numpy_of
from mmppl.data.optional import need
from mmppl.data.pandas_frames import column_array, label_array, series_of, type_of
from mmppl.data.source import Source, as_read, imputations, latent_means
from mmppl.errors import DataError, OptionError
from mmppl.modality import Modality

__all__ = ["from_anndata", "to_anndata"]

KEY = "mmppl"


def from_anndata(
    adata: Any,
    views: Mapping[str, str] | None = None,
    *,
    label: str | None = None,
    covariates: Said | None = None,
    kinds: Mapping[str, str] | None = None,
    modalities: Mapping[str, Modality] | None = None,
    name: str = "anndata",
    seed: int = 0,
) -> Dataset:
    """A data set of an AnnData object; coordinates have the names of its variables.

    Arguments:
        adata: An ``anndata.AnnData``; sparse matrices are made dense.
        views: Places by name of modality: ``"X"``, ``"layers/<name>"``, ``"obsm/<name>"`` or ``"obs/<column>"``. By
            default ``{"X": "X"}``.
        label: The column of ``obs`` with labels; by default the one called ``label``, if there is one.
        covariates: Columns of ``obs`` that are covariates, as in :func:`~mmppl.data.from_pandas`.
        kinds: Kinds by modality, which go before the rules of :mod:`mmppl.data.kinds`.
        modalities: What the modalities are, where it is known: those of a program that the rows are for. All rows are
            then test rows.
        name: Name of the data set.
        seed: Seed of the split into training and test rows.

    Raises:
        DataError: If it is no AnnData, a place is empty or unknown, observations or variables are called alike, or
            values do not fit.
        ModalityError: If variables stand in another order than the coordinates of a program's modalities.
        OptionError: If views are no places by name.
        PackageError: If anndata is not installed.

    Example:
        >>> import anndata, numpy as np, pandas
        >>> obs = pandas.DataFrame({"cell": ["T", "B"]}, index=["c1", "c2"])
        >>> adata = anndata.AnnData(np.array([[0, 3], [2, 1]]), obs, pandas.DataFrame(index=["CD3", "CD19"]))
        >>> from_anndata(adata, {"rna": "X", "cell": "obs/cell"}).modalities["rna"].coordinates
        ('CD3', 'CD19')
    """
    anndata = need("anndata", "omics")
    if not isinstance(adata, anndata.AnnData):
        raise DataError(f"Expected an anndata.AnnData; got a {type(adata).__name__}.")
    unique_names(adata.obs_names, "observations")
    adata = adata.to_memory() if adata.isbacked else adata
    places = places_of(views, {"X": "X"})
    arrays, declared, columns, dtypes = {}, {}, {}, {}
    for view, place in places.items():
        arrays[view], columns[view], dtypes[view], classes = slot(adata, view, place)
        if classes is not None and view not in (kinds or {}):
            declared[view] = classes
    batch, found = batch_of(arrays, kinds=kinds, modalities=modalities, declared=declared, where=f"'{name}'")
    found = {view: with_columns(view, m, names_of_columns(columns[view])) for view, m in found.items()}
    batch = batch.with_label(labels(adata.obs, label))
    batch, known = with_covariates(batch, *columns_of(adata.obs, covariates))
    source = Source("anndata", adata.obs_names, columns, dtypes, places)
    return Dataset.of_rows(name, found, batch, seed, source, split=modalities is None, covariates=known)


def to_anndata(
    values: Batch | Mapping[str, Any],
    data: Dataset,
    adata: Any,
    *,
    latents: Mapping[str, Any] | None = None,
    interval: float | None = None,
) -> Any:
    """Writes values beside what they were read from: into the object, which is returned.

    Those of ``X`` or a layer go to the layer ``mmppl``, or ``<layer>_mmppl``; those of ``obsm/<name>`` and
    ``obs/<column>`` to ``<name>_mmppl``; ends of intervals to ``..._low`` and ``..._high``; latents to ``obsm``, under
    ``mmppl_<site>``.

    Arguments:
        values: A batch, values or draws, as in :func:`~mmppl.data.source.imputations`; ``{}`` for latents alone.
        data: The data set that :func:`from_anndata` made.
        adata: The object, with the same observations.
        latents: Latents by site, ``(..., N, D)``, such as ``infer(...).draws``; means over draws are written.
        interval: Level of central intervals of draws.

    Raises:
        DataError: If the object has other observations.
        ModalityError, OptionError: As :func:`~mmppl.data.source.imputations`.
    """
    made = imputations(values, data, interval)
    source: Any = data.source
    if not source.index.equals(adata.obs_names):
        raise DataError("Expected the observations that the data were read from, in their order; got others.")
    for name, found in made.items():
        place, modality, dtype = source.places[name], data.modalities[name], source.dtypes[name][0]
        for end, part in (("", found.value), ("_low", found.low), ("_high", found.high)):
            if part is not None:
                own = np.dtype(float) if end else dtype
                is_column = place.startswith("obs/")
                kept = series_of(part, found.there, own, modality, adata.obs_names) if is_column else None
                _store(adata, place, end, as_read(part, found.there, modality, own) if kept is None else kept)
    for site, z in latent_means(latents or {}, len(source.index)).items():
        adata.obsm[f"{KEY}_{site}"] = z
    return adata


def places_of(views: Any, default: dict[str, str]) -> dict[str, str]:
    """Places by name of modality, as they are said, or those of the default.

    Raises:
        OptionError: If they are no such mapping.
    """
    if views is None:
        return default
    if not isinstance(views, Mapping) or not all(isinstance(place, str) for place in views.values()):
        raise OptionError(f"Expected views, places by name of modality, such as {default}; got {views!r:.100}.")
    return dict(views)


def slot(adata: Any, view: str, place: str) -> tuple[np.ndarray, tuple, tuple, Modality | None]:
    """Contents of a place: the array, names of its columns, its type, and its classes where it says them.

    Raises:
        DataError: If there is no such place, or nothing is in it.
    """
    pandas = need("pandas", "tables")
    part, _, key = place.partition("/")
    if place == "X" or part == "layers":
        known = ["X", *(f"layers/{k}" for k in adata.layers)]
        matrix = adata.X if place == "X" else adata.layers.get(key)
        names = tuple(adata.var_names)
        unique_names(adata.var_names, f"variables of view '{view}'", "var")
    elif part == "obsm":
        known, matrix = [f"obsm/{k}" for k in adata.obsm], adata.obsm.get(key)
        names = tuple(getattr(matrix, "columns", range(0 if matrix is None else matrix.shape[1])))
        matrix = matrix.to_numpy() if hasattr(matrix, "to_numpy") else matrix
    elif part == "obs":
        if key in adata.obs.columns:
            column = adata.obs[key]
            classes = None
            if isinstance(column.dtype, pandas.CategoricalDtype):
                classes = Modality((), kind="category", names=tuple(map(str, column.dtype.categories)))
            return column_array(view, column), (key,), (type_of(column),), classes
        known, matrix, names = [f"obs/{k}" for k in adata.obs.columns], None, ()
    else:
        raise DataError(
            f"View '{view}': expected a place 'X', 'layers/<name>', 'obsm/<name>' or 'obs/<column>'; got '{place}'."
        )
    if matrix is None:
        raise DataError(f"View '{view}': expected a place among {known[:20]} with values in it; got '{place}'.")
    array = numpy_of(matrix, "a matrix")
    return array, names, (array.dtype,), None


def labels(obs: Any, label: str | None) -> np.ndarray | None:
    """The labels in a frame of observations.

    Raises:
        DataError: If there is no such column.
    """
    if label is None and LABEL not in obs.columns:
        return None
    column = LABEL if label is None else label
    if column not in obs.columns:
        raise DataError(f"Expected a label among the columns {list(obs.columns)} of obs; got '{column}'.")
    return label_array(obs[column])


def columns_of(obs: Any, covariates: Said | None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Covariates in a frame of observations, and what is said of them.

    Raises:
        DataError: If there is no such column.
    """
    said = said_of(covariates)
    unknown = [name for name in said if name not in obs.columns]
    if unknown:
        raise DataError(f"Expected covariates among the columns {list(obs.columns)} of obs; got {unknown}.")
    return {name: column_array(name, obs[name]) for name in said}, said


def unique_names(index: Any, what: str, axis: str = "obs") -> None:
    """Refuses names that stand twice.

    Raises:
        DataError: If one does.
    """
    if not index.is_unique:
        twice = index[index.duplicated()][0]
        raise DataError(
            f"Expected {what} of different names; got '{twice}' twice. Call {axis}_names_make_unique() first."
        )


def _store(adata: Any, place: str, end: str, value: np.ndarray) -> None:
    part, _, key = place.partition("/")
    if place == "X" or part == "layers":
        adata.layers[f"{KEY}{end}" if place == "X" else f"{key}_{KEY}{end}"] = value
    elif part == "obsm":
        adata.obsm[f"{key}_{KEY}{end}"] = value
    else:
        adata.obs[f"{key}_{KEY}{end}"] = value
