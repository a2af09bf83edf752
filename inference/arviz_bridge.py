"""A fitted program in ArviZ, 0.23 and 1.x alike."""

from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.errors import OptionError
from mmppl.inference.fitted import Fitted

__all__ = ["to_arviz"]

KERNELS = {"mala": "MALA", "ula": "ULA"}


def to_arviz(
    fitted: Fitted,
    data: Batch,
    *,
    kernel: str | None = "default",
    num_chains: int = 4,
    num_samples: int = 250,
    num_warmup: int = 250,
    num_predictive: int = 25,
    seed: int = 0,
) -> Any:
    """The posterior of each datum's latents, what it predicts, and how well: an ArviZ object.

    With a kernel the posterior is sampled by chains that start at the guide's draws, so R-hat and ESS mean
    something. Without one the posterior group holds independent draws of the guide, as one chain, and says so in its
    attributes: R-hat and ESS are then not to be computed.

    Arguments:
        fitted: A fitted program.
        data: Data, N rows; modalities may be missing.
        kernel: ``"mala"``, ``"ula"`` or None; by default the program's own choice, which is MALA unless its prior is a
            score, whose density takes an integration at every step.
        num_chains: Chains, with a kernel.
        num_samples: Draws in each chain.
        num_warmup: Warm-up steps of each chain, with a kernel.
        num_predictive: Draws of each chain that are decoded for the posterior predictive.
        seed: Of everything random.

    Returns:
        ``arviz.InferenceData`` (ArviZ 0.x) or ``xarray.DataTree`` (1.x) with groups posterior, posterior_predictive,
        log_likelihood (per datum and modality, 0 where a modality is absent), sample_stats, observed_data and
        constant_data (who has what).

    Raises:
        OptionError: If the kernel is unknown.
        ModalityError, DataError: If the data do not fit the program.
    """
    kernel = fitted.program.kernel if kernel == "default" else kernel
    if kernel is not None and kernel not in KERNELS:
        raise OptionError(f"Unknown kernel '{kernel}'; expected one of {sorted(KERNELS)} or None.")
    data = data.validate(fitted.program.modalities)
    host, program = fitted.program.ppl.host, fitted.program
    if kernel is None:
        none = np.zeros(len(data), bool)
        hidden = host.latents(fitted.model, fitted.guide, data, num_samples, seed, none)
        draws, stats = {name: np.asarray(z)[None] for name, z in hidden.items()}, {}
    else:
        sizes = {"num_chains": num_chains, "num_samples": num_samples, "num_warmup": num_warmup, "seed": seed}
        draws, stats = host.chains(fitted, data, getattr(program.ppl, KERNELS[kernel]), **sizes)
    flat = {name: z.reshape(-1, *z.shape[2:]) for name, z in draws.items()}
    shape = next(iter(draws.values())).shape[:2]
    log_lik, _ = host.scores(fitted.model, flat, data, prior=False)
    every = np.linspace(0, shape[1] - 1, min(num_predictive, shape[1])).astype(int)
    few = {name: z[:, every].reshape(-1, *z.shape[2:]) for name, z in draws.items()}
    predicted = host.decode(fitted.model, few, data, seed + 1, False)
    how = {"sampler": kernel or "guide", "independent_draws": int(kernel is None)}
    if kernel is None:
        how["note"] = "independent draws of the guide: R-hat and ESS do not apply"
    groups = {
        "posterior": _dataset(draws, how),
        "posterior_predictive": _dataset(
            {n: x.reshape(shape[0], len(every), *x.shape[1:]) for n, x in predicted.items()}
        ),
        "log_likelihood": _dataset({n: x.reshape(*shape, -1) for n, x in log_lik.items()}),
        "observed_data": _dataset({n: np.asarray(data[n]) for n in data.modalities}, chains=False),
        "constant_data": _dataset({f"{n}__present": np.asarray(m) for n, m in data.present.items()}, chains=False),
    }
    if stats:
        groups["sample_stats"] = _dataset(stats)
    return _wrap(groups)


def _dataset(values: dict[str, np.ndarray], attrs: dict | None = None, *, chains: bool = True) -> Any:
    """An xarray data set whose rows are the dimension ``datum``."""
    import xarray as xr

    lead = ("chain", "draw", "datum") if chains else ("datum",)
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for name, value in values.items():
        dims = (*lead[: value.ndim], *(f"{name}_dim_{i}" for i in range(value.ndim - len(lead))))
        variables[name] = (dims, value)
        coords |= {dim: np.arange(size) for dim, size in zip(dims, value.shape, strict=True)}
    return xr.Dataset(variables, coords, attrs={"created_by": "mmppl", **(attrs or {})})


def _wrap(groups: dict[str, Any]) -> Any:
    import arviz
    import xarray as xr

    if arviz.__version__.startswith("0."):
        return arviz.InferenceData(**groups)
    return xr.DataTree.from_dict({f"/{name}": group for name, group in groups.items()})
