"""Parts that the systems share: nets for every modality, likelihoods, and the making of a program."""

import inspect
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields as fields_of
from dataclasses import is_dataclass, replace
from math import prod
from typing import Any

from mmppl.aggregation.pooled import EMPTY
from mmppl.batch import Modality
from mmppl.by_value import fixed
from mmppl.checks import Range, above, at_least, check, kind_of, one_of, within
from mmppl.covariates import check_covariates
from mmppl.errors import ModalityError, OptionError
from mmppl.inference.host import PPL, check_ppl
from mmppl.inference.shipped import functions_in, mark_shipped
from mmppl.inference.training.program import Program
from mmppl.inference.training.recent import Recent
from mmppl.modality import KINDS
from mmppl.models.common.coders import NUMBERS, Coders
from mmppl.models.common.documented import SCORING, with_options
from mmppl.models.common.families import are_few_values
from mmppl.names import check_names
from mmppl.priors.score.conditioning import REPLACEMENTS

__all__ = ["autoencoders", "beta_schedule", "scored_as", "system", "usual_beta", "usual_rate", "weights"]

# Ranges of the options, which are called alike in all systems.
RANGES: dict[str, Range] = {
    **dict.fromkeys(("latent_dim", "private_dim", "local_dim", "message_dim", "hidden", "energy_hidden"), at_least(1)),
    **dict.fromkeys(("particles", "chains", "steps", "mixture", "components", "width", "depth"), at_least(1)),
    **dict.fromkeys(("private", "buffer", "refine", "random", "warmup", "seed"), at_least(0)),
    **dict.fromkeys(("beta", "alpha", "gamma", "guidance", "noise", "penalty"), at_least(0)),
    "strength": at_least(0),
    **dict.fromkeys(("step_size", "refine_step_size", "delta", "reduce", "local_beta"), above(0)),
    **dict.fromkeys(("p_conditional", "p_marginal", "p_single", "dropout"), within(0, 1)),
    **dict.fromkeys(("ema", "finetune", "alone"), within(0, 1, open_ends=")")),
    "share": within(0, 1, open_ends="()"),
    "replacement": one_of(REPLACEMENTS),
    "empty": one_of(EMPTY),
}
# The latent that all modalities share, and what systems have of each, behind its name and a dot.
LATENT = "z"
# Programs by how they were declared, but for the seed: what is compiled for one serves all.
DECLARED = Recent(8)
# Most elements of a vector that have noise in common where single ones are missing, and the number of its factors.
MOST_DEPENDENT, RANK = 1024, 32
# Steps of a warm-up where nothing is said.
WARM_UP = 400
PARTS = ("encoder", "decoder", "features", "message", "nexus", "private", "auxiliary", "draw", "w", "z")


def autoencoders(
    coders: Coders, latent_dim: int | Mapping[str, int], hidden: int, family: str | None
) -> dict[str, Any]:
    """Specs of an encoder and a decoder for each modality, under the names ``<modality>.encoder`` and ``.decoder``."""
    specs: dict[str, Any] = {}
    for name in coders.modalities:
        dim = latent_dim if isinstance(latent_dim, int) else latent_dim[name]
        specs |= coders.encoder_specs(name, dim, hidden, family) | coders.decoder_specs(name, dim, hidden)
    return specs


def beta_schedule(ppl: PPL, beta: float, warmup: int | None) -> Any:
    """Linear KL warm-up: beta, reached from 0 in ``warmup`` steps if there are any.

    None is for 400 steps, or a quarter of those of a fit where these are fewer.
    """
    if warmup is None:
        return ppl.WarmUp(WARM_UP, beta, share=0.25)
    return ppl.WarmUp(warmup, beta) if warmup else beta


