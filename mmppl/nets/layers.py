"""The few steps every net is made of. A spec lowers to a chain of these; each builder knows only these.

Leading axes are any number of batch axes ``*``, also none; a layer acts on the event axes behind them. A net may have a
context beside its event: the times of a score, which :class:`Condition` makes and :class:`Shift` reads, or, given with
the event, who is present in a set, which :class:`Pool` and a masked :class:`Attention` read, or which elements of the
event are there, which :class:`WithMask` and :class:`MissingId` read, or a pair of that mask, or None, and features of
the row, which :class:`Beside` reads.
"""

from dataclasses import dataclass
from math import expm1, log

from mmppl.errors import OptionError

__all__ = [
    "ACTIVATIONS",
    "FACTOR_RATE",
    "HIDDEN",
    "NORM_EPS",
    "SCALE_FLOOR",
    "SCALE_RATE",
    "SOFTPLUS_ONE",
    "Activation",
    "Attention",
    "Beside",
    "BlockEmbed",
    "BlockHead",
    "Condition",
    "Embed",
    "Factors",
    "GroupNorm",
    "Layer",
    "Linear",
    "Log1p",
    "MissingId",
    "MixtureSplit",
    "Norm",
    "Patch",
    "Pool",
    "Residual",
    "Reshape",
    "Scale",
    "Shift",
    "Skip",
    "Split",
    "SplitFactor",
    "SplitScale",
    "Standardize",
    "Swap",
    "TimeFeatures",
    "Unpatch",
    "WithMask",
]

ACTIVATIONS = ("gelu", "relu", "silu", "tanh")
NORM_EPS = 1e-5
SCALE_RATE = 10.0
FACTOR_RATE = 3.0
SOFTPLUS_ONE = log(expm1(1.0))  # where softplus is 1
SCALE_FLOOR = 1e-4
HIDDEN = -1e30  # the score of a key that is not there: its share is exactly 0


@dataclass(frozen=True)
class Layer:
    """One step of a net."""


@dataclass(frozen=True)
class Linear(Layer):
    """``x W^T + b`` over the last axis: ``(*, inputs)`` to ``(*, outputs)``, W of shape ``(outputs, inputs)``."""

    inputs: int
    outputs: int
    zero: bool = False


@dataclass(frozen=True)
class Activation(Layer):
    """Elementwise. ``gelu`` is the exact form ``x (1 + erf(x / sqrt 2)) / 2``, ``silu`` is ``x sigmoid(x)``."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in ACTIVATIONS:
            raise OptionError(f"Expected an activation among {ACTIVATIONS}; got {self.name!r}. Choose one of them.")


@dataclass(frozen=True)
class Log1p(Layer):
    """``log(1 + x)``, elementwise: counts of all sizes side by side."""


@dataclass(frozen=True)
class WithMask(Layer):
    """``x`` to x and the mask of what is there, one behind the other on the first axis of the event ``shape``.

    The mask is the context, boolean, of the shape of x; without one all is there. What is not there is 0.
    """

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Beside(Layer):
    """``x`` and the features that the context's second part is, ``(*, size)``, behind each other on the last axis."""

    size: int


@dataclass(frozen=True)
class MissingId(Layer):
    """Ids with ``number``, an id of its own, where the context, boolean, of the shape of x, says that there is none."""

    number: int


@dataclass(frozen=True)
class Scale(Layer):
    """``x`` to the pair ``(x, s)``: a scale that is learned beside an output, of shape ``shape``, 1 at first.

    Further parts of an output, as factors are, come behind the scale.

    :math:`s = e^{r w} + f` with r = ``SCALE_RATE``, so that a step of Adam on w, which is of the learning rate's size
    whatever the gradient's, moves the scale by a per cent; and f = ``SCALE_FLOOR``, below which no scale falls.
    """

    shape: tuple[int, ...]


@dataclass(frozen=True)
class SplitScale(Layer):
    """``(*, 2 C, ...)`` to a pair ``(*, C, ...)``, output and positive scale, of an event ``shape`` (C, ...).

    With a rank R, ``(*, (2 + R) C, ...)`` to them and factors ``(*, R, C, ...)`` of a covariance.
    """

    shape: tuple[int, ...]
    rank: int = 0
    floor: float = SCALE_FLOOR


@dataclass(frozen=True)
class Factors(Layer):
    """``x`` to the pair ``(x, F)``: factors of a covariance that are learned beside an output, ``(R, *shape)``.

    They are r w with r = ``FACTOR_RATE``, so that Adam's steps on w move them as it moves weights of a wider net.
    """

    shape: tuple[int, ...]
    rank: int


@dataclass(frozen=True)
class Standardize(Layer):
    r"""``(x - centre) / spread``, or its inverse; constants that are no weights to be trained, 0 and 1 at first.

    The inverse of (output, scale, ...) is ``(centre + spread output, spread scale, ...)``, further parts as the scale.
    """

    shape: tuple[int, ...]
    inverse: bool = False


@dataclass(frozen=True)
class Norm(Layer):
    """Layer normalisation of the last axis, biased variance plus ``NORM_EPS``, then scale and shift."""

    dim: int


