"""Result of every way of inference, so that two of them are compared in two lines."""

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from mmppl import display
from mmppl.batch import Batch
from mmppl.errors import DataError, OptionError
from mmppl.inference.posterior.convergence import ess, r_hat
from mmppl.inference.posterior.trust import LIMIT_K, LIMIT_R_HAT
from mmppl.inference.training.fitted import Fitted

__all__ = ["LIMIT_K", "LIMIT_R_HAT", "Posterior"]

DIVERGING = 0.01


@dataclass(frozen=True)
class Posterior:
    """Draws of the latents of N data given what each of them has.

    Arguments:
        fitted: The program and its weights.
        data: The data, N rows.
        method: How the draws were made.
        draws: Latents by site, constrained, ``(chains, draws, N, *event)``; those outside the plate of the data
            ``(chains, draws, *event)``.
        stats: Statistics of the sampler by ArviZ's names, ``(chains, draws, N)``, or ``(chains, draws)`` where the
            batch is one chain.
        chains: Whether these are Markov chains; else the draws are independent of each other.
        pareto_k: PSIS k of each datum's importance weights, ``(N,)``, where there are weights.
        seed: Random seed.
        settings: Options of the sampler, by name.

    Raises:
        DataError: If sites have other numbers of chains, draws or data than each other.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import models
        >>> from mmppl.data import load
        >>> from mmppl.inference import fit, infer
        >>> data = load("linear_gaussian", num_train=64, num_test=8)
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> fitted = fit(program, data.train, epochs=1, seed=0, progress=False)
        >>> posterior = infer(fitted, data.test[:3], method="guide", num_samples=5)
        >>> posterior["z"].shape, posterior.problems()
        ((1, 5, 3, 2), [])
    """

    fitted: Fitted
    data: Batch
    method: str
    draws: Mapping[str, np.ndarray]
    stats: Mapping[str, np.ndarray] = field(default_factory=dict)
    chains: bool = True
    pareto_k: np.ndarray | None = None
    seed: Any = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: z.shape[:2] for name, z in self.draws.items()}
        lengths |= {name: x.shape[:2] for name, x in self.stats.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"Expected chains of one length at every site; got (chains, draws) {lengths}.")

    def __repr__(self) -> str:
        found = self.problems()
        lines = [f"! {line}" for line in found] or ["no problem found by its diagnostics"]
        return display.limited([self._title(), *(f"  {line}" for line in (*lines, *display.columns(self._sites())))])

    def _repr_html_(self) -> str:
        found = self.problems()
        bad = "".join(f'<div class="bad">{html.escape(line)}</div>' for line in found)
        good = "" if found else '<div class="good">No problem found by its diagnostics.</div>'
        header, *rows = self._sites()
        return display.page(self._title(), bad, good, display.table(header, rows))

    def _title(self) -> str:
        chains, draws = next(iter(self.draws.values())).shape[:2]
        sizes = f"{chains} chains of {draws} draws" if self.chains else f"{chains * draws} draws each"
        return f"Posterior of {len(self.data)} data by {self.method}: {sizes}"

    def _sites(self) -> list[tuple[str, ...]]:
        """Name, shape, largest R-hat and fewest effective draws of each site, below their header."""
        ess = self.ess()
        rows: list[tuple[str, ...]] = [("site", "shape", "largest R-hat", "fewest effective draws")]
        for name, value in self.draws.items():
            shape = " x ".join(map(str, value.shape[2:])) or "1"
            worst = f"{np.nanmax(self.r_hat[name], initial=-np.inf):.3f}" if name in self.r_hat else "no chains"
            rows.append((name, shape, worst, f"{np.nanmin(ess[name], initial=np.inf):.0f}" if name in ess else ""))
        return rows

    def plot(self, site: str | None = None, *, datum: int = 0, most: int = 4) -> Any:
        """Draws the traces of a site's first coordinates, one below the other, and their densities beside them.

        Arguments:
            site: The site; the first by default.
            datum: Which of the N data.
            most: Most coordinates.

        Returns:
            The figure of matplotlib, which a notebook shows.

        Raises:
            OptionError: If there is no such site.
        """
        site = next(iter(self.draws)) if site is None else site
        value = self[site]
        rows = value if site in self.fitted.outside else value[:, :, datum]
        flat = rows.reshape(*rows.shape[:2], -1)[..., :most]
        figure = display.figure(7, 1.5 * flat.shape[-1] + 0.4)
        for i, (left, right) in enumerate(figure.subplots(flat.shape[-1], 2, squeeze=False, width_ratios=(2, 1))):
            for chain in flat[..., i]:
                left.plot(chain, lw=0.6)
                right.hist(chain, bins=30, histtype="step", density=True)
            left.set_ylabel(f"{site}[{i}]")
            right.set_yticks([])
        figure.axes[-2].set_xlabel("draw; chains that mix lie over each other")
        return figure

    def __getitem__(self, site: str) -> np.ndarray:
        """The draws of a site, ``(chains, draws, N, *event)``.

        Raises:
            OptionError: If there is no such site.
        """
        if site not in self.draws:
            raise OptionError(f"Expected a latent site among {sorted(self.draws)}; got '{site}'.")
        return self.draws[site]

    @cached_property
    def r_hat(self) -> dict[str, np.ndarray]:
        r"""Rank-normalised :math:`\hat R` of every coordinate by site, ``(N, *event)``; empty without two chains."""
        return {} if not self.mixes else {name: r_hat(z) for name, z in self.draws.items()}

    def ess(self, kind: str = "bulk") -> dict[str, np.ndarray]:
        """Effective sample sizes by site, ``(N, *event)``: bulk, tail or mean; none without chains."""
        return {name: ess(z, kind) for name, z in self.draws.items()} if self.mixes else {}

    @property
    def mixes(self) -> bool:
        """Tells whether R-hat and ESS mean something: there are several chains of at least 4 draws."""
        chains, draws = next(iter(self.draws.values())).shape[:2]
        return self.chains and chains > 1 and draws >= 4

    def problems(self) -> list[str]:
        """Reasons not to trust these draws, each with what to change; empty where there are none."""
        out = []
        if self.pareto_k is not None:
            bad = np.flatnonzero(self.pareto_k > LIMIT_K)
            if bad.size:
                out.append(
                    f"PSIS k is above {LIMIT_K} for {_of(bad, len(self.data))}: the guide is too far from the "
                    "posterior to be weighted. Draw by a kernel (method='hmc'), refine, or fit longer."
                )
        for name, value in self.r_hat.items():
            common = name in self.fitted.outside
            value = value[None] if common else value
            worst = np.nan_to_num(value.reshape(len(value), -1), nan=np.inf, posinf=np.inf).max(1)
            bad = np.flatnonzero(worst > LIMIT_R_HAT)
            if bad.size:
                where = "" if common else f" for {_of(bad, len(worst))}"
                out.append(
                    f"R-hat of '{name}' is above {LIMIT_R_HAT}{where}, up to {worst.max():.2f}: "
                    "chains have not mixed. Run more warm-up and draws; where modes are separated, method='tempered'."
                )
        if "acceptance_rate" in self.stats:
            rate = self.stats["acceptance_rate"].mean((0, 1))
            stuck = np.flatnonzero(np.atleast_1d(rate) < 1e-3)
            if stuck.size:
                out.append(
                    f"Nearly every proposal is refused for {_of(stuck, np.size(rate))}: the step size is too large. "
                    "Pass a smaller step_size, more num_warmup, or adapt_step_size=True."
                )
        if "diverging" in self.stats:
            share = np.atleast_1d(self.stats["diverging"].mean((0, 1)))
            bad = np.flatnonzero(share > DIVERGING)
            if bad.size:
                out.append(
                    f"More than {100 * DIVERGING:.0f}% of the steps diverge for {_of(bad, share.size)}: part of the "
                    "posterior is not reached. Pass a higher target_accept_prob or a smaller step_size."
                )
        return out

    def to_arviz(self, *, num_predictive: int = 25, num_prior: int = 100) -> Any:
        """These draws, what they predict, and how well, as an ArviZ object; see :func:`mmppl.inference.to_arviz`."""
        from mmppl.inference.posterior.to_arviz import convert

        return convert(self, num_predictive=num_predictive, num_prior=num_prior)


def _of(rows: np.ndarray, number: int) -> str:
    shown = ", ".join(map(str, rows[:5])) + (" …" if len(rows) > 5 else "")
    return f"{len(rows)} of {number} data (rows {shown})"