def scored_as(modalities: Mapping[str, Modality], likelihood: Any, scale: Any, weight: Any) -> dict[str, Modality]:
    """The modalities with other likelihoods, scales and weights.

    Each is one value for all, or values by name of a modality or of a kind: a modality's own goes before its kind's.
    Tokens and categories are always categorical, whatever is said for all. A vector that lacks single elements, of
    which neither it nor ``likelihood`` says anything, gets a low-rank covariance.

    Raises:
        ModalityError: If a name or a likelihood is unknown or does not go with a modality, or a scale or weight is out
            of range.
    """
    out = {name: replace(m) for name, m in modalities.items()}  # each by its likelihood, be it the one of its kind
    for field, given in (("likelihood", likelihood), ("scale", scale), ("weight", weight)):
        # One value for all, of ids too where it can be theirs.
        common = not isinstance(given, Mapping)
        names = [n for n, m in out.items() if field != "likelihood" or not m.ids]
        values = dict.fromkeys(names, given) if common else given
        unknown = [name for name in values if name not in out and name not in KINDS]
        if unknown:
            raise ModalityError(
                f"Expected {field}= for modalities among {list(out)} or kinds among {list(KINDS)}; got {unknown}."
            )
        for name, modality in out.items():
            key = name if name in values else modality.kind
            if key not in values:
                continue
            try:
                out[name] = replace(modality, **{field: values[key]})
            except ModalityError as error:
                raise ModalityError(f"Modality '{name}': {error}") from None
    said = likelihood if isinstance(likelihood, Mapping) else out
    for name, modality in out.items():
        if modalities[name].unsaid and name not in said and modality.kind not in said:
            out[name] = _dependent(modality)
    return out


def _dependent(modality: Modality) -> Modality:
    """A vector that lacks single elements with noise that its elements have in common; anything else as it is.

    What is missing is then told by what is there beside it, more than a latent of all modalities holds: 30% of the
    values of six views are off by 0.45 deviations, 0.55 where elements are independent given the latent.
    """
    size = prod(modality.shape)
    few = modality.kind == "vector" and 1 < size <= MOST_DEPENDENT
    if not (few and modality.partial and modality.scale == "learned"):
        return modality
    return replace(modality, likelihood="low_rank_normal", rank=min(RANK, size // 2))


def usual_rate(modalities: Mapping[str, Modality], *, categories: bool = False) -> float:
    """Adam's learning rate where none is given: that of few standardised values is three times others'.

    At 1e-3 and noise of 0.05 linear-Gaussian conditional means are 0.4 deviations off after 2,000 steps, at 3e-3 0.18,
    and 0.08 after 4,000. Whether categories may be among few values is as in
    :func:`~mmppl.models.common.families.are_few_values`.
    """
    return 3e-3 if are_few_values(modalities, categories=categories) else 1e-3


def usual_beta(ppl: PPL, modalities: Mapping[str, Modality], beta: float) -> Any:
    """Beta where nothing is said of a warm-up: of tables of few numbers and categories it is reached by one.

    Of numbers, species and sex of penguins, some hundred rows, `mvae` told no more of each other after 4,000 steps than
    their means where beta was 1 from the first step on.
    """
    table = are_few_values(modalities, categories=True) and not are_few_values(modalities)
    return beta_schedule(ppl, beta, None) if table and beta else beta


def weights(modalities: Mapping[str, Modality]) -> dict[str, float]:
    """Factors on the log likelihoods, where they are not 1."""
    return {name: m.weight for name, m in modalities.items() if m.weight != 1.0}


def system(declare: Callable[..., Program]) -> Callable[..., Program]:
    """Makes a system of a declaration: checks its options and remembers how to make it again from another seed.

    A default that is a dataclass stands for options that systems share: each of its fields is an option of the system,
    with the default it has there, and is documented where the dataclass is.

    Every system takes, beside its own options, ``likelihood=``, ``scale=`` and ``weight=``: how modalities are scored
    where it is not as they say themselves, for all of them or by name or kind, as in
    ``likelihood={"rna": "negative_binomial", "counts": "poisson"}, scale="learned"``.
    """
    signature = inspect.signature(declare)
    shared: dict[str, Any] = {n: p.default for n, p in signature.parameters.items() if is_dataclass(p.default)}
    own_parameters = [q for name, p in signature.parameters.items() for q in _expanded(p)]
    mine = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default={}) for name in SCORING]
    known = [*(p.name for p in own_parameters), *SCORING]
    kinds = {p.name: kind_of(p.annotation) for p in own_parameters}

    def make(modalities: Mapping[str, Modality], *, ppl: PPL, seed: int = 0, **options: Any) -> Program:
        unknown = [name for name in options if name not in known]
        if unknown:
            own = [name for name in known if name not in ("modalities", "ppl", "seed")]
            raise OptionError(f"Unknown options {unknown} of '{declare.__name__}'; it has {own}.")
        for name, value in {**options, "seed": seed}.items():
            if name not in SCORING:
                check(name, value, kinds[name], RANGES.get(name), f"'{declare.__name__}'")
        check_ppl(ppl)
        if not isinstance(modalities, Mapping) or not all(isinstance(m, Modality) for m in modalities.values()):
            got = list(modalities.values()) if isinstance(modalities, Mapping) else modalities
            raise ModalityError(
                f"Expected modalities, a mapping of names to Modality(...); got {reprlib.repr(got)}. A data set has "
                "them, data.modalities; of arrays by name, rows, modalities = mmppl.data.batch_of(arrays)."
            )
        if not modalities:
            raise ModalityError(f"'{declare.__name__}' needs at least one modality; got none.")
        check_names(modalities)
        _apart(modalities)
        scored = scored_as(modalities, *(options.get(name, {}) for name in SCORING))
        covariates = check_covariates(options.get("covariates") or {}, modalities)
        if options.get("covariates") is not None:
            # As a run folder can hold them.
            options["covariates"] = {name: what.as_dict() for name, what in covariates.items()}
            _not_called(modalities, NUMBERS)
        own_options = {name: value for name, value in options.items() if name not in SCORING}
        for name, default in shared.items():
            taken = {
                field.name: own_options.pop(field.name) for field in fields_of(default) if field.name in own_options
            }
            own_options[name] = replace(default, **taken)
        program = declare(scored, ppl=ppl, seed=seed, **own_options)
        fields: dict[str, Any] = {
            "name": declare.__name__,
            "options": options,
            "covariates": covariates,
            "rebuild": lambda again, partial=(), **other: make(
                {n: m.as_partial() if n in partial else m for n, m in modalities.items()},
                ppl=ppl,
                seed=again,
                **{**options, **other},
            ),
        }
        _unmoved(program)
        made = replace(program, **fields)
        if not functions_in(options):
            stages = [fn for stage in made.stages for fn in (stage.model, stage.guide)]
            for fn in filter(None, (made.model, made.guide, *(made.bound or ()), *stages)):
                mark_shipped(fn)
        if ppl.host.TRAINS_IN_PLACE:
            return made
        declared = fixed((declare.__name__, ppl, tuple(scored.items()), options))
        try:
            twin = DECLARED.get(declared, lambda: made)
        except TypeError:  # networks and functions of a user's own are the same as themselves alone
            return made
        return replace(made, twin=twin)

    make.__name__, make.__qualname__ = declare.__name__, declare.__name__
    make.__doc__ = with_options(declare.__doc__, shared)
    make.__module__ = declare.__module__
    make.__wrapped__ = declare  # type: ignore[attr-defined]
    make.__signature__ = signature.replace(parameters=[*own_parameters, *mine])  # type: ignore[attr-defined]
    return make


