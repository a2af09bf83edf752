"""The posterior of each datum's latents, by any method, as one type."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import ANYTHING, at_least, checked
from mmppl.errors import DataError, InferenceError, OptionError, PosteriorWarning
from mmppl.inference.kernels import KERNELS
from mmppl.inference.posterior.divided import on_devices
from mmppl.inference.posterior.importance import resample, weighted
from mmppl.inference.posterior.posterior import Posterior
from mmppl.inference.posterior.short_chains import refine_draws
from mmppl.inference.shipped import is_shipped
from mmppl.inference.training.fitted import Fitted
from mmppl.inference.training.program import Program
from mmppl.warn import warn

__all__ = ["METHODS", "draw_posterior", "infer"]

INDEPENDENT = ("guide", "importance", "psis", "refine")
JOINT = ("nuts", "joint_hmc")
METHODS = (*INDEPENDENT, *KERNELS, *JOINT)
OVERSAMPLING = 4


@checked(data=ANYTHING, num_chains=at_least(1), num_samples=at_least(1), num_warmup=at_least(0), devices=at_least(1))
def infer(
    program: Program | Fitted,
    data: Batch,
    *,
    method: str | Callable[..., Any] = "hmc",
    num_chains: int = 4,
    num_samples: int = 250,
    num_warmup: int = 250,
    init: str | Mapping[str, np.ndarray] = "guide",
    seed: int | Sequence[int] = 0,
    devices: int | None = None,
    **options: Any,
) -> Posterior:
    r"""Draws of :math:`p(z_n \mid x_{n, S_n})`, for each datum given what it has.

    ========================  ========================================================================================
    method                    how
    ========================  ========================================================================================
    ``"guide"``               the guide's own draws
    ``"importance"``          draws of the guide, resampled by their importance weights
    ``"psis"``                the same with Pareto-smoothed weights
    ``"refine"``              draws of the guide, each moved by a few steps of a kernel; see :func:`refine`
    a kernel's name           one of :data:`mmppl.inference.kernels.KERNELS`: chains of each datum, all at once
    ``"nuts"``                the host's own NUTS, the batch as one joint target
    ``"joint_hmc"``           the host's own HMC, likewise
    a callable                from a host's model to any kernel of the host, for example ``mm.MALA``
    ========================  ========================================================================================

    The first four give independent draws, as one chain of ``num_samples``. What a diagnostic finds wrong is a
    :class:`~mmppl.errors.PosteriorWarning` that says what to change; it is also in ``Posterior.problems()``.

    Arguments:
        program: A fitted program, or a program that has no parameters.
        data: Data, N rows; modalities may be missing.
        method: See above.
        num_chains: Chains of a kernel.
        num_samples: Draws of each chain, or independent draws.
        num_warmup: Warm-up steps of each chain.
        init: Where chains start: ``"guide"``, ``"prior"``, or values by site, constrained, ``(N, *event)`` or
            ``(num_chains, N, *event)``.
        seed: Random seed. One for each datum makes its draws its own: the same in any batch.
        devices: Number of devices among which rows are divided: JAX's on NumPyro; on Pyro processes of this machine,
            which share out blocks of 64 rows, each with random numbers of its own. Draws are the same on any number,
            1 among them. None for all rows at once on one.
        options: Of the kernel, such as ``step_size``.

    Raises:
        OptionError: If the method, an option or a site is unknown, chains are asked for of latents that are the data
            themselves (a diffusion of all modalities in the space of the data), start values have another shape,
            there are fewer devices, or all rows are one target, as of ``"nuts"``, which devices cannot divide.
        ModalityError, DataError: If the data do not fit the program, or a log density is not a number at the start.
        InferenceError: If a likelihood has no gradient that the kernel could follow, or every proposal is refused.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import models
        >>> from mmppl.data import load
        >>> from mmppl.inference import fit
        >>> data = load("linear_gaussian")
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> fitted = fit(program, data.train[:256], epochs=2, progress=False)
        >>> infer(fitted, data.test[:4], method="guide", num_samples=10).draws["z"].shape
        (1, 10, 4, 2)
    """
    sizes = {"num_chains": num_chains, "num_samples": num_samples, "num_warmup": num_warmup}
    how: dict[str, Any] = {"method": method, "init": init, "seed": seed, "options": options, **sizes}
    if devices is None:
        posterior = draw_posterior(program, data, **how)
    else:
        posterior = on_devices(draw_posterior, program, data, devices, how)
    for problem in posterior.problems():
        warn(problem, PosteriorWarning)
    return posterior


def draw_posterior(
    program: Program | Fitted,
    data: Batch,
    *,
    method: str | Callable[..., Any],
    num_chains: int,
    num_samples: int,
    num_warmup: int,
    seed: int | Sequence[int],
    options: Mapping[str, Any],
    init: str | Mapping[str, np.ndarray] = "guide",
) -> Posterior:
    """Draws of :func:`infer` without its warnings, for callers that report problems in their own way."""
    fitted = program if isinstance(program, Fitted) else Fitted(program, {})
    data = fitted.program.taken(data).validate(fitted.program.modalities)
    name, make = _method(fitted, method, options)
    if name not in INDEPENDENT:
        fitted.program.need_chains()
    seeds = None if isinstance(seed, int | np.integer) else [int(s) for s in seed]
    one = int(seed) if isinstance(seed, int | np.integer) else 0
    if seeds is not None and len(seeds) != len(data):
        raise OptionError(f"Expected one seed, or one for each of {len(data)} data; got {len(seeds)}.")
    if name in INDEPENDENT:
        if seeds is None:
            posterior = _independent(fitted, data, name, num_samples, one, options)
        else:
            fitted.rows_alone("A seed for each datum")
            parts = [_independent(fitted, data[n : n + 1], name, num_samples, s, options) for n, s in enumerate(seeds)]
            posterior = _together(parts, data, seeds)
    else:
        start = _start(fitted, data, init, num_chains, one if seeds is None else seeds)
        _check_start(fitted, data, start, make(None) if name in KERNELS else None, name)
        draws, stats = fitted.program.ppl.host.chains(
            fitted,
            data,
            make,
            start,
            num_samples=num_samples,
            num_warmup=num_warmup,
            seed=one,
            row_seeds=seeds,
        )
        settings = {"num_warmup": num_warmup, "init": init if isinstance(init, str) else "values", **options}
        posterior = Posterior(fitted, data, name, draws, stats, True, None, seed, settings)
        rate = stats.get("acceptance_rate")
        if rate is not None and not rate.any():
            raise InferenceError(
                f"Every proposal of '{name}' was refused, for every datum: the step size is too large, or the chains "
                "start where the density is none. Pass a smaller step_size, adapt_step_size=True, or init='guide'."
            )
    return posterior


def _method(fitted: Fitted, method: Any, options: Mapping) -> tuple[str, Callable[[Any], Any]]:
    """The name of a method, and a function that makes its kernel for a model."""
    ppl = fitted.program.ppl
    if callable(method):
        name = getattr(method, "__name__", None) or getattr(getattr(method, "func", None), "__name__", "kernel")
        return f"custom {name}", lambda model: method(model, **options)
    if method not in METHODS:
        raise OptionError(f"Unknown method '{method}'; expected one of {', '.join(METHODS)}, or a kernel of the host.")
    if method in KERNELS:
        kind = getattr(ppl, KERNELS[method].__name__)
        known = [p for p in inspect.signature(kind.__init__).parameters if p not in ("self", "model")]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise OptionError(f"Unknown options {unknown} of method '{method}'; expected some of {known}.")
        return method, lambda model: kind(model, **options)
    if method in JOINT:
        return method, lambda model: ppl.host.JOINT[method](model, **options)
    if options and method != "refine":
        raise OptionError(f"Method '{method}' takes no options; got {sorted(options)}.")
    return method, lambda model: None


def _independent(fitted: Fitted, data: Batch, method: str, num: int, seed: int, options: Mapping) -> Posterior:
    stats: dict[str, np.ndarray] = {}
    k = None
    if method in ("importance", "psis"):
        found = weighted(fitted, data, OVERSAMPLING * num, seed)
        hidden: Mapping[str, Any] = resample(found, num, method == "psis", seed)
        k = found.pareto_k
    else:
        host = fitted.program.ppl.host
        hidden = host.latents(fitted.model, fitted.guide, data, num, seed, np.zeros(len(data), bool))
        if method == "refine":
            hidden = refine_draws(fitted, data, hidden, seed=seed, **options)
    draws = {name: np.asarray(hidden[name])[None] for name in hidden if name in fitted.latents}
    return Posterior(fitted, data, method, draws, stats, False, k, seed, dict(options))


def _together(parts: Sequence[Posterior], data: Batch, seeds: list[int]) -> Posterior:
    """Posteriors of single data as that of all of them."""
    first = parts[0]
    draws = {name: np.concatenate([p.draws[name] for p in parts], axis=2) for name in first.draws}
    k = None if first.pareto_k is None else np.concatenate([p.pareto_k for p in parts])
    return Posterior(first.fitted, data, first.method, draws, {}, False, k, seeds, first.settings)


def _start(fitted: Fitted, data: Batch, init: Any, num_chains: int, seed: Any) -> dict[str, np.ndarray]:
    """Starting points of the chains, constrained, ``(num_chains, N, *event)`` by site."""
    host, rows = fitted.program.ppl.host, np.full(len(data), init == "prior" if isinstance(init, str) else False)
    if isinstance(init, str):
        if init not in ("guide", "prior"):
            raise OptionError(f"Expected init 'guide', 'prior', or values by site; got '{init}'.")
        if isinstance(seed, int | np.integer):
            drawn = host.latents(fitted.model, fitted.guide, data, num_chains, int(seed), rows)
            return {name: np.asarray(z) for name, z in drawn.items() if name in fitted.latents}
        one = [
            host.latents(fitted.model, fitted.guide, data[n : n + 1], num_chains, s, rows[:1])
            for n, s in enumerate(seed)
        ]
        return {name: np.concatenate([np.asarray(z[name]) for z in one], axis=1) for name in one[0]}
    drawn = host.latents(fitted.model, fitted.guide, data, 1, 0, rows)
    like = {n: np.asarray(z)[0] for n, z in drawn.items() if n in fitted.latents}
    if set(init) != set(like):
        raise OptionError(f"Expected start values for the latent sites {sorted(like)}; got {sorted(init)}.")
    out = {}
    for name, z in like.items():
        value, shape = np.asarray(init[name]), z.shape
        if np.issubdtype(z.dtype, np.floating):
            value = value.astype(z.dtype)  # integers and doubles are start values as good as others
        if value.shape not in (shape, (num_chains, *shape)):
            raise OptionError(
                f"Expected start values of '{name}' of shape {shape}, or {(num_chains, *shape)} for {num_chains} "
                f"chains; got {value.shape}."
            )
        out[name] = np.array(np.broadcast_to(value, (num_chains, *shape)))
    return out


def _check_start(fitted: Fitted, data: Batch, start: dict[str, np.ndarray], kernel: Any, name: str) -> None:
    """Refuses a start where a log density is not a number, and a likelihood that a gradient kernel cannot follow."""
    few = {site: z[:2] for site, z in start.items()}
    if len(next(iter(few.values()))) == 1:
        # Whether a value changes with the latents takes two places.
        few = {site: np.concatenate([z, z + 0.1 * (1.0 + np.abs(z))]) for site, z in few.items()}
    follows = name in JOINT or (kernel is not None and kernel.gradient)
    # Likelihoods of systems that ship have gradients, which take twice as long to look at.
    follows &= not is_shipped(fitted.program.model)
    values, reached = fitted.program.ppl.host.log_densities(fitted.model, few, data, follows)
    for site, value in values.items():
        bad = np.flatnonzero(np.isnan(value[:1]).any(0) | np.isposinf(value[:1]).any(0))
        if bad.size:
            raise DataError(
                f"The log density of site '{site}' is not a number for datum {bad[0]}"
                f"{f' and {bad.size - 1} more' if bad.size > 1 else ''}, where the chains start. Look for a scale of "
                "0, a logarithm of a negative number, or weights that are not finite."
            )
        if follows and not reached[site] and site in data.modalities and np.ptp(value, axis=0).any():
            raise InferenceError(
                f"The likelihood of site '{site}' changes with the latents but has no gradient, so '{name}' cannot "
                "follow it. Take method='random_walk', or 'psis', which need none."
            )
