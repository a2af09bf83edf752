"""Modalities: the shape of one datum, its kind, and how it is scored."""

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral, Real
from typing import Any

import numpy as np

from mmppl import display
from mmppl.coordinates import checked_coordinates, checked_units
from mmppl.errors import ModalityError
from mmppl.likelihoods import LIKELIHOODS, Likelihood

__all__ = ["KINDS", "Modality"]

KINDS = ("vector", "image", "tokens", "category", "counts")
AXES = {"image": 3, "tokens": 1, "category": 0}
SCALES = ("learned", "heteroscedastic")
RANK = 8
# Likelihood and scale of each kind, where nothing else is said.
CALIBRATED: dict[str, tuple[str, float | str]] = {
    "vector": ("normal", "learned"),
    "image": ("discretized_logistic", "learned"),
    "tokens": ("categorical", 1.0),
    "category": ("categorical", 1.0),
    "counts": ("negative_binomial", "learned"),
}


@dataclass(frozen=True)
class Modality:
    r"""A modality: the shape of one datum, its kind, and how it is scored.

    With :math:`o` the output of a decoder and s the scale, a value x has the likelihood

    * ``"normal"`` :math:`\mathcal{N}(x; o, s^2)`, ``"laplace"`` :math:`\mathrm{Laplace}(x; o, s)`;
    * ``"discretized_logistic"``, of values in [0, 1]: the mass that a logistic density with location o and scale s has
      about the nearest of 256 levels, tails going to the ends; see :mod:`mmppl.likelihoods.discretized_logistic`;
    * ``"discretized_logistic_mixture"``, a mixture of five of these for each value, whose weights, locations and scales
      the decoder gives; see :mod:`mmppl.likelihoods.logistic_mixture`;
    * ``"low_rank_normal"`` :math:`\mathcal{N}(x; o, \operatorname{diag}(s^2) + F^\top F)` with ``rank`` factors F, for
      noise that values have in common, so that single ones which are missing are drawn given those that are there;
      ``"low_rank_logit_normal"``, the same of the logits of values in [0, 1]; see :mod:`mmppl.likelihoods.low_rank`;
    * ``"bernoulli"`` with logit o, of values in [0, 1];
    * ``"beta"`` :math:`\mathrm{Beta}(x; s\mu, s(1 - \mu))` with :math:`\mu = \operatorname{sigmoid}(o)`, of values
      inside (0, 1);
    * ``"poisson"`` with rate :math:`e^o`, ``"negative_binomial"`` with mean :math:`\mu = e^o` and variance
      :math:`\mu + \mu^2 / s`, of counts;
    * ``"zero_inflated_poisson"`` and ``"zero_inflated_negative_binomial"``, the same with probability
      :math:`1 - \operatorname{sigmoid}(o')`, and 0 otherwise;
    * ``"categorical"`` with logits o, of tokens and categories and of nothing else.

    Arguments:
        shape: Event shape of one datum: ``(D,)`` for vectors and counts, ``(C, H, W)`` for images, ``(L,)`` for token
            texts, ``()`` for single numbers and categories.
        kind: ``"vector"``, ``"image"`` (floats in [0, 1], channels first), ``"tokens"`` (integer ids), ``"category"``
            (one integer, which of several classes) or ``"counts"`` (0, 1, 2, ..., as integers or as floats).
        vocabulary: Number of token ids, for tokens.
        likelihood: One of the above; tokens and categories are always categorical. None for that of the kind:
            ``"normal"`` of vectors, ``"discretized_logistic"`` of images, ``"negative_binomial"`` of counts.
        scale: s, in data units where o is. ``"learned"`` for a parameter of the decoder, one for each channel of an
            image and for each coordinate of a vector; ``"heteroscedastic"`` for one that the decoder gives to each
            value, which explains away what is hard to say of a picture, such as the shape in it. Factors are learned,
            or given, as the scale is. None for ``"heteroscedastic"`` where a likelihood has factors, else
            ``"learned"``.
        weight: Factor on the log-likelihood in training objectives (1 is the likelihood itself).
        padding: The token id that stands where a text has ended. Such places are not scored: the text's length is
            given, and a draw has tokens everywhere. None scores it like any other token.
        categories: Number K of classes, for a category: its values are 0, ..., K - 1.
        names: Names of the classes, in their order, where they have any; they say how many there are.
        rank: Number of the factors F, of a likelihood that has them, one a value at most; None for 8 at most.
        partial: Whether single elements may be missing. Encoders then see beside the values which of them there are,
            and systems give a vector whose likelihood nobody has said a ``"low_rank_normal"`` one with a learned scale.
        coordinates: Names of the coordinates of a vector, or of counts, ``(D,)``, such as those of the columns of a
            table or genes: they stand where values are shown, in ArviZ too, and are held against later data.
        units: The unit of all values, or of each coordinate, of numbers: a text that is shown, and ``""`` for none.

    Raises:
        ModalityError: If the kind or likelihood is unknown or does not go with the other, the shape is not one of whole
            numbers >= 1 with as many axes as the kind has, tokens come without a vocabulary or other kinds with one,
            categories without their number or with other names than that, a scale or weight is out of range or no
            number, padding is no token id, or coordinates or units are not as many texts, or names of two are equal.

    Example:
        >>> Modality((1, 16, 16), kind="image").shape
        (1, 16, 16)
        >>> Modality((2000,), likelihood="negative_binomial", scale="learned").scoring.values
        'counts'
        >>> Modality((), kind="category", names=("cat", "dog")).categories
        2
        >>> Modality((2,), coordinates=("length", "depth"), units="mm")
        Modality((2,), likelihood='normal', scale='learned', coordinates=('length', 'depth'), units='mm')
    """

    shape: tuple[int, ...]
    kind: str = "vector"
    vocabulary: int | None = None
    likelihood: str | None = None
    scale: float | str | None = None
    weight: float = 1.0
    padding: int | None = None
    categories: int | None = None
    names: tuple[str, ...] | None = None
    rank: int | None = None
    partial: bool = False
    coordinates: tuple[str, ...] | None = None
    units: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in KINDS:
            raise ModalityError(f"Expected a kind among {KINDS}; got {self.kind!r}.")
        object.__setattr__(self, "shape", _shape(self.shape, self.kind))
        _name_classes(self)
        _check_vocabulary(self)
        usual, scale = CALIBRATED[self.kind]
        object.__setattr__(self, "_unsaid", self.likelihood is None)
        if self.likelihood is None:
            object.__setattr__(self, "likelihood", usual)
        if not isinstance(self.likelihood, str) or self.likelihood not in LIKELIHOODS:
            raise ModalityError(f"Expected a likelihood among {', '.join(LIKELIHOODS)}; got {self.likelihood!r}.")
        if self.scale is None:
            own = "heteroscedastic" if self.scoring.factors else "learned"
            object.__setattr__(self, "scale", scale if self.likelihood == usual else own)
        _check_likelihood(self)
        _check_factors(self)
        _check_elements(self)
        object.__setattr__(self, "coordinates", checked_coordinates(self.coordinates, self.shape, self.kind))
        object.__setattr__(self, "units", checked_units(self.units, self.shape, self.kind))
        # As Python's own numbers, which a run folder can hold.
        plain = {"vocabulary": int, "padding": int, "scale": float, "weight": float, "categories": int, "rank": int}
        for name, kind in plain.items():
            value = getattr(self, name)
            if _number(value):
                object.__setattr__(self, name, kind(value))

    def __repr__(self) -> str:
        said = [
            f"{f.name}={_brief(getattr(self, f.name))}" for f in fields(self)[1:] if getattr(self, f.name) != f.default
        ]
        return f"Modality({', '.join([repr(self.shape), *said])})"

    def _repr_html_(self) -> str:
        said = [(f.name, _brief(getattr(self, f.name))) for f in fields(self) if getattr(self, f.name) != f.default]
        return display.page("Modality", display.table(("", ""), said))

    @property
    def ids(self) -> int | None:
        """Number of values of an element where they are the ids of tokens or classes; None for numbers."""
        return {"tokens": self.vocabulary, "category": self.categories}.get(self.kind)

    @property
    def scoring(self) -> Likelihood:
        """Requirements of its likelihood."""
        return LIKELIHOODS["categorical" if self.ids else str(self.likelihood)]

    @property
    def unsaid(self) -> bool:
        """Tells whether its likelihood is its kind's as none was given.

        Systems give every modality its likelihood; a user-defined program may score values by one of its own.
        """
        return bool(getattr(self, "_unsaid", False))

    def as_partial(self) -> "Modality":
        """The same, of which single elements may be missing; a likelihood that was not given is not given then either.

        Example:
            >>> Modality((3,)).as_partial()
            Modality((3,), likelihood='normal', scale='learned', partial=True)
        """
        return self.but(partial=True)

    def but(self, **fields: Any) -> "Modality":
        """The same with other fields; a likelihood that was not given is not given then either.

        Example:
            >>> Modality((2,)).but(units="mm").unsaid
            True
        """
        return replace(self, **{"likelihood": None if self.unsaid else self.likelihood, **fields})

    @property
    def dtype(self) -> np.dtype:
        """Type of its data where nothing else is said: int64 for ids and for counts of that kind, else float32."""
        return np.dtype(np.int64 if self.kind in ("tokens", "category", "counts") else np.float32)

    def typed(self, draws: np.ndarray, mean: bool = False) -> np.ndarray:
        """Draws as data: ids and counts as int64, numbers as floats in the precision that they were drawn in.

        A host draws counts, say, as integers or as floats, as it likes, and data never say what draws of them are. Of a
        vector that is scored as counts they are floats, as its data are. Means of counts are floats.

        Example:
            >>> Modality((2,), likelihood="poisson").typed(np.array([[3, 0]], np.int32)).dtype
            dtype('float32')
        """
        floats = np.issubdtype(draws.dtype, np.floating) and (mean or self.kind != "counts") and not self.ids
        return draws if floats else draws.astype(self.dtype, copy=False)

    def as_dict(self) -> dict[str, Any]:
        """Its fields as JSON can hold them; ``Modality(**m.as_dict()) == m``."""
        return {name: list(x) if isinstance(x, tuple) else x for name, x in asdict(self).items()}

    @property
    def learns_scale(self) -> bool:
        """Tells whether its decoder gives a scale beside its output."""
        return self.scale in SCALES and self.scoring.scaled

    @property
    def heteroscedastic(self) -> bool:
        """Tells whether its decoder gives each value a scale of its own."""
        return self.scale == "heteroscedastic" and self.scoring.scaled

    @property
    def scale_shape(self) -> tuple[int, ...]:
        """Shape of what is measured once for each coordinate of a vector and each channel of an image."""
        return (self.shape[0], 1, 1) if self.kind == "image" else self.shape


