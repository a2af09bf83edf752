"""A program: a model and a guide that take a batch, and what it takes to fit them."""

import html
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np

from mmppl import display
from mmppl.batch import Batch, Modality
from mmppl.checks import above, at_least, checked, within
from mmppl.covariates import Covariate, as_known, check_covariates
from mmppl.data.arrays import observed, taken
from mmppl.errors import OptionError
from mmppl.inference.host import PPL, check_ppl
from mmppl.inference.objectives import Objective
from mmppl.inference.shipped import functions_in
from mmppl.inference.training.example import example
from mmppl.inference.training.recent import Recent
from mmppl.names import check_names

__all__ = ["Program", "Stage"]


@checked(
    share=above(0), ema=within(0, 1, open_ends=")"), learning_rate=at_least(0), momentum=within(0, 1, open_ends=")")
)
@dataclass(frozen=True)
class Stage:
    """A stage of training, of some parameters; the others stay as they are.

    Arguments:
        name: Its name in the record.
        share: Its share of the epochs.
        train: Beginnings of the names of the parameters that move; empty for all.
        objective: Its objective, if not the program's.
        model: Its model, if not the program's.
        guide: Its guide, if not the program's.
        encode: Frozen encoders: a host callable from a batch to one array ``(N, *)`` for each modality. The stage then
            sees these, computed once for all data, in place of the data.
        cache: False where ``encode`` is for ``initialize`` alone, and the stage sees the data.
        initialize: Computes parameter values from the encoded data, ``{name: array}``; they hold in this stage.
        ema: Decay of the averaged weights, if not the fit's.
        learning_rate: Factor on the learning rate.
        momentum: Adam's decay of the first moment.
        measure: A host callable from a batch, as the stage sees it, to numbers ``(N,)`` by name. Their means over the
            first 256 rows stand in the record of each epoch.

    Example:
        >>> stages = Stage("backbone", share=0.75), Stage("energy", share=0.25, train=("energy",))
        >>> [stage.train for stage in stages]
        [(), ('energy',)]
    """

    name: str = "joint"
    share: float = 1.0
    train: tuple[str, ...] = ()
    objective: Objective | None = None
    model: Callable[..., Any] | None = None
    guide: Callable[..., Any] | None = None
    encode: Callable[..., Any] | None = None
    cache: bool = True
    initialize: Callable[[Batch], Mapping[str, np.ndarray]] | None = None
    ema: float | None = None
    learning_rate: float = 1.0
    momentum: float = 0.9
    measure: Callable[..., Any] | None = None

    def declared_like(self, other: "Stage") -> bool:
        """Tells whether another stage is this one of the same program made again: its functions are called alike."""
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return all(a == b or _place(a) == _place(b) is not None for a, b in pairs)

    def trains(self, parameter: str) -> bool:
        """Tells whether a parameter is trained in this stage."""
        # One host knows a network by its name, the other by its arrays', which go on with a dot.
        return not self.train or f"{parameter}.".startswith(self.train)


