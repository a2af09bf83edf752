"""Specs of what stands between a network and data: standardised inputs, outputs in the data's units, scales."""

from dataclasses import dataclass

from mmppl.errors import OptionError
from mmppl.nets.layers import (
    SCALE_FLOOR,
    Activation,
    Beside,
    Embed,
    Factors,
    Layer,
    Log1p,
    MissingId,
    Scale,
    SplitScale,
    Standardize,
    WithMask,
)
from mmppl.nets.spec import Spec

__all__ = [
    "Among",
    "Classes",
    "Factored",
    "Heteroscedastic",
    "LogCounts",
    "Partial",
    "PartialIds",
    "Scaled",
    "Standardized",
    "Unstandardized",
]


@dataclass(frozen=True)
class Among:
    """A net that sees features of the row beside what a first net makes of the event: ``net(x, (mask, features))``.

    The mask is of the elements that are there, or None.

    Arguments:
        first: The net of the event, to a vector.
        size: Number C of the features, ``(*, C)``.
        rest: The net of both, of C inputs more than the first has outputs.

    Raises:
        OptionError: If it has others.

    Example:
        >>> from mmppl.nets import MLP, Flat
        >>> Among(Flat((2, 3), (6,)), 4, MLP((10,), (8,))).out_shape
        (8,)
    """

    first: Spec
    size: int
    rest: Spec

    def __post_init__(self) -> None:
        wanted = (self.first.out_shape[0] + self.size,)
        if tuple(self.rest.in_shape) != wanted:
            raise OptionError(f"Expected a rest with in_shape {wanted}; got {self.rest.in_shape}.")

    @property
    def in_shape(self) -> tuple[int | None, ...]:
        return self.first.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.rest.out_shape

    def layers(self) -> tuple[Layer, ...]:
        return (*self.first.layers(), Beside(self.size), *self.rest.layers())


@dataclass(frozen=True)
class Partial:
    """A body that sees values beside the mask of those that are there: ``net(x, mask)``, or ``net(x)`` where all are.

    Arguments:
        body: The net of both, with twice the inputs on the first axis of the event.
        shape: Event shape of the values.

    Raises:
        OptionError: If the body has another number of inputs.

    Example:
        >>> from mmppl.nets import MLP
        >>> Partial(MLP((6,), (8,)), (3,)).in_shape
        (3,)
    """

    body: Spec
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        wanted = (2 * self.shape[0], *self.shape[1:])
        if tuple(self.body.in_shape) != wanted:
            raise OptionError(f"Expected a body with in_shape {wanted}; got {self.body.in_shape}.")

    @property
    def in_shape(self) -> tuple[int, ...]:
        return tuple(self.shape)

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.body.out_shape

    def layers(self) -> tuple[Layer, ...]:
        return (WithMask(tuple(self.shape)), *self.body.layers())


@dataclass(frozen=True)
class PartialIds:
    """A body that sees an id of its own where a token is missing: ``net(x, mask)``, or ``net(x)`` where none is.

    Arguments:
        body: The net of ids, of one more than there are.
        number: The id that stands for a missing one.

    Example:
        >>> from mmppl.nets import TokenEncoder
        >>> PartialIds(TokenEncoder(5, 28, (8,)), 27).layers()[0]
        MissingId(number=27)
    """

    body: Spec
    number: int

    @property
    def in_shape(self) -> tuple[int | None, ...]:
        return self.body.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.body.out_shape

    def layers(self) -> tuple[Layer, ...]:
        return (MissingId(self.number), *self.body.layers())


# The least scale beside factors, in deviations of the data or in logits.
FACTORED_FLOOR = 0.01


@dataclass(frozen=True)
class LogCounts:
    """A body that sees counts x as log(1 + x), as is usual where they span orders of magnitude.

    Arguments:
        body: The net of the logarithms.

    Example:
        >>> from mmppl.nets import MLP
        >>> LogCounts(MLP((3,), (8,))).out_shape
        (8,)
    """

    body: Spec

    @property
    def in_shape(self) -> tuple[int | None, ...]:
        return self.body.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.body.out_shape

    def layers(self) -> tuple[Layer, ...]:
        return (Log1p(), *self.body.layers())


@dataclass(frozen=True)
class Standardized:
    """A body that sees x as (x - centre) / spread, which :func:`~mmppl.inference.fit` takes from the training data.

    Arguments:
        body: The net of the standardised values.
        shape: Shape of centre and spread, which are kept with the weights and not trained; (C, 1, 1) for images.

    Example:
        >>> from mmppl.nets import MLP
        >>> Standardized(MLP((3,), (8,)), (3,)).layers()[0]
        Standardize(shape=(3,), inverse=False)
    """

    body: Spec
    shape: tuple[int, ...]

    @property
    def in_shape(self) -> tuple[int | None, ...]:
        return self.body.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.body.out_shape

    def layers(self) -> tuple[Layer, ...]:
        return (Standardize(tuple(self.shape)), *self.body.layers())