def _check_vocabulary(modality: Modality) -> None:
    """Checks that tokens have a number of ids, and nothing else has one."""
    number = modality.vocabulary
    if modality.kind == "tokens" and not (_whole(number) and number >= 1):  # type: ignore[operator]
        raise ModalityError(
            "A modality of kind 'tokens' needs vocabulary=, the number of token ids, a whole number >= 1; got "
            f"{number!r}."
        )
    if modality.kind != "tokens" and number is not None:
        raise ModalityError(f"Expected kind 'tokens' with vocabulary={number!r}; got '{modality.kind}'.")


def _check_likelihood(modality: Modality) -> None:
    """Checks that the kind can be scored by the likelihood and its scale."""
    if modality.likelihood == "categorical" and not modality.ids:
        raise ModalityError(
            f"Expected kind 'tokens' or 'category' for a categorical likelihood; got '{modality.kind}'."
        )
    if modality.kind == "category" and modality.likelihood != "categorical":
        raise ModalityError(f"Expected likelihood 'categorical' for kind 'category'; got '{modality.likelihood}'.")
    if modality.kind == "counts" and modality.scoring.values != "counts":
        raise ModalityError(
            f"Expected a likelihood of counts for kind 'counts', such as 'poisson'; got '{modality.likelihood}'. Take "
            "kind 'vector' to score counts as numbers."
        )
    named = isinstance(modality.scale, str) and modality.scale in SCALES
    if not (named or (_number(modality.scale) and 0 < modality.scale < float("inf"))):  # type: ignore[operator]
        raise ModalityError(f"Expected a scale > 0, 'learned' or 'heteroscedastic'; got {modality.scale!r}.")
    if modality.heteroscedastic and (modality.scoring.outputs > 1 or not modality.shape):
        raise ModalityError(
            f"Expected scale='learned' or a number for '{modality.likelihood}' of shape {modality.shape}; got "
            "'heteroscedastic', which takes one output for each value and an event with an axis."
        )