@dataclass(frozen=True)
class Program:
    """A (model, guide) pair of host callables that take a batch.

    The model scores what is present; the guide answers from what is present. That is all a program must promise.

    A latent is private to a modality where its site is called as the modality, a dot and anything more; of two
    modalities that fit, ``a`` and ``a.b`` for ``a.b.w``, the longer one has it. Every other latent is shared. No site
    may have the name of a modality but the one that observes it.

    Arguments:
        model: Host callable of a :class:`~mmppl.batch.Batch`.
        guide: Host callable of a batch, drawing every latent of the model.
        objective: The default objective, of the same ``ppl``.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        modalities: What each modality is, by name; see :func:`~mmppl.names.check_names`.
        name: Name of the system; "custom" for a user-defined program.
        stages: How it is trained.
        options: The options it was made with, for the run folder.
        learning_rate: Adam's, where a fit is given none.
        kernel: How :func:`~mmppl.inference.to_arviz` samples posteriors by default; None for the guide's draws.
        density: Whether the guide has a density; one that draws encoders' exact codes has none.
        ode_density: Whether the model's density takes an integration for every draw, as a diffusion's does.
        bound: A model and a guide whose log weights are lower bounds of the log likelihood, where there are such.
        covariates: What the model and the guide read of ``batch.covariates``, by name: floats ``(N,)``, of a category
            one-hot codes ``(N, K)``. Batches must have them; others are not shown to the program.
        rebuild: Declares the program anew, from a seed for its initial weights and other options, or ``modalities``, by
            name.
        twin: A program of the same declaration but for the seed, whose callables stand for this one's where they are
            compiled; they differ in initial weights alone. None for no other.
        initial: The program whose networks have the initial weights; None for this one.
        compiled: What a host has compiled for this program, and uses again: a callable must do the same at every call,
            as for ``jax.jit``. Declare a program anew where what its callables read has changed.

    Raises:
        OptionError: If ``ppl`` is neither ``mmppl.numpyro`` nor ``mmppl.pyro``.
        ModalityError: If the name of a modality is refused.

    Example:
        >>> Stage(train=("energy",)).trains("energy.0.weight")
        True
    """

    model: Callable[..., Any]
    guide: Callable[..., Any]
    objective: Objective
    ppl: PPL
    modalities: Mapping[str, Modality]
    name: str = "custom"
    stages: tuple[Stage, ...] = (Stage(),)
    options: dict[str, Any] = field(default_factory=dict)
    learning_rate: float = 1e-3
    kernel: str | None = "hmc"
    density: bool = True
    ode_density: bool = False
    bound: tuple[Callable[..., Any], Callable[..., Any]] | None = None
    covariates: Mapping[str, Covariate] = field(default_factory=dict)
    rebuild: Callable[..., "Program"] | None = None
    twin: "Program | None" = field(default=None, repr=False, compare=False)
    initial: "Program | None" = field(default=None, repr=False, compare=False)
    compiled: Recent = field(default_factory=lambda: Recent(16), repr=False, compare=False)
    _fresh: Recent = field(default_factory=lambda: Recent(1), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_ppl(self.ppl)
        check_names(self.modalities)
        object.__setattr__(self, "covariates", check_covariates(self.covariates, self.modalities))

    def taken(self, data: Any) -> Batch:
        """Data where a batch is wanted, as a batch of numpy's arrays with the covariates of the program.

        Raises:
            ModalityError, DataError: As :func:`~mmppl.data.arrays.taken` and :func:`~mmppl.covariates.as_known`.
        """
        return as_known(taken(data, self.modalities), self.covariates)

    def observed(self, data: Any) -> Batch:
        """The same, of data in which something is observed, checked against what the modalities are.

        Raises:
            ModalityError, DataError: Also as :func:`~mmppl.data.arrays.observed`.
        """
        return as_known(observed(data, self.modalities), self.covariates)

    def __repr__(self) -> str:
        said = [f"{name}={value}" for name, value in self._plain_options()]
        lines = [f"modalities: {', '.join(self.modalities)}", f"objective: {self.objective!r}"]
        lines += [f"covariates: {', '.join(self.covariates)}"] if self.covariates else []
        lines += [f"options: {', '.join(said)}"] if said else []
        lines += [f"stages: {', '.join(s.name for s in self.stages)}"] if len(self.stages) > 1 else []
        return display.limited([f"Program '{self.name}' on {self._host()}", *(f"  {line}" for line in lines)])

    def _repr_html_(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self._plain_options())
        stages = [
            (s.name, f"{s.share:.0%}", ", ".join(s.train) or "all", repr(s.objective or self.objective))
            for s in self.stages
        ]
        about = [(n, repr(m)) for n, m in self.modalities.items()]
        about += [(n, repr(c)) for n, c in self.covariates.items()]
        return display.page(
            f"Program '{self.name}' on {self._host()}",
            f" <small>{html.escape(options)}</small>" if options else "",
            display.table(("modality or covariate" if self.covariates else "modality", "what it is"), about),
            self._sites(),
            display.table(("stage", "share of the epochs", "what is trained", "objective"), stages),
        )

    def _plain_options(self) -> list[tuple[str, str]]:
        shown = {name: display.brief(value) for name, value in self.options.items() if name != "covariates"}
        return [(name, display.limited([text])[:60]) for name, text in shown.items()]

    def _sites(self) -> str:
        """Table of the model's sites, with their sizes and what each depends on."""
        try:
            found = self.ppl.host.graph(self.model, example(self.modalities, covariates=self.covariates))
        except Exception:  # a model that needs more than modalities is shown without its sites
            return ""
        rows = [
            (n.name, "observed" if n.observed else "latent", n.family, " x ".join(n.shape) or "1", ", ".join(n.parents))
            for n in found
        ]
        return display.table(("site", "", "distribution", "size", "depends on"), rows)

    def _host(self) -> str:
        return str(getattr(self.ppl.host, "NAME", type(self.ppl.host).__name__))

    def need_density(self, instead: str = "") -> None:
        """Raises :class:`OptionError` if the guide has no density; ``instead`` says what else would do."""
        if not self.density:
            raise OptionError(
                f"'{self.name}' has deterministic encoders, so its guide has no density to weigh draws by. Fit it with "
                f"autoencoder='vae'{instead}."
            )

    def need_chains(self) -> None:
        """Raises :class:`OptionError` if the latents are the data themselves, which chains need not look for."""
        if self.bound is not None:
            raise OptionError(
                f"Expected latents that data do not say themselves, for chains; got '{self.name}', which diffuses data "
                "in their own space. Draw what is missing by generate(fitted, given), or take method='guide'."
            )

    def check_options_can_be_saved(self) -> None:
        """Raises :class:`OptionError` if a run folder cannot hold the options."""
        live = functions_in(self.options)
        if live:
            raise OptionError(f"Expected options that a run folder can hold; got functions for {live}. Omit out=.")

    def about(self) -> dict[str, Any]:
        """Entries of a run folder that say what the program is."""
        return {
            "model": self.name,
            "options": self.options,
            "modalities": {name: modality.as_dict() for name, modality in self.modalities.items()},
            "backend": self.ppl.host.NAME,
        }

    def fresh(self, seed: int) -> "Program":
        """The same program with initial weights drawn from ``seed``, if it is known how to make it.

        Where training leaves networks as they are, what is compiled serves every seed: the callables are those of the
        first program that was declared so, or else of the last seed, and the initial weights those of this one.
        """
        rebuild = self.rebuild
        if rebuild is None:
            return self
        if self.ppl.host.TRAINS_IN_PLACE:
            return rebuild(seed)
        made = self._fresh.get(seed, lambda: rebuild(seed))
        if made.twin is None:
            return made
        reused = {name: getattr(made.twin, name) for name in ("model", "guide", "bound", "stages", "compiled")}
        return replace(made, **reused, initial=made)

    def own(self, stage: Stage) -> Stage:
        """The stage of this program that is declared as one of another is, and else that one itself."""
        return next((mine for mine in self.stages if mine.declared_like(stage)), stage)

    def for_elements_of(self, data: Batch) -> "Program":
        """The same program for data that lack single elements, if it is known how to make it: encoders see which."""
        return self.for_partial([n for n, m in self.modalities.items() if n in data.values and _lacks(data, n)])

    def for_partial(self, names: Iterable[str]) -> "Program":
        """The same program for modalities of which single elements are missing, if it is known how to make it."""
        partly = [n for n in names if not self.modalities[n].partial]
        if self.rebuild is None or not partly:
            return self
        return self.rebuild(0, partial=partly)

    def with_objective(self, objective: Objective) -> "Program":
        """The same program with another objective, except in stages that have one of their own."""
        rebuild = self.rebuild
        again = None if rebuild is None else lambda seed, **options: rebuild(seed, **options).with_objective(objective)
        return replace(self, objective=objective, rebuild=again)


def _place(function: Any) -> tuple[str, str] | None:
    """Place in the source of a function, whatever of its arguments is given already; None for anything else."""
    while isinstance(function, partial):
        function = function.func
    name = getattr(function, "__qualname__", None)
    return None if name is None else (getattr(function, "__module__", ""), name)


def _lacks(data: Batch, name: str) -> bool:
    """Tells whether a row has a modality without some of its elements."""
    return bool((np.asarray(data.present[name]) & ~np.asarray(data.whole(name))).any())
