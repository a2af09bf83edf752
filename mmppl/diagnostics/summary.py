"""The posterior in a file, and what its chains say: R-hat and effective sample sizes, with ArviZ 0.23 and 1.x."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from mmppl.checks import at_least, checked
from mmppl.data import Dataset
from mmppl.errors import RunError
from mmppl.inference import Fitted, to_arviz
from mmppl.inference.posterior.convergence import ess, r_hat
from mmppl.inference.posterior.trust import GOOD_R_HAT
from mmppl.progress import tqdm
from mmppl.writing import whole

__all__ = ["read_posterior", "sample_posterior", "summarise_posterior", "worst_data", "write_posterior"]


# Bytes that a group of a netCDF file takes beside its values.
ROOM = 2**16


@checked(num=at_least(1))
def sample_posterior(fitted: Fitted, dataset: Dataset, *, num: int = 16, seed: int = 0, progress: bool = False) -> Any:
    """The posterior of the first test tuples by Hamiltonian chains, as :func:`mmppl.inference.to_arviz` returns it.

    Arguments:
        fitted: A fitted program.
        dataset: Its data.
        num: Tuples; those in which nothing is present are left out.
        seed: Random seed.
        progress: Whether to show a progress bar.
    """
    rows = dataset.test[np.flatnonzero(np.asarray(dataset.test.observed()))][:num]
    with tqdm(total=1, desc=f"chains for {len(rows)} tuples", disable=not progress, leave=False) as bar:
        idata = to_arviz(fitted, rows, seed=seed)
        bar.update()
    return idata


def write_posterior(idata: Any, path: str | os.PathLike) -> Path:
    """Writes what :func:`mmppl.inference.to_arviz` returns to a netCDF file, whole or not at all; replaces a file.

    Arguments:
        idata: The ArviZ object.
        path: The file.

    Raises:
        DataError: If it cannot be written.
    """
    path = Path(path)
    room = sum(ROOM + idata[name].nbytes for name in _groups(idata))
    with whole(path, room) as part:
        idata.to_netcdf(part, engine="h5netcdf")
    return path


def read_posterior(path: str | os.PathLike) -> Any:
    """Reads what :func:`write_posterior` wrote, into memory.

    Arguments:
        path: The file.

    Returns:
        An ``xarray.DataTree``.

    Raises:
        RunError: If the file cannot be read or has no posterior.
    """
    import xarray as xr  # takes long to import, which others need not wait for

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
    posterior = posterior.to_dataset() if hasattr(posterior, "to_dataset") else posterior
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
    for name, array in posterior.data_vars.items():
        r, b, t = r_hat(array.values), ess(array.values), ess(array.values, "tail")
        out["sites"][str(name)] = {
            "r_hat_max": float(r.max()),
            "r_hat_median": float(np.median(r)),
            "share_r_hat_good": float(np.mean(r <= GOOD_R_HAT)),
            "ess_bulk_min": float(b.min()),
            "ess_bulk_median": float(np.median(b)),
            "ess_tail_min": float(t.min()),
        }
    stats = tree["sample_stats"] if "sample_stats" in _groups(tree) else None
    if stats is not None and "acceptance_rate" in stats:
        out["acceptance"] = float(np.asarray(stats["acceptance_rate"]).mean())
    return out


@checked(num=at_least(1))
def worst_data(tree: Any, num: int = 5) -> list[dict[str, Any]]:
    r"""The data whose draws are to be trusted least: the largest :math:`\hat R` first.

    Arguments:
        tree: What :func:`mmppl.inference.to_arviz` returns, or was read back.
        num: Most data.

    Returns:
        For each: ``datum``, ``present`` ("a+b"), ``r_hat``, ``ess_bulk``, ``ess_tail``, each the worst over its
        latents, and ``acceptance``, None where steps are not per datum. Empty for independent draws.
    """
    posterior = tree["posterior"]
    posterior = posterior.to_dataset() if hasattr(posterior, "to_dataset") else posterior
    if posterior.attrs.get("independent_draws") or posterior.sizes["chain"] < 2:
        return []
    sites = [array.values.reshape(*array.shape[:3], -1) for array in posterior.data_vars.values()]
    z = np.concatenate(sites, axis=-1)
    worst, bulk, tail = r_hat(z).max(-1), ess(z).min(-1), ess(z, "tail").min(-1)
    stats = tree["sample_stats"] if "sample_stats" in _groups(tree) else {}
    rate = stats["acceptance_rate"] if "acceptance_rate" in stats else None
    accept = rate.values.mean((0, 1)) if rate is not None and rate.ndim == 3 else None
    present = tree["constant_data"]["present"]
    names = [str(n) for n in present["modality"].values]
    order = np.argsort(-np.nan_to_num(worst, nan=np.inf), kind="stable")[:num]
    return [
        {
            "datum": int(i),
            "present": "+".join(n for n, has in zip(names, present.values[:, i], strict=True) if has),
            "r_hat": float(worst[i]),
            "ess_bulk": float(bulk[i]),
            "ess_tail": float(tail[i]),
            "acceptance": None if accept is None else float(accept[i]),
        }
        for i in order
    ]


def _groups(tree: Any) -> list[str]:
    return list(tree.children) if hasattr(tree, "children") else list(tree.groups())
