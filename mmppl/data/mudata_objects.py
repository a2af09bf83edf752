"""MuData: every part as a modality of the union of observations, and values back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.coordinates import names_of_columns, with_columns
from mmppl.data.anndata_objects import KEY, columns_of, labels, places_of, slot, unique_names
from mmppl.data.arrays import PRESENT, Said, batch_of, with_covariates
from mmppl.data.dataset import Dataset
from mmppl.data.optional import need
from mmppl.data.pandas_frames import series_of
from mmppl.data.source import Source, as_read, imputations, latent_means
from mmppl.errors import DataError
from mmppl.modality import Modality

__all__ = ["from_mudata", "to_mudata"]


def from_mudata(
    mdata: Any,
    views: Mapping[str, str] | None = None,
    *,
    label: str | None = None,
    covariates: Said | None = None,
    kinds: Mapping[str, str] | None = None,
    modalities: Mapping[str, Modality] | None = None,
    name: str = "mudata",
    seed: int = 0,
) -> Dataset:
    """A data set of a MuData object: rows are the union of observations, and a part is missing where it has none.

    Coordinates have the names of the variables.

    Arguments:
        mdata: A ``mudata.MuData``; sparse matrices are made dense.
        views: Places by name of modality: ``"<part>/X"``, ``"<part>/layers/<name>"``, ``"<part>/obsm/<name>"``,
            ``"<part>/obs/<column>"``, or ``"obs/<column>"`` of the whole. By default ``X`` of every part, under the
            part's name.
        label: The column of ``obs`` with labels; by default the one called ``label``, if there is one.
        covariates: Columns of ``obs`` that are covariates, as in :func:`~mmppl.data.from_pandas`.
        kinds: Kinds by modality, which go before the rules of :mod:`mmppl.data.kinds`.
        modalities: What the modalities are, where it is known: those of a program that the rows are for. All rows are
            then test rows.
        name: Name of the data set.
        seed: Seed of the split into training and test rows.

    Raises:
        DataError: If it is no MuData, a place is empty or unknown, observations or variables are called alike, or no
            two parts share an observation.
        ModalityError: If variables stand in another order than the coordinates of a program's modalities.
        OptionError: If views are no places by name.
        PackageError: If mudata is not installed.

    Example:
        >>> import anndata, mudata, numpy as np, pandas, warnings
        >>> def part(cells, genes):
        ...     counts = np.arange(len(cells) * len(genes)).reshape(len(cells), len(genes))
        ...     return anndata.AnnData(counts, pandas.DataFrame(index=cells), pandas.DataFrame(index=genes))
        >>> rna, atac = part(["c1", "c2"], ["CD3", "CD19"]), part(["c2", "c3", "c1"], ["p1", "p2"])
        >>> with warnings.catch_warnings(action="ignore"):  # mudata and pandas tell of what will change
        ...     data = from_mudata(mudata.MuData({"rna": rna, "atac": atac}))
        >>> {name: int(mask.sum()) for name, mask in data.rows.present.items()}
        {'rna': 2, 'atac': 3}
    """
    mudata = need("mudata", "omics")
    if not isinstance(mdata, mudata.MuData):
        raise DataError(f"Expected a mudata.MuData; got a {type(mdata).__name__}.")
    unique_names(mdata.obs_names, "observations")
    places = places_of(views, {part: f"{part}/X" for part in mdata.mod})
    arrays: dict[str, Any] = {}
    declared, columns, dtypes, seen = {}, {}, {}, {}
    for view, place in places.items():
        part, _, rest = place.partition("/")
        if part != "obs" and not (part in mdata.mod and rest):
            names = list(mdata.mod)
            raise DataError(
                f"View '{view}': expected a place in {names}, such as '{names[0]}/X', or in obs; got '{place}'."
            )
        here = mdata.mod[part] if part in mdata.mod else mdata
        unique_names(here.obs_names, f"observations of '{part}'")
        array, columns[view], dtypes[view], classes = slot(here, view, rest if part in mdata.mod else place)
        if classes is not None and view not in (kinds or {}):
            declared[view] = classes
        rows = mdata.obs_names.get_indexer(here.obs_names)
        arrays[view], arrays[f"{view}{PRESENT}"] = _in_union(array, rows, mdata.n_obs)
        seen[part] = arrays[f"{view}{PRESENT}"]
    parts = [mask for part, mask in seen.items() if part in mdata.mod]
    if len(parts) > 1 and modalities is None and not (np.sum(parts, axis=0) > 1).any():
        raise DataError(
            f"Expected observations that two of the parts {[p for p in seen if p in mdata.mod]} share; got none. Are "
            f"they called differently, as {[str(mdata.mod[p].obs_names[0]) for p in seen if p in mdata.mod][:3]}?"
        )
    batch, found = batch_of(arrays, kinds=kinds, modalities=modalities, declared=declared, where=f"'{name}'")
    found = {view: with_columns(view, m, names_of_columns(columns[view])) for view, m in found.items()}
    batch = batch.with_label(labels(mdata.obs, label))
    batch, known = with_covariates(batch, *columns_of(mdata.obs, covariates))
    source = Source("mudata", mdata.obs_names, columns, dtypes, places)
    return Dataset.of_rows(name, found, batch, seed, source, split=modalities is None, covariates=known)


def to_mudata(
    values: Batch | Mapping[str, Any],
    data: Dataset,
    mdata: Any,
    *,
    latents: Mapping[str, Any] | None = None,
    interval: float | None = None,
) -> Any:
    """Writes values of all observations into ``obsm`` of the object, which is returned.

    Those of a modality are a frame ``<modality>_mmppl`` with the names of its variables, of a column of ``obs`` a
    column of that name; ends of intervals are in ``..._low`` and ``..._high``, latents in ``mmppl_<site>``.

    Arguments:
        values: A batch, values or draws, as in :func:`~mmppl.data.source.imputations`; ``{}`` for latents alone.
        data: The data set that :func:`from_mudata` made.
        mdata: The object, with the same observations.
        latents: Latents by site, ``(..., N, D)``, such as ``infer(...).draws``; means over draws are written.
        interval: Level of central intervals of draws.

    Raises:
        DataError: If the object has other observations.
        ModalityError, OptionError: As :func:`~mmppl.data.source.imputations`.
    """
    pandas = need("pandas", "tables")
    made = imputations(values, data, interval)
    source: Any = data.source
    if not source.index.equals(mdata.obs_names):
        raise DataError("Expected the observations that the data were read from, in their order; got others.")
    for name, found in made.items():
        modality, dtype = data.modalities[name], source.dtypes[name][0]
        for end, part in (("", found.value), ("_low", found.low), ("_high", found.high)):
            if part is None:
                continue
            # Of integers a missing row has no value to show, so they are floats where there are any.
            whole = found.there.all() or not isinstance(dtype, np.dtype) or dtype.kind not in "iub"
            own = dtype if whole and not end else np.dtype(float)
            key = f"{name}_{KEY}{end}"
            if part.ndim == 1:
                mdata.obs[key] = series_of(part, found.there, own, modality, mdata.obs_names)
            else:
                kept = as_read(part, found.there, modality, own)
                names = list(map(str, source.columns[name]))
                mdata.obsm[key] = pandas.DataFrame(kept, index=mdata.obs_names, columns=names)
    for site, z in latent_means(latents or {}, len(source.index)).items():
        mdata.obsm[f"{KEY}_{site}"] = z
    return mdata


def _in_union(array: np.ndarray, rows: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows at their places among all, and which have any."""
    texts = array.dtype.kind in "OUT"
    out = np.full((num, *array.shape[1:]), None, object) if texts else np.zeros((num, *array.shape[1:]), array.dtype)
    there = np.zeros(num, bool)
    out[rows], there[rows] = array, True
    return out, there