@dataclass(frozen=True)
class Reshape(Layer):
    """Event shape ``inputs`` to event shape ``outputs`` with the same number of values."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Patch(Layer):
    """Images ``(*, C, H, W)`` to patches ``(*, T, C p p)``, rows of patches first, T = (H / p) (W / p)."""

    shape: tuple[int, int, int]
    size: int

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or self.shape[1] % self.size or self.shape[2] % self.size:
            raise OptionError(
                f"Expected an image shape (C, H, W) with H and W divisible by the patch size {self.size}; "
                f"got {self.shape}. Choose another patch size."
            )

    @property
    def tokens(self) -> int:
        """Number T of patches."""
        return (self.shape[1] // self.size) * (self.shape[2] // self.size)

    @property
    def values(self) -> int:
        """Number C p p of values in a patch."""
        return self.shape[0] * self.size**2


@dataclass(frozen=True)
class Unpatch(Patch):
    """The inverse of :class:`Patch`: ``(*, T, C p p)`` to ``(*, C, H, W)``."""


@dataclass(frozen=True)
class Embed(Layer):
    """Ids ``(*)`` to vectors ``(*, dim)``: rows of a table of shape ``(vocabulary, dim)``."""

    vocabulary: int
    dim: int


@dataclass(frozen=True)
class Swap(Layer):
    """Swaps the last two axes, so that a :class:`Linear` between two swaps mixes tokens."""


@dataclass(frozen=True)
class Residual(Layer):
    """``h(x) + f(x)``, with f the chain ``layers`` and h the chain ``shortcut``, the identity if it is empty."""

    layers: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()


@dataclass(frozen=True)
class Skip(Layer):
    """``(f(x), x)``, side by side on the last axis: a long skip connection."""

    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Condition(Layer):
    """``(*, dim + C)`` to ``(*, dim)``; what ``layers`` make of the last C entries is the context from there on."""

    dim: int
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Shift(Layer):
    """``x + W silu(c) + b`` with c the context, ``(*, inputs)``, and x ``(*, outputs)``."""

    inputs: int
    outputs: int


@dataclass(frozen=True)
class TimeFeatures(Layer):
    r"""Times ``(*,)`` to features ``(*, 2 waves + 3)``.

    For times t > 0 they are :math:`\log(t + 10^{-3})`, and :math:`\sin(2^k \pi t)` and :math:`\cos(2^k \pi t)` for k
    below ``waves``; the last two features are 1 where t = 0 (clean) and where t < 0 (absent).
    """

    waves: int

    @property
    def number(self) -> int:
        """Number of features of a time."""
        return 2 * self.waves + 3


@dataclass(frozen=True)
class GroupNorm(Layer):
    """Normalises each of ``groups`` equal parts of the last axis, then scale and shift; as :class:`Norm` else."""

    dim: int
    groups: int

    def __post_init__(self) -> None:
        if self.dim % self.groups:
            raise OptionError(f"Expected a width that {self.groups} groups divide; got {self.dim}.")


@dataclass(frozen=True)
class BlockEmbed(Layer):
    """Blocks side by side ``(*, sum sizes)`` to a vector for each, ``(*, M, width)``, by a linear map of its own."""

    sizes: tuple[int, ...]
    width: int


@dataclass(frozen=True)
class BlockHead(Layer):
    """The way back from :class:`BlockEmbed`: ``(*, M, width)`` to ``(*, sum sizes)``."""

    sizes: tuple[int, ...]
    width: int
    zero: bool = False


@dataclass(frozen=True)
class Attention(Layer):
    """Queries, keys and values side by side ``(*, M, 3 width)`` to ``(*, M, width)``: scaled dot products by head.

    Where ``masked``, only what is present is attended to, by the context, boolean, ``(*, M)``.
    """

    heads: int
    masked: bool = False


@dataclass(frozen=True)
class Pool(Layer):
    """The sum of the elements present of a set, by the context, boolean ``(*, M)``: ``(*, M, dim)`` to ``(*, dim)``.

    With ``keep`` the axis of elements stays, with size 1.
    """

    keep: bool = False


@dataclass(frozen=True)
class Split(Layer):
    r"""``(*, 2 D)`` to a location and a scale, each ``(*, D)``: the halves ``a`` and ``b`` give

    .. math:: \mu = a, \qquad \sigma = \mathrm{softplus}(b + \log(e - 1)) + \mathrm{floor}

    so that b = 0 is a scale of 1, and scales fall to the floor in proportion to ``exp(b)``.
    """

    dim: int
    floor: float


@dataclass(frozen=True)
class SplitFactor(Layer):
    r"""``(*, D (D + 3) / 2)`` to a location ``(*, D)`` and the factor of a precision, lower triangular, ``(*, D, D)``.

    Parts a, b and c, of which c are the entries below the diagonal of a unit triangular U, row after row, give

    .. math:: \mu = a, \qquad C = \mathrm{diag}(\sigma)^{-1} U, \qquad
        \sigma = \mathrm{softplus}(b + \log(e - 1)) + \mathrm{floor}

    so that U holds correlations whatever the scales, and c = 0 is :class:`Split`.
    """

    dim: int
    floor: float

    @property
    def places(self) -> tuple[tuple[int, ...], ...]:
        """Places of the entries of U, ``(D, D)``, in c with 0 and 1 behind it."""
        below = self.dim * (self.dim - 1) // 2
        return tuple(
            tuple(i * (i - 1) // 2 + j if j < i else below + (i == j) for j in range(self.dim)) for i in range(self.dim)
        )


@dataclass(frozen=True)
class MixtureSplit(Layer):
    """``(*, K (2 D + 1))`` to K locations and scales, ``(*, K, D)``, as in :class:`Split`, and logits ``(*, K)``."""

    dim: int
    components: int
    floor: float
