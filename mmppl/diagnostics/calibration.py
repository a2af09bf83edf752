"""Calibration: of inference on simulated data, and of conditional generation on data held out."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.checks import ANYTHING, at_least, checked
from mmppl.errors import ModalityError, OptionError
from mmppl.inference import Fitted, generate
from mmppl.inference.posterior.infer import draw_posterior
from mmppl.inference.training.example import example

__all__ = ["LEVELS", "Coverage", "Ranks", "calibrate", "coverage", "places", "simulate"]

LEVELS = np.round(np.arange(0.1, 1.0, 0.1), 1)
BINS = np.linspace(0.0, 1.0, 11)


class Ranks(NamedTuple):
    """Ranks of simulated truths among posterior draws.

    Arguments:
        ranks: By site, ``(N, D)``, from 0 to ``draws``.
        draws: L, draws that each truth is ranked among.
        p_value: Of a chi-square test that ranks are uniform, by site, ``(D,)``.
        missing: The same test of what is missing of each modality, element by element, among draws of it given the rest
            of its row, ``(D,)``; NaN where too few rows lack an element.
    """

    ranks: dict[str, np.ndarray]
    draws: int
    p_value: dict[str, np.ndarray]
    missing: dict[str, np.ndarray] = {}

    @property
    def worst(self) -> float:
        """The smallest p-value, times their number: small where some coordinate is not calibrated."""
        every = np.concatenate([*self.p_value.values(), *self.missing.values()])
        every = every[np.isfinite(every)]
        return float(min(1.0, every.min() * len(every)))


@checked(num=at_least(1))
def simulate(
    fitted: Fitted, num: int, seed: int = 0, *, like: Batch | None = None
) -> tuple[Batch, dict[str, np.ndarray]]:
    r"""Data drawn from the program, each with a random subset of what it might have, and their latents.

    .. math:: z_n \sim p(z), \qquad x_n \sim p(x \mid z_n), \qquad n \le N

    Arguments:
        fitted: A fitted program.
        num: Number N of data.
        seed: Random seed.
        like: Data whose gaps and covariates they take, those of a random row each. None for modalities that are there
            with probability 1/2, one at least, and, of those that may lack single elements, elements too.

    Returns:
        The data, and the latents by site, ``(N, *event)``.

    Raises:
        OptionError: If ``num`` is below 1, latents outside the plate of the data tie the rows together, or a program
            that conditions on covariates has none to simulate under.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import models
        >>> from mmppl.data import load
        >>> from mmppl.inference import fit
        >>> data = load("linear_gaussian", num_train=64, num_test=8)
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> fitted = fit(program, data.train, epochs=1, seed=0, progress=False)
        >>> simulated, latents = simulate(fitted, 5)
        >>> simulated["a"].shape, latents["z"].shape
        ((5, 3), (5, 2))
    """
    data, truth, _ = _simulated(fitted, num, seed, like)
    return data, truth


def _simulated(fitted: Fitted, num: int, seed: int, like: Batch | None) -> tuple[Batch, dict, dict]:
    """Simulated data, their latents, and their values with what is hidden."""
    fitted.rows_alone("Calibration")
    host, modalities, known = fitted.program.ppl.host, fitted.program.modalities, fitted.program.covariates
    if known and like is None:
        raise OptionError(f"Expected like=, data whose covariates {list(known)} simulated data take; got none.")
    rng = np.random.default_rng(seed)
    blank = example(modalities, num)
    if like is None:
        masks = _gaps(modalities, num, rng)
    else:
        rows = fitted.program.observed(like)
        rows = rows[rng.choice(np.flatnonzero(np.asarray(rows.observed())), num)]
        masks = {name: np.asarray(rows.masks[name]) for name in modalities}
        blank = blank.with_covariates(rows.covariates).with_parts(places=rows.places)
    hidden, values = host.simulate(fitted.model, fitted.guide, blank, 1, seed, False, np.ones(num, bool))
    values = {n: modalities[n].typed(values[n][0]) for n in modalities}
    data = Batch(values, masks, covariates=blank.covariates, places=blank.places)
    return data, {name: z[0] for name, z in hidden.items()}, values


def _gaps(modalities: Mapping[str, Modality], num: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random masks of modalities and of the elements of those that may lack some; one modality of each row is whole."""
    mask = rng.random((len(modalities), num)) < 0.5
    whole = rng.integers(len(modalities), size=num)
    mask[whole, np.arange(num)] = True
    out = {}
    for i, (name, modality) in enumerate(modalities.items()):
        out[name] = mask[i]
        if modality.partial:
            some = rng.random((num, *modality.shape)) < 0.5
            some[whole == i] = True
            out[name] = some & mask[i].reshape(-1, *[1] * len(modality.shape))
    return out