def _not_called(names: Iterable[str], taken: str) -> None:
    """Refuses a modality that is called as the network of covariates."""
    for name in names:
        if name == taken or name.startswith(f"{taken}."):
            raise ModalityError(f"Expected modalities that are not called '{taken}'; got {name!r}. Rename it.")


def _apart(names: Iterable[str]) -> None:
    """Refuses names that systems have for what is theirs: the shared latent, and parts of another modality."""
    names = list(names)
    for name in names:
        ends = [name.removeprefix(f"{other}.").partition(".")[0] for other in names if name.startswith(f"{other}.")]
        taken = name == LATENT or any(end in PARTS for end in ends)
        if taken:
            raise ModalityError(
                f"Expected modalities that are not called as parts of the system, '{LATENT}' or another one's "
                f"{', '.join(PARTS)}; got {name!r}. Rename it."
            )


def _unmoved(program: Program) -> None:
    """Refuses a modality whose networks would be trained where a stage trains something else of a like name."""
    for name in program.modalities:
        for stage in program.stages:
            for part in stage.train:
                if f"{name}.".startswith(part):
                    raise ModalityError(
                        f"Expected modalities that are not called as parts of the system; got {name!r}, whose networks "
                        f"would be trained with '{part}'. Rename it."
                    )


def _expanded(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """The parameter, or one for each field of its default where that is a dataclass."""
    default = parameter.default
    if not is_dataclass(default):
        return [parameter]
    own = ((field.name, field.type) for field in fields_of(default))
    return [parameter.replace(name=n, default=getattr(default, n), annotation=kind) for n, kind in own]