@dataclass(frozen=True)
class Unstandardized:
    """A decoder whose output o becomes centre + spread o, and its scale s, if it has one, spread s.

    The inverse of :class:`Standardized`: outputs are in the data's units, weights of the body are not.

    Arguments:
        body: The decoder of the standardised values.
        shape: Shape of centre and spread.

    Example:
        >>> from mmppl.nets import MLP
        >>> Unstandardized(Scaled(MLP((8,), (3,)), (3,)), (3,)).layers()[-1]
        Standardize(shape=(3,), inverse=True)
    """

    body: Spec
    shape: tuple[int, ...]

    @property
    def in_shape(self) -> tuple[int | None, ...]:
        return self.body.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.body.out_shape

    def layers(self) -> tuple[Layer, ...]:
        return (*self.body.layers(), Standardize(tuple(self.shape), inverse=True))


@dataclass(frozen=True)
class Heteroscedastic:
    """A decoder that gives each value a scale of its own: the net gives the pair (output, scale).

    With a rank R it gives factors ``(*, R, *shape)`` of a low-rank covariance as well, and its scales are at least
    0.01: the density has no bound where a few factors explain everything.

    Arguments:
        body: The decoder, with 2 + R times the outputs on the first axis of the event.
        shape: Event shape of the output and of the scale.
        rank: R, 0 for none.

    Raises:
        OptionError: If the body has another number of outputs.

    Example:
        >>> from mmppl.nets import MLP
        >>> Heteroscedastic(MLP((8,), (6,)), (3,)).out_shape
        (3,)
    """

    body: Spec
    shape: tuple[int, ...]
    rank: int = 0

    def __post_init__(self) -> None:
        wanted = ((2 + self.rank) * self.shape[0], *self.shape[1:])
        if tuple(self.body.out_shape) != wanted:
            raise OptionError(f"Expected a body with out_shape {wanted}; got {self.body.out_shape}.")

    @property
    def in_shape(self) -> tuple[int | None, ...]:
        return self.body.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        return tuple(self.shape)

    def layers(self) -> tuple[Layer, ...]:
        floor = FACTORED_FLOOR if self.rank else SCALE_FLOOR
        return (*self.body.layers(), SplitScale(tuple(self.shape), self.rank, floor))


@dataclass(frozen=True)
class Factored:
    """A decoder with learned factors of a low-rank covariance beside its output: the net gives the pair.

    Arguments:
        body: The decoder.
        rank: Number R of the factors, ``(R, *out_shape)``; they do not depend on the input.

    Example:
        >>> from mmppl.nets import MLP
        >>> Factored(MLP((8,), (3,)), 2).layers()[-1]
        Factors(shape=(3,), rank=2)
    """

    body: Spec
    rank: int

    @property
    def in_shape(self) -> tuple[int | None, ...]:
        return self.body.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.body.out_shape

    def layers(self) -> tuple[Layer, ...]:
        return (*self.body.layers(), Factors(self.out_shape, self.rank))


@dataclass(frozen=True)
class Scaled:
    """A decoder with a learned scale beside its output: the net gives the pair (output, scale).

    Arguments:
        body: The decoder.
        scale: Shape of the scale, ``()`` for a single one; it does not depend on the input.

    Example:
        >>> from mmppl.nets import MLP
        >>> Scaled(MLP((8,), (3,)), (3,)).layers()[-1]
        Scale(shape=(3,))
    """

    body: Spec
    scale: tuple[int, ...] = ()

    @property
    def in_shape(self) -> tuple[int | None, ...]:
        return self.body.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.body.out_shape

    def layers(self) -> tuple[Layer, ...]:
        return (*self.body.layers(), Scale(tuple(self.scale)))


@dataclass(frozen=True)
class Classes:
    """A body that sees a class as a vector: a linear map of its one-hot code, and an activation.

    Arguments:
        categories: Number K of classes, 0, ..., K - 1.
        body: The net of the vectors, of ``in_shape == (width,)``.
        activation: As in :class:`~mmppl.nets.MLP`.

    Raises:
        OptionError: If the activation is unknown.

    Example:
        >>> from mmppl.nets import MLP
        >>> Classes(3, MLP((16,), (8,))).in_shape
        ()
    """

    categories: int
    body: Spec
    activation: str = "gelu"

    def __post_init__(self) -> None:
        self.layers()

    @property
    def in_shape(self) -> tuple[int, ...]:
        return ()

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.body.out_shape

    def layers(self) -> tuple[Layer, ...]:
        # The row of a table is the product of a matrix and a one-hot code.
        width = self.body.in_shape[0] or 1
        return (Embed(self.categories, width), Activation(self.activation), *self.body.layers())