def _check_elements(modality: Modality) -> None:
    """Checks the weight, the padding, and whether an event can have such outputs or lack single elements."""
    if not (_number(modality.weight) and 0 <= modality.weight < float("inf")):
        raise ModalityError(f"Expected a weight >= 0; got {modality.weight!r}.")
    if modality.padding is not None and not (
        _whole(modality.padding) and 0 <= modality.padding < (modality.vocabulary or 0)
    ):
        raise ModalityError(
            f"Expected padding to be a token id in [0, {modality.vocabulary or 0}), of a modality of kind 'tokens'; "
            f"got {modality.padding!r}."
        )
    if modality.padding is not None and modality.vocabulary == 1:
        raise ModalityError("Expected a vocabulary of at least 2 with padding; got 1, so that nothing is scored.")
    if modality.scoring.outputs > 1 and not modality.shape:
        raise ModalityError(f"Expected an event shape with an axis for '{modality.likelihood}'; got (). Use (1,).")
    if not isinstance(modality.partial, bool) or modality.partial and not modality.shape:
        raise ModalityError(
            f"Expected partial True or False, and False for a single number or category; got {modality.partial!r} for "
            f"shape {modality.shape}. What lacks its only element is missing."
        )


def _check_factors(modality: Modality) -> None:
    """Checks the rank and the scale of a likelihood with factors, and that no other has a rank."""
    rank, size = modality.rank, math.prod(modality.shape)
    if not modality.scoring.factors:
        if rank is not None:
            raise ModalityError(f"Expected a likelihood with factors with rank={rank!r}; got '{modality.likelihood}'.")
        return
    if rank is None:
        object.__setattr__(modality, "rank", min(RANK, size))
    elif not (_whole(rank) and 1 <= rank <= size):
        raise ModalityError(
            f"Expected a rank that is a whole number from 1 to {size}, the number of values; got {rank!r}."
        )
    if not modality.learns_scale:
        raise ModalityError(f"Expected scale among {SCALES} for '{modality.likelihood}'; got {modality.scale!r}.")


