"""Coverage of every modality given every subset of the others: nominal against real."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from mmppl import display
from mmppl.batch import Batch
from mmppl.diagnostics.calibration import Coverage, coverage
from mmppl.diagnostics.report.coverage_figure import draw_coverage
from mmppl.inference import Fitted
from mmppl.names import checked_subsets

__all__ = ["CoverageBySubset", "coverage_by_subset", "subsets_to_measure"]

# Levels that its table shows.
SHOWN = (0.5, 0.8, 0.95)
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
MOST = 4  # modalities of which every subset is evaluated


@dataclass(frozen=True, repr=False)
class CoverageBySubset(display.Tabled):
    """Coverage by subset that is given; in a notebook, :meth:`plot` shows it.

    Arguments:
        found: Coverage of the modalities that are not given, by subset; the empty one is the prior.
    """

    found: Mapping[tuple[str, ...], Coverage]

    def _title(self) -> str:
        return f"Coverage of central sets: {self.miss:.2f} off in the mean"

    def _rows(self) -> list[tuple[str, ...]]:
        """Modality, what is given, and the share of values inside by level, below their header."""
        levels = next(iter(self.found.values())).levels if self.found else np.zeros(0)
        few = [i for i, level in enumerate(levels) if round(float(level), 2) in SHOWN] or list(range(len(levels)))
        rows = [("modality", "given", *(f"{levels[i]:.0%} sets" for i in few))]
        for given, c in self.found.items():
            rows += [
                (name, ", ".join(given) or "nothing", *(f"{share[i]:.2f} ± {c.error[name][i]:.2f}" for i in few))
                for name, share in c.share.items()
            ]
        return rows

    @property
    def miss(self) -> float:
        """Mean distance of share and level, over levels, modalities and subsets: 0 where all is as it says."""
        each = [np.abs(c.share[name] - c.levels).mean() for c in self.found.values() for name in c.share]
        return float(np.mean(each)) if each else float("nan")

    def worst(self, number: int = 3) -> list[tuple[tuple[str, ...], str, float]]:
        """Subsets and modalities that are off by more than a margin and chance allow, the farthest first.

        Each with the mean of share less level: negative where the program is too sure.
        """
        return [(given, name, miss) for given, name, miss, *_ in self.farthest(number)]

    def farthest(self, number: int = 3) -> list[tuple[tuple[str, ...], str, float, float, float, float]]:
        """The same with the level at which each is farthest off, the share inside there, and its standard error."""
        off = [
            (given, name, float((c.share[name] - c.levels).mean()), *c.farthest(name))
            for given, c in self.found.items()
            for name in c.off()
        ]
        return sorted(off, key=lambda row: -(abs(row[4] - row[3]) - 2 * row[5]))[:number]

    def plot(self) -> Any:
        """A matplotlib figure: a panel for each modality, a line for each subset, real against nominal coverage."""
        return draw_coverage(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        parts = {
            "+".join(given): {
                "share": {n: [float(v) for v in x] for n, x in c.share.items()},
                "error": {n: [float(v) for v in x] for n, x in c.error.items()},
                "pit": {n: [int(v) for v in x] for n, x in c.pit.items()},
            }
            for given, c in self.found.items()
        }
        levels = next(iter(self.found.values())).levels
        return {"levels": [float(v) for v in levels], "subsets": parts, "miss": self.miss}


def subsets_to_measure(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Subsets that leave something to predict, the empty one first.

    All of them for at most four modalities; of more, the empty one, each alone, and all but one.

    Example:
        >>> subsets_to_measure(["a", "b"])
        [(), ('a',), ('b',)]
        >>> len(subsets_to_measure("abcde"))
        11
    """
    names = list(names)
    sizes = range(len(names)) if len(names) <= MOST else (0, 1, len(names) - 1)
    return [subset for size in sizes for subset in combinations(names, size)]


def coverage_by_subset(
    fitted: Fitted,
    data: Batch | Mapping[str, Any],
    *,
    subsets: Sequence[Sequence[str]] | None = None,
    num: int = 100,
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
) -> CoverageBySubset:
    r"""Coverage of each modality given each subset of the others.

    For a subset S and a modality m outside of it, how often values fall into the central sets of
    :math:`p(x_m \mid x_S)`, as :func:`~mmppl.diagnostics.coverage` counts.

    Arguments:
        fitted: A fitted program.
        data: Data that were held out; a modality is evaluated on rows that have it and all of S.
        subsets: Each S; None for those of :func:`subsets_to_measure`.
        num: Draws for each datum.
        levels: Levels of the central sets.
        seed: Random seed.

    Raises:
        ModalityError, DataError: If the data do not fit the program, or a subset names an unknown modality.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import models
        >>> from mmppl.data import load
        >>> from mmppl.inference import fit
        >>> data = load("linear_gaussian")
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> fitted = fit(program, data.train[:256], epochs=1, progress=False)
        >>> list(coverage_by_subset(fitted, data.test[:20], num=10, subsets=[(), ("a", "b")]).found)
        [(), ('a', 'b')]
    """
    data = fitted.program.taken(data)
    wanted = subsets_to_measure(data.modalities) if subsets is None else checked_subsets(subsets)
    found = {s: coverage(fitted, data, num=num, levels=levels, given=s, seed=seed) for s in wanted}
    return CoverageBySubset({s: c for s, c in found.items() if c.share})