@checked(num=at_least(1), draws=at_least(1), thin=at_least(1), num_warmup=at_least(0))
def calibrate(
    fitted: Fitted,
    *,
    method: str = "hmc",
    num: int = 200,
    draws: int = 19,
    thin: int = 4,
    num_warmup: int = 200,
    like: Batch | None = None,
    seed: int = 0,
    **options: Any,
) -> Ranks:
    r"""Simulation-based calibration: are the posteriors of simulated data right on average?

    For :math:`z \sim p(z), x \sim p(x \mid z)` and exact draws :math:`z_1, \dots, z_L` of :math:`p(z \mid x_S)`, the
    rank of z among them is uniform on 0, ..., L. Every datum has a random subset S. U-shaped ranks are a sign of
    posteriors too narrow, in the middle of ones too wide, to one side of ones shifted. What a datum lacks, whole
    modalities and single elements, is ranked among draws of it given the rest in the same way.

    Arguments:
        fitted: A fitted program.
        method: As in :func:`~mmppl.inference.infer`.
        num: Simulated data N.
        draws: L; L + 1 bins are tested, so N should be many times that.
        thin: Steps of a chain for each draw, so that draws are nearly independent.
        num_warmup: Warm-up steps, with a kernel.
        like: Data whose gaps and covariates the simulated data take, as in :func:`simulate`.
        seed: Random seed.
        options: Of the kernel.

    Raises:
        OptionError: If ``num`` is less than 5 (L + 1), too few for a chi-square test.

    References:
        | Validating Bayesian inference algorithms with simulation-based calibration (Talts et al., 2018)
        | https://arxiv.org/abs/1804.06788

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import models
        >>> from mmppl.data import load
        >>> from mmppl.inference import fit
        >>> data = load("linear_gaussian", num_train=64, num_test=8)
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> fitted = fit(program, data.train, epochs=1, seed=0, progress=False)
        >>> ranks = calibrate(fitted, method="guide", num=50, draws=9)
        >>> ranks.ranks["z"].shape
        (50, 2)
    """
    if num < 5 * (draws + 1):
        raise OptionError(f"Expected num >= {5 * (draws + 1)} data for {draws} draws; got {num}.")
    data, truth, values = _simulated(fitted, num, seed, like)
    independent = method in ("guide", "importance", "psis", "refine")
    posterior = draw_posterior(  # whose problems the ranks tell
        fitted,
        data,
        method=method,
        num_chains=1,
        num_samples=draws if independent else draws * thin,
        num_warmup=num_warmup,
        seed=seed + 1,
        options=options,
    )
    from scipy import stats  # takes long to import, which others need not wait for

    ranks, p_value = {}, {}
    kept = {name: z[0] if independent else z[0, thin - 1 :: thin] for name, z in posterior.draws.items()}
    for name, each in kept.items():
        rank = (each < truth[name]).sum(0).reshape(num, -1)
        ranks[name] = rank
        counts = np.stack([(rank == r).sum(0) for r in range(draws + 1)])
        p_value[name] = stats.chisquare(counts, axis=0).pvalue
    drawn = fitted.program.ppl.host.decode(fitted.model, kept, data, seed + 2, False)
    return Ranks(ranks, draws, p_value, _missing(drawn, values, data, draws, np.random.default_rng(seed + 3)))


def _missing(
    drawn: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray], data: Batch, draws: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """P-values that ranks of what is missing are uniform, by modality, ``(D,)``; NaN where there are too few."""
    from scipy import stats

    out = {}
    for name, value in values.items():
        given = drawn[name]
        below, ties = (given < value).sum(0), (given == value).sum(0)
        rank = (below + rng.integers(ties + 1)).reshape(len(value), -1)
        gone = ~np.asarray(data.there(name)).reshape(len(value), -1)
        out[name] = np.full(rank.shape[1], np.nan)
        for place in range(rank.shape[1]):
            own = rank[gone[:, place], place]
            if len(own) >= 5 * (draws + 1):
                out[name][place] = stats.chisquare(np.bincount(own, minlength=draws + 1)).pvalue
    return out


