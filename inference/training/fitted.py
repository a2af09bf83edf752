"""A program with its weights."""

import html
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from mmppl import display
from mmppl.errors import OptionError
from mmppl.inference.posterior.site_densities import Places
from mmppl.inference.training.example import example
from mmppl.inference.training.history import History
from mmppl.inference.training.program import Program
from mmppl.inference.training.run_folder import Run
from mmppl.inference.training.run_info import RunInfo

__all__ = ["Fitted"]


@dataclass(frozen=True)
class Fitted:
    """A program with its weights: what :func:`~mmppl.inference.fit` returns.

    Arguments:
        program: The program.
        weights: Parameters by public name, host-neutral numpy arrays.
        history: A record for each epoch: loss, log-likelihood of each modality, KL; a table as well.
        label: A label of the data it was fitted to, ``(1,)``, where they have any: a program that reads labels may have
            parameters that it does not have without.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import models
        >>> from mmppl.data import load
        >>> from mmppl.inference import fit
        >>> data = load("linear_gaussian", num_train=64, num_test=8)
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> fitted = fit(program, data.train, epochs=1, seed=0, progress=False)
        >>> fitted
        Fitted 'mvae' on pyro: 852 weights
          modalities: a, b, c
          1 epochs: loss 81.42 to 81.42 nats
    """

    program: Program
    weights: Mapping[str, np.ndarray]
    history: History = field(default_factory=History)
    label: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.program, Program) or not isinstance(self.weights, Mapping):
            got = type(self.program).__name__, type(self.weights).__name__
            raise OptionError(f"Expected a program and weights, arrays by name; got a {got[0]} and a {got[1]}.")
        object.__setattr__(self, "history", History(self.history))

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise OptionError(
            "Expected Fitted.save(path) and mmppl.load(path) to keep or send a fit; got copy or pickle, which take "
            "no functions, such as those of its program."
        )

    def __repr__(self) -> str:
        return display.limited([self._title(), *(f"  {line}" for line in self._said())])

    def _repr_html_(self) -> str:
        bad = "".join(f'<div class="bad">{html.escape(line)}</div>' for line in self._bad())
        rows = [(name, count) for name, count in self._sizes().items()]
        sizes = display.table(("weights", "numbers"), rows)
        return display.page(self._title(), bad, self.history._repr_html_() if self.history else "", sizes)

    def _title(self) -> str:
        where = str(getattr(self.program.ppl.host, "NAME", ""))
        return f"Fitted '{self.program.name}' on {where}: {sum(self._sizes().values()):,} weights"

    def _said(self) -> list[str]:
        lines = [f"modalities: {', '.join(self.program.modalities)}"]
        lines += [f"{len(self.history)} epochs: {self.history.losses()}"] if self.history else ["no record of a fit"]
        return [*(f"! {line}" for line in self._bad()), *lines]

    def _bad(self) -> list[str]:
        """Warnings about the fit, as far as its record tells."""
        losses = self.history.table().get("loss", np.zeros(0)) if self.history else np.zeros(0)
        held = self.history.table().get("validation.loss") if self.history else None
        out = [] if np.isfinite(losses).all() else ["A loss is not finite."]
        if held is not None and np.isfinite(held).any() and len(held) - 1 > np.nanargmin(held):
            best = int(np.nanargmin(held))
            if held[-1] > held[best] + 0.05 * abs(held[best]):
                out.append(
                    f"The held-out loss was lowest in epoch {self.history[best]['epoch']}: pass early_stopping=."
                )
        return out

    def _sizes(self) -> dict[str, int]:
        """Numbers of weights by network: what stands before the second dot, or the name."""
        sizes: dict[str, int] = {}
        for name, value in self.weights.items():
            key = ".".join(name.split(".")[:2])
            sizes[key] = sizes.get(key, 0) + int(np.size(value))
        return sizes

    @cached_property
    def _bound(self) -> tuple[Callable, Callable]:
        batch = example(self.program.modalities, covariates=self.program.covariates)
        label = None if self.label is None else np.repeat(self.label, len(batch), axis=0)
        return self.program.ppl.host.bind(self.program, self.weights, batch.with_label(label))

    @property
    def model(self) -> Callable:
        """The host's model with these weights, to be used with any tool of the host."""
        return self._bound[0]

    @property
    def guide(self) -> Callable:
        """The host's guide with these weights."""
        return self._bound[1]

    @cached_property
    def places(self) -> Places:
        """Places of the latents of the model."""
        return self.program.ppl.host.places(
            self.model, example(self.program.modalities, covariates=self.program.covariates)
        )

    @property
    def outside(self) -> tuple[str, ...]:
        """Names of the latents that lie outside the plate of the data, such as global ones."""
        return self.places.outside

    @property
    def latents(self) -> tuple[str, ...]:
        """Names of the latents of the model, without a guide's auxiliary sites."""
        return (*self.places.rows, *self.places.outside)

    def rows_alone(self, what: str) -> None:
        """Raises :class:`OptionError` if latents outside the plate of the data tie the rows together."""
        if self.outside:
            raise OptionError(
                f"{what} takes each datum by itself, but latents {list(self.outside)} outside the plate of the data "
                "tie them together. Take method='nuts', 'mala' or 'psis'."
            )

    def save(self, path: str | os.PathLike, *, force: bool = False) -> None:
        """Writes a run folder, from which :func:`mmppl.load` reads this back.

        Arguments:
            path: The folder.
            force: Whether to replace a run folder that is there; only what mmppl wrote is.

        Raises:
            RunError: If the folder exists, is being written by another process, or cannot be written.
            OptionError: If the system was declared with options that cannot be written, such as functions.
        """
        program = self.program
        program.check_options_can_be_saved()
        label = None if self.label is None else np.asarray(self.label).tolist()
        about = RunInfo(**program.about(), seed=0, label=label)
        run = Run(path)
        with run.writing():
            run.create(about, force=force)
            for line in self.history:
                run.log(line)
            run.save_weights(self.weights, len(self.history))

    def with_options(self, **options: Any) -> "Fitted":
        """The same weights in the program made anew with other options, such as another solver of a score.

        Raises:
            OptionError: If it is a user-defined program, or an option is unknown.
        """
        if self.program.rebuild is None:
            raise OptionError(
                "Expected a program of mmppl.models; got a user-defined one. Declare it with other options."
            )
        return replace(self, program=self.program.rebuild(0, **options))
