"""Data sets as ``load`` returns them: named modalities, a training and a test batch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmppl import display
from mmppl.batch import Batch, Modality
from mmppl.covariates import Covariate
from mmppl.data.captions import Vocabulary
from mmppl.data.kinds import kinds_rows
from mmppl.errors import DataError

if TYPE_CHECKING:
    from mmppl.data.labelled_mixture import LabelledMixture
    from mmppl.data.linear_gaussian import LinearGaussian
    from mmppl.data.mixture_views import MixtureViews
    from mmppl.data.source import Source

__all__ = ["Dataset", "laplace"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set: what its modalities are, and its tuples in two splits.

    Arguments:
        name: Name of the data set, or the stem of the file it was read from.
        modalities: :class:`mmppl.batch.Modality` by name; iterating over it yields the names.
        train: Training tuples, ``N_train`` rows; a source of them where they stay on the disk.
        test: Test tuples, ``N_test`` rows; no instance stands in both.
        truth: The generating model where it is known exactly (``linear_gaussian``, ``labelled_mixture``,
            ``mixture_views``), else None.
        published: The modalities as the published protocols score them, with fixed scales, where there are such
            protocols; as ``modalities`` else. Those are calibrated.
        vocabulary: The words of token ids where a modality is of words (``cub``, folders of pictures), else None.
        rows: All rows in the order of the table or file that they were read from, where they were.
        source: Names and types there, by which values go back, see :class:`~mmppl.data.source.Source`.
        covariates: What is known of every row and not modelled, by name, see :class:`~mmppl.covariates.Covariate`: what
            a system is given to condition on it. The values are those of the batches.

    Example:
        >>> from mmppl.data import load
        >>> data = load("linear_gaussian", latent_dim=2, dims={"a": 3, "b": 1}, num_train=10, num_test=5)
        >>> list(data.modalities), len(data.train), len(data.test), data.train["a"].shape
        (['a', 'b'], 10, 5, (10, 3))
    """

    name: str
    modalities: dict[str, Modality]
    train: Any
    test: Batch
    truth: "LinearGaussian | LabelledMixture | MixtureViews | None" = None
    vocabulary: Vocabulary | None = None
    rows: Batch | None = None
    source: "Source | None" = None
    published: dict[str, Modality] = field(default_factory=dict)
    covariates: dict[str, Covariate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "published", {**self.modalities, **self.published})

    def __repr__(self) -> str:
        lines = display.columns(kinds_rows(self.modalities, self._whole()))
        return display.limited([self._title(), *(f"  {line}" for line in (*lines, *self.covariate_lines()))])

    def _repr_html_(self) -> str:
        whole = self._whole()
        header, *rows = kinds_rows(self.modalities, whole)
        pictures = [display.thumbnails(whole[name], whole.present[name]) for name in self.modalities]
        shown = [(*row, ("html", picture)) for row, picture in zip(rows, pictures, strict=True)]
        known = [(line,) for line in self.covariate_lines()]
        tables = display.table((*header, ""), shown), *([display.table(("covariates",), known)] if known else [])
        return display.page(self._title(), *tables)

    def covariate_lines(self) -> list[str]:
        """A line for each covariate: its kind and classes."""
        return [f"covariate {n}: {c.kind}{_named(c.names)}" for n, c in self.covariates.items()]

    def _title(self) -> str:
        return f"Dataset '{self.name}': {len(self.train)} training rows, {len(self.test)} test rows"

    def _whole(self) -> Batch:
        """The rows that its table is of."""
        return self.rows if self.rows is not None else self.train if len(self.train) else self.test

    @classmethod
    def of_rows(
        cls,
        name: str,
        modalities: dict[str, Modality],
        rows: Batch,
        seed: int,
        source: "Source | None" = None,
        *,
        split: bool = True,
        covariates: dict[str, Covariate] | None = None,
    ) -> "Dataset":
        """A data set of rows, four fifths of which are for training, by a seed; without a split all are for testing.

        Raises:
            DataError: If there are fewer than two rows.
        """
        train, test = split_rows(len(rows), seed) if split else (np.arange(0), np.arange(len(rows)))
        known = dict(covariates or {})
        return cls(name, modalities, rows[train], rows[test], rows=rows, source=source, covariates=known)


def _named(names: tuple[str, ...] | None) -> str:
    return "" if names is None else f" of {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"


def laplace(modalities: Mapping[str, Modality]) -> dict[str, Modality]:
    """The modalities with images scored by Laplace densities of scale 0.75, as the field's protocols do since MMVAE."""
    return {
        name: replace(m, likelihood="laplace", scale=0.75) if m.kind == "image" and m.likelihood != "bernoulli" else m
        for name, m in modalities.items()
    }


def split_rows(num: int, seed: int, share: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of a seeded split: those of the training part, then of the test part (``share`` of all rows).

    Raises:
        DataError: If there are fewer than two rows.
    """
    if num < 2:
        raise DataError(
            f"Expected at least 2 rows, to split them into train and test; got {num}. Rows for a fitted program are "
            "read without a split where modalities= are those of the program."
        )
    order = np.random.default_rng(seed).permutation(num)
    held = max(1, round(share * num))
    return order[held:], order[:held]