class Coverage(NamedTuple):
    """Frequencies at which held-out values fall into predicted sets, by modality held out.

    Arguments:
        levels: Levels of the central sets, ``(L,)``.
        share: Share of values inside, by modality, ``(L,)``.
        error: Its standard error over data, ``(L,)``.
        pit: Counts of probability integral transforms, the places of values among draws, in ten bins of [0, 1].
        rows: Number of data that the modality was evaluated on.
    """

    levels: np.ndarray
    share: dict[str, np.ndarray]
    error: dict[str, np.ndarray]
    pit: dict[str, np.ndarray]
    rows: dict[str, int] = {}

    @property
    def calibration_error(self) -> dict[str, float]:
        """Expected calibration error by modality: the mean distance of share and level."""
        return {name: float(np.abs(share - self.levels).mean()) for name, share in self.share.items()}

    def allowed(self, name: str, errors: float = 4.0) -> np.ndarray:
        r"""Distances of share and level that chance makes, ``(L,)``: so many standard errors, or more of few data.

        The error is the larger of that over N data and the binomial one of V values,
        :math:`\sqrt{\alpha (1 - \alpha) / V}`, which is not 0 where all values are inside; and errors of N data, which
        are estimated, count as Student's t with N - 1 degrees of freedom has them.
        """
        from scipy import stats

        binomial = np.sqrt(self.levels * (1.0 - self.levels) / max(int(self.pit[name].sum()), 1))
        few = stats.t.isf(stats.norm.sf(errors), max(self.rows.get(name, 1000) - 1, 1))
        return np.asarray(few * np.maximum(self.error[name], binomial))

    def off(self, errors: float = 4.0, margin: float = 0.05) -> list[str]:
        """Modalities whose coverage is off by a margin and more than chance allows at some level."""
        return [
            name
            for name, share in self.share.items()
            if (np.abs(share - self.levels) > margin + self.allowed(name, errors)).any()
        ]

    def farthest(self, name: str) -> tuple[float, float, float]:
        """Level at which a modality is off by most beyond chance, the share inside there, and its standard error."""
        place = int(np.argmax(np.abs(self.share[name] - self.levels) - self.allowed(name)))
        return float(self.levels[place]), float(self.share[name][place]), float(self.error[name][place])


@checked(data=ANYTHING, num=at_least(2))
def coverage(
    fitted: Fitted,
    data: Batch | Mapping[str, Any],
    *,
    num: int = 200,
    levels: Sequence[float] = tuple(LEVELS.tolist()),
    given: Sequence[str] | None = None,
    seed: int = 0,
) -> Coverage:
    r"""Coverage of conditional generation: how often does a modality that is held out fall into the predicted set?

    For each modality m and each coordinate, K draws of :math:`p(x_m \mid x_{S \setminus m})` give the central interval
    of each level; a program that knows how sure it is covers :math:`\alpha` of the values at level :math:`\alpha`. A
    value that ties with draws, such as a token, takes a random place among them.

    Arguments:
        fitted: A fitted program.
        data: Data; a modality is evaluated on rows that have it and what is given.
        num: Draws K of each datum.
        levels: :math:`\alpha`.
        given: S, the modalities that are given, none of them for draws of the prior; then each other one is evaluated.
            None for whatever else a row has.
        seed: Random seed.

    Raises:
        ModalityError, DataError: If the data do not fit the program, or ``given`` names an unknown modality.

    References:
        | Probabilistic forecasts, calibration and sharpness (Gneiting, Balabdaoui & Raftery, 2007)
        | https://doi.org/10.1111/j.1467-9868.2007.00587.x

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import models
        >>> from mmppl.data import load
        >>> from mmppl.inference import fit
        >>> data = load("linear_gaussian", num_train=64, num_test=8)
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> fitted = fit(program, data.train, epochs=1, seed=0, progress=False)
        >>> found = coverage(fitted, data.test, num=10, levels=(0.5, 0.8))
        >>> {name: share.shape for name, share in found.share.items()}
        {'a': (2,), 'b': (2,), 'c': (2,)}
    """
    data = fitted.program.observed(data)
    rng, wanted = np.random.default_rng(seed), np.asarray(levels, float)
    share, error, pit, number = {}, {}, {}, {}
    unknown = sorted(set(given or ()) - set(data.modalities))
    if unknown:
        raise ModalityError(f"Expected given among {list(data.modalities)}; got {unknown}.")
    for name in data.modalities:
        if given is not None and name in given:
            continue
        rows = data.without(name) if given is None else data.only(*given)
        masks = [rows.observed()] if given is None else [data.present[n] for n in given]
        has = np.flatnonzero(np.logical_and.reduce([np.asarray(mask) for mask in (data.present[name], *masks)]))
        if has.size < 2:
            continue
        drawn = generate(fitted, rows[has], num, want=[name], seed=seed)[name]
        value = np.asarray(data[name])[has]
        place = places(drawn, value, rng)
        off = np.abs(place - 0.5).reshape(len(has), -1)
        # A datum counts by the elements that it has.
        there = np.asarray(data.there(name))[has].reshape(len(has), -1)
        inside = ((off[..., None] <= wanted / 2) & there[..., None]).sum(1) / there.sum(1)[:, None]
        pit[name] = np.histogram(place.reshape(len(has), -1)[there], BINS)[0]
        share[name] = inside.mean(0)
        error[name] = inside.std(0, ddof=1) / np.sqrt(len(has))
        number[name] = len(has)
    return Coverage(wanted, share, error, pit, number)


def places(drawn: np.ndarray, value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places of values ``(N, *)`` among draws ``(K, N, *)``, in [0, 1]; of one that ties with draws a random one there.

    Example:
        >>> places(np.zeros((9, 1)), np.ones(1), np.random.default_rng(0)) > 0.9
        array([ True])
    """
    below, ties = (drawn < value).sum(0), (drawn == value).sum(0)
    return (below + rng.random(value.shape) * (ties + 1)) / (len(drawn) + 1)