def _name_classes(modality: Modality) -> None:
    """Checks the number of classes and their names, the one of which may say the other."""
    kind, number, names = modality.kind, modality.categories, modality.names
    if kind != "category":
        if number is not None or names is not None:
            raise ModalityError(f"Expected kind 'category' with categories={number!r}, names={names!r}; got '{kind}'.")
        return
    if names is not None:
        texts = isinstance(names, Iterable) and not isinstance(names, str | Mapping | Set)
        plain = tuple(str(name) for name in names if isinstance(name, str)) if texts else ()
        if not plain or len(plain) != len(tuple(names)) or len(set(plain)) != len(plain):
            raise ModalityError(f"Expected names of classes that are texts, each another; got {names!r}.")
        object.__setattr__(modality, "names", plain)
        number = len(plain) if number is None else number
    if not (_whole(number) and number >= 1):  # type: ignore[operator]
        raise ModalityError(
            "A modality of kind 'category' needs categories=, the number of classes, a whole number >= 1; got "
            f"{number!r}."
        )
    if names is not None and len(modality.names or ()) != number:
        raise ModalityError(f"Expected {number} names of classes; got {len(modality.names or ())}.")
    object.__setattr__(modality, "categories", number)


def _brief(value: Any) -> str:
    """A value as it is written, of long tuples the first and their number."""
    if isinstance(value, tuple) and len(value) > 12:
        return f"({', '.join(map(repr, value[:4]))}, ... {len(value)} in all)"
    return repr(value)


def _whole(x: Any) -> bool:
    return isinstance(x, Integral) and not isinstance(x, bool)


def _number(x: Any) -> bool:
    return isinstance(x, Real) and not isinstance(x, bool)


def _shape(shape: Any, kind: str) -> tuple[int, ...]:
    listed = (
        isinstance(shape, Iterable)
        and not isinstance(shape, str | bytes | Mapping | Set)
        and getattr(shape, "ndim", 1) == 1
    )
    sizes = tuple(shape) if listed else None
    if sizes is None or not all(_whole(size) and size >= 1 for size in sizes):
        raise ModalityError(
            f"Expected an event shape of whole numbers >= 1, such as (16,) or (3, 32, 32); got {shape!r}."
        )
    if len(sizes) != AXES.get(kind, len(sizes)):
        wanted = {"image": "(C, H, W)", "tokens": "(L,), where a single token is (1,)", "category": "()"}[kind]
        raise ModalityError(f"Expected an event shape {wanted} for kind '{kind}'; got {sizes}.")
    return tuple(map(int, sizes))
