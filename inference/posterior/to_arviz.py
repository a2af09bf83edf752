"""A posterior in ArviZ, 0.23 and 1.x alike."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import ANYTHING, at_least, checked
from mmppl.inference.posterior.infer import draw_posterior
from mmppl.inference.posterior.posterior import Posterior
from mmppl.inference.training.fitted import Fitted
from mmppl.modality import Modality
from mmppl.names import names_in_arviz

__all__ = ["convert", "to_arviz"]

PACKAGES = ("mmppl", "numpyro", "jax", "pyro-ppl", "torch")


@checked(
    data=ANYTHING,
    num_chains=at_least(1),
    num_samples=at_least(1),
    num_warmup=at_least(0),
    num_predictive=at_least(1),
    num_prior=at_least(0),
)
def to_arviz(
    fitted: Fitted,
    data: Batch,
    *,
    kernel: str | None = "default",
    num_chains: int = 4,
    num_samples: int = 250,
    num_warmup: int = 250,
    num_predictive: int = 25,
    num_prior: int = 100,
    seed: int = 0,
    **options: Any,
) -> Any:
    """The posterior of each datum's latents, what it predicts, and how well: an ArviZ object.

    With a kernel the posterior is sampled by chains that start at the guide's draws, so R-hat and ESS mean
    something. Without one the posterior group holds independent draws, as one chain, and says so in its attributes:
    R-hat and ESS are then not to be computed.

    ====================  =============================================================================================
    group                 variables and dimensions
    ====================  =============================================================================================
    posterior             each site, with dots for ``/``: chain, draw, datum, ``<site>_latent``; no datum outside the
                          plate of the data
    prior                 the same, of independent draws
    posterior_predictive  each modality: chain, draw, datum, ``<modality>_dim_0``, ...
    prior_predictive      the same, of independent draws
    log_likelihood        each modality: chain, draw, ``<modality>_observation``, the data that have it; and ``joint``
                          (``joint_`` beside a modality ``joint``): chain, draw, observation, of all modalities, whose
                          coordinates ``modality`` and ``datum`` say which; for ``az.loo(..., var_name="joint")``
    sample_stats          lp, acceptance_rate, step_size, energy, diverging: chain, draw, datum
    observed_data         each modality: datum, ...; NaN where it is missing, if it has floats
    constant_data         ``present``: modality, datum
    ====================  =============================================================================================

    Where a modality's coordinates have names, ``<modality>_dim_0`` has them; its unit is the attribute ``units``, or
    those of each are the coordinate ``<modality>_dim_0_units``.

    Arguments:
        fitted: A fitted program.
        data: Data, N rows; modalities may be missing.
        kernel: A method of :func:`infer`, or None for the guide's draws; by default the program's own choice, which is
            HMC with a dense mass matrix unless its prior is a score, whose density takes an integration at every step.
        num_chains: Chains, with a kernel.
        num_samples: Draws in each chain.
        num_warmup: Warm-up steps of each chain, with a kernel.
        num_predictive: Draws of each chain that are decoded for the posterior predictive.
        num_prior: Draws of the prior and of what it predicts.
        seed: Random seed.
        options: Of the kernel, as in :func:`infer`, such as ``num_steps=8``.

    Returns:
        ``arviz.InferenceData`` (ArviZ 0.x) or ``xarray.DataTree`` (1.x).

    Raises:
        OptionError: If the kernel is unknown, or a latent's name is one that ArviZ has no place for.
        ModalityError, DataError: If the data do not fit the program.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import models
        >>> from mmppl.data import load
        >>> from mmppl.inference import fit
        >>> data = load("linear_gaussian", num_train=64, num_test=8)
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> fitted = fit(program, data.train, epochs=1, seed=0, progress=False)
        >>> idata = to_arviz(fitted, data.test[:3], kernel=None, num_samples=4, num_predictive=2, num_prior=2)
        >>> idata["posterior_predictive"]["a"].dims
        ('chain', 'draw', 'datum', 'a_dim_0')
    """
    names_in_arviz(fitted.latents)  # refused before chains are run
    method = fitted.program.kernel if kernel == "default" else kernel
    # Its problems are in the attributes, and in the summary of the command line.
    posterior = draw_posterior(
        fitted,
        data,
        method="guide" if method is None else method,
        num_chains=num_chains,
        num_samples=num_samples,
        num_warmup=num_warmup,
        seed=seed,
        options=options,
    )
    return convert(posterior, num_predictive=num_predictive, num_prior=num_prior)


def convert(posterior: Posterior, *, num_predictive: int, num_prior: int) -> Any:
    """A posterior as an ArviZ object with the groups of :func:`to_arviz`."""
    fitted, data, draws = posterior.fitted, posterior.data, posterior.draws
    names = names_in_arviz(draws)
    host, number = fitted.program.ppl.host, len(data)
    seed = posterior.seed if isinstance(posterior.seed, int | np.integer) else posterior.seed[0]
    shape = next(iter(draws.values())).shape[:2]
    flat = {name: z.reshape(-1, *z.shape[2:]) for name, z in draws.items()}
    log_lik, _ = host.scores(fitted.model, flat, data, prior=False)
    every = np.linspace(0, shape[1] - 1, min(num_predictive, shape[1])).astype(int)
    few = {name: z[:, every].reshape(-1, *z.shape[2:]) for name, z in draws.items()}
    predicted = host.decode(fitted.model, few, data, seed + 1, False)
    modalities = fitted.program.modalities
    predicted = {n: modalities[n].typed(x).reshape(shape[0], len(every), *x.shape[1:]) for n, x in predicted.items()}
    draws = {names[site]: z for site, z in draws.items()}
    outside = [names.get(site, site) for site in fitted.outside]
    latent = {name: (f"{name}_latent",) for name, z in draws.items() if z.ndim == (3 if name in outside else 4)}
    groups = {
        "posterior": _dataset(draws, _attributes(posterior), latent, outside=outside),
        "posterior_predictive": _dataset(predicted, modalities=modalities),
        "log_likelihood": _pointwise(log_lik, data, shape),
        "observed_data": _dataset({n: _seen(data, n) for n in data.modalities}, lead=("datum",), modalities=modalities),
        "constant_data": _present(data),
    }
    if num_prior:
        prior, predictive = host.simulate(
            fitted.model, fitted.guide, data.only(), num_prior, seed + 2, False, np.ones(number, bool)
        )
        groups["prior"] = _dataset({names.get(n, n): z[None] for n, z in prior.items()}, None, latent, outside=outside)
        drawn = {n: modalities[n].typed(x)[None] for n, x in predictive.items()}
        groups["prior_predictive"] = _dataset(drawn, modalities=modalities)
    if posterior.stats:
        groups["sample_stats"] = _dataset(posterior.stats)
    if posterior.pareto_k is not None:
        groups["constant_data"]["pareto_k"] = ("datum", posterior.pareto_k)
    return _wrap(groups)


def _attributes(posterior: Posterior) -> dict[str, Any]:
    """Attributes of how the draws were made, as netCDF can hold them."""
    out = {
        "sampler": posterior.method,
        "independent_draws": int(not posterior.chains),
        "seed": json.dumps(posterior.seed if isinstance(posterior.seed, int) else np.asarray(posterior.seed).tolist()),
        "settings": json.dumps(dict(posterior.settings), default=str),
        "model": posterior.fitted.program.name,
        "host": posterior.fitted.program.ppl.host.NAME,
        "problems": "\n".join(posterior.problems()),
    }
    for package in PACKAGES:
        try:
            out[f"version_{package}"] = version(package)
        except PackageNotFoundError:
            continue
    if not posterior.chains:
        out["note"] = "independent draws: R-hat and ESS do not apply"
    return out


def _dataset(
    values: Any,
    attrs: dict | None = None,
    names: Mapping[str, tuple[str, ...]] | None = None,
    lead: tuple[str, ...] = ("chain", "draw", "datum"),
    outside: Sequence[str] = (),
    modalities: Mapping[str, Modality] | None = None,
) -> Any:
    """An xarray data set whose rows are the dimension ``datum``; event dimensions are named, or numbered.

    Variables of ``outside`` have no rows. Those of ``modalities`` have the names of their coordinates, and their units.
    """
    import xarray as xr

    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for name, value in values.items():
        first = tuple(dim for dim in lead if dim != "datum" or name not in outside)
        own = (names or {}).get(name) or tuple(f"{name}_dim_{i}" for i in range(value.ndim - len(first)))
        dims = (*first[: value.ndim], *own)
        variables[name] = (dims, value)
        coords |= {dim: np.arange(size) for dim, size in zip(dims, value.shape, strict=True)}
        modality = (modalities or {}).get(name)
        if modality is not None and modality.coordinates is not None:
            coords[own[0]] = list(modality.coordinates)
        if modality is not None and isinstance(modality.units, tuple):
            coords[f"{own[0]}_units"] = (own[0], list(modality.units))
        elif modality is not None and modality.units is not None:
            variables[name] = (dims, value, {"units": modality.units})
    return xr.Dataset(variables, coords, attrs={"created_by": "mmppl", **(attrs or {})})


def _pointwise(log_lik: dict[str, np.ndarray], data: Batch, shape: tuple[int, int]) -> Any:
    """Log likelihoods of what is present, by modality and jointly: ArviZ's LOO has no place for what is missing."""
    import xarray as xr

    seen = {n: np.flatnonzero(np.asarray(data.present[n])) for n in log_lik}
    ends = np.cumsum([len(rows) for rows in seen.values()])
    values = np.empty((shape[0] * shape[1], ends[-1]), np.result_type(*log_lik.values()))
    for rows, end, x in zip(seen.values(), ends, log_lik.values(), strict=True):
        # Draw by draw, where numpy writes in place; by columns it would make a copy first.
        for draw, own in zip(values, x, strict=True):
            np.take(own, rows, out=draw[end - len(rows) : end], mode="clip")
    coords = {
        "chain": np.arange(shape[0]),
        "draw": np.arange(shape[1]),
        "observation": np.arange(values.shape[1]),
        "modality": ("observation", np.repeat(list(seen), [len(rows) for rows in seen.values()])),
        "datum": ("observation", np.concatenate(list(seen.values()))),
    }
    joint = values.reshape(*shape, -1)
    whole = "joint"
    while whole in seen:
        whole += "_"
    variables = {whole: (("chain", "draw", "observation"), joint)}
    for (name, rows), end in zip(seen.items(), ends, strict=True):
        own = f"{name}_observation"
        variables[name] = (("chain", "draw", own), joint[..., end - len(rows) : end])
        coords[own] = rows
    return xr.Dataset(variables, coords, attrs={"created_by": "mmppl"})


def _seen(data: Batch, name: str) -> np.ndarray:
    value, mask = np.asarray(data[name]), np.asarray(data.there(name))
    if mask.all() or not np.issubdtype(value.dtype, np.floating):
        return value
    return np.where(mask, value, np.nan).astype(value.dtype, copy=False)


def _present(data: Batch) -> Any:
    import xarray as xr

    masks = np.stack([np.asarray(data.present[n]) for n in data.modalities])
    coords = {"modality": list(data.modalities), "datum": np.arange(len(data))}
    return xr.Dataset({"present": (("modality", "datum"), masks)}, coords, attrs={"created_by": "mmppl"})


def _wrap(groups: dict[str, Any]) -> Any:
    import arviz
    import xarray as xr

    if arviz.__version__.startswith("0."):
        return arviz.InferenceData(**groups)
    return xr.DataTree.from_dict({f"/{name}": group for name, group in groups.items()})
