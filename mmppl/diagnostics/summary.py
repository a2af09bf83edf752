"""The posterior in a file, and what its chains say: R-hat and effective sample sizes, with ArviZ 0.23 and 1.x."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from mmppl.data import Dataset
from mmppl.errors import RunError
from mmppl.inference import Fitted, to_arviz

__all__ = ["read_posterior", "sample_posterior", "summarise_posterior", "write_posterior"]

LIMIT_R_HAT = 1.01


def sample_posterior(fitted: Fitted, dataset: Dataset, *, num: int = 16, seed: int = 0, progress: bool = False) -> Any:
    """The posterior of the first test tuples by MALA chains, as :func:`mmppl.inference.to_arviz` returns it.

    Arguments:
        fitted: A fitted program.
        dataset: Its data.
        num: Tuples; those in which nothing is present are left out.
        seed: Of everything random.
        progress: Whether to show a progress bar.
    """
    rows = dataset.test[np.flatnonzero(np.asarray(dataset.test.observed()))][:num]
    with tqdm(total=1, desc=f"chains for {len(rows)} tuples", disable=not progress, leave=False) as bar:
        idata = to_arviz(fitted, rows, seed=seed)
        bar.update()
    return idata


def write_posterior(idata: Any, path: str | os.PathLike) -> Path:
    """Writes what :func:`mmppl.inference.to_arviz` returns to a netCDF file, whole or not at all; replaces a file."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        idata.to_netcdf(part, engine="h5netcdf")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def read_posterior(path: str | os.PathLike) -> xr.DataTree:
    """Reads what :func:`write_posterior` wrote, into memory.

    Raises:
        RunError: If the file cannot be read or has no posterior.
    """
    try:
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            loaded = tree.load()
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"'{path}' cannot be read; run: mmppl diagnose --force.") from error
    if "posterior" not in loaded:
        raise RunError(f"'{path}' has no posterior; run: mmppl diagnose --force.")
    return loaded


def summarise_posterior(tree: Any) -> dict[str, Any]:
    r"""R-hat and effective sample sizes of each latent site, where there are chains.

    Over every datum and dimension of a site: the largest and the median :math:`\hat R`, the share of values at most
    1.01, the smallest and the median bulk ESS, and the smallest tail ESS. Independent draws of a guide have neither,
    and their ``sites`` are empty.

    Arguments:
        tree: An ``arviz.InferenceData`` or ``xarray.DataTree`` with a posterior.

    Returns:
        ``{"sampler", "chains", "draws", "data", "sites", "acceptance"}``; sites by name.

    References:
        | Rank-normalization, folding, and localization: An improved R-hat (Vehtari et al., 2021)
        | https://arxiv.org/abs/1903.08008
    """
    posterior = tree["posterior"]
    posterior = posterior.to_dataset() if isinstance(posterior, xr.DataTree) else posterior
    chains, draws = posterior.sizes["chain"], posterior.sizes["draw"]
    out: dict[str, Any] = {
        "sampler": posterior.attrs.get("sampler", "unknown"),
        "chains": chains,
        "draws": draws,
        "data": posterior.sizes["datum"],
        "sites": {},
        "acceptance": None,
    }
    if posterior.attrs.get("independent_draws") or chains < 2:
        return out
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ announces its rewrite at import
        import arviz

        r_hat, bulk, tail = arviz.rhat(posterior), arviz.ess(posterior), arviz.ess(posterior, method="tail")
    for name in posterior.data_vars:
        r, b, t = (np.asarray(found[name]) for found in (r_hat, bulk, tail))
        out["sites"][str(name)] = {
            "r_hat_max": float(r.max()),
            "r_hat_median": float(np.median(r)),
            "share_r_hat_good": float(np.mean(r <= LIMIT_R_HAT)),
            "ess_bulk_min": float(b.min()),
            "ess_bulk_median": float(np.median(b)),
            "ess_tail_min": float(t.min()),
        }
    stats = tree["sample_stats"] if "sample_stats" in _groups(tree) else None
    if stats is not None and "acceptance_rate" in stats:
        out["acceptance"] = float(np.asarray(stats["acceptance_rate"]).mean())
    return out


def _groups(tree: Any) -> list[str]:
    return list(tree.children) if isinstance(tree, xr.DataTree) else list(tree.groups())
