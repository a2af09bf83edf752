"""Nets of joint scores: noise predicted for blocks side by side, given a time for each block.

The event of each is the noisy blocks ``(sum sizes,)`` with the times of the blocks ``(M,)`` behind them: 0 for a clean
block, t for one diffused to t, -1 for one that is absent. The output starts at zero.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mmppl.checks import at_least, checked
from mmppl.errors import OptionError
from mmppl.nets.layers import (
    Activation,
    Attention,
    BlockEmbed,
    BlockHead,
    Condition,
    GroupNorm,
    Layer,
    Linear,
    Norm,
    Reshape,
    Residual,
    Shift,
    Skip,
    TimeFeatures,
)

__all__ = ["PairEnergy", "ResidualScore", "TokenScore", "UnetScore", "block_sizes"]


def block_sizes(sizes: Iterable[int]) -> tuple[int, ...]:
    """Dimensions of blocks, as whole numbers.

    Raises:
        OptionError: If there is no block, or one without a dimension.
    """
    whole = tuple(int(size) for size in sizes)
    if not whole or min(whole) < 1:
        raise OptionError(f"Expected the sizes of the blocks, each at least 1; got {whole}.")
    return whole


@dataclass(frozen=True)
class _Score:
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", block_sizes(self.sizes))
        self.layers()

    @property
    def in_shape(self) -> tuple[int, ...]:
        return (sum(self.sizes) + len(self.sizes),)

    @property
    def out_shape(self) -> tuple[int, ...]:
        return (sum(self.sizes),)

    def layers(self) -> tuple[Layer, ...]:
        raise NotImplementedError


@checked(width=at_least(1), depth=at_least(0), waves=at_least(1), outputs=at_least(1))
@dataclass(frozen=True)
class ResidualScore(_Score):
    """A residual multi-layer perceptron over M blocks: ``(*, D + M)`` to ``(*, D)``, D the sum of their sizes.

    Arguments:
        sizes: Dimensions of the blocks.
        width: Width of the residual stream; each block of layers goes through twice of it.
        depth: Number of residual blocks.
        waves: Frequencies of the time features.
        outputs: Numbers that come out; None for one of each coordinate.

    Raises:
        OptionError: If there is no block, or one without a dimension.

    Example:
        >>> ResidualScore((16, 64)).in_shape
        (82,)
    """

    width: int = 256
    depth: int = 4
    waves: int = 8
    outputs: int | None = None

    @property
    def out_shape(self) -> tuple[int, ...]:
        return (sum(self.sizes) if self.outputs is None else self.outputs,)

    def layers(self) -> tuple[Layer, ...]:
        dim, number, width = sum(self.sizes), len(self.sizes), self.width
        features = TimeFeatures(self.waves)
        flat = number * features.number
        times = (
            features,
            Reshape((number, features.number), (flat,)),
            Linear(flat, width),
            Activation("silu"),
            Linear(width, width),
        )
        block = Residual(
            (
                Norm(width),
                Linear(width, 2 * width),
                Shift(width, 2 * width),
                Activation("silu"),
                Linear(2 * width, width),
            )
        )
        return (
            Condition(dim, times),
            Linear(dim, width),
            *(block,) * self.depth,
            Norm(width),
            Linear(width, self.out_shape[0], zero=True),
        )


@checked(width=at_least(1), depth=at_least(0), heads=at_least(1), waves=at_least(1))
@dataclass(frozen=True)
class TokenScore(_Score):
    """A transformer with a token for each of M blocks: ``(*, D + M)`` to ``(*, D)``, D the sum of their sizes.

    Arguments:
        sizes: Dimensions of the blocks.
        width: Width of a token.
        depth: Number of transformer blocks.
        heads: Attention heads; they divide the width.
        waves: Frequencies of the time features.

    Raises:
        OptionError: If there is no block, or the heads do not divide the width.

    Example:
        >>> TokenScore((16, 64)).out_shape
        (80,)
    """

    width: int = 128
    depth: int = 4
    heads: int = 4
    waves: int = 8

    def layers(self) -> tuple[Layer, ...]:
        if self.width % self.heads:
            raise OptionError(f"Expected heads that divide the width {self.width}; got {self.heads}.")
        width, features = self.width, TimeFeatures(self.waves)
        times = (features, Linear(features.number, width), Activation("silu"), Linear(width, width))
        mix = Residual(
            (Norm(width), Shift(width, width), Linear(width, 3 * width), Attention(self.heads), Linear(width, width))
        )
        each = Residual(
            (Norm(width), Shift(width, width), Linear(width, 4 * width), Activation("gelu"), Linear(4 * width, width))
        )
        return (
            Condition(sum(self.sizes), times),
            BlockEmbed(self.sizes, width),
            *(mix, each) * self.depth,
            Norm(width),
            BlockHead(self.sizes, width, zero=True),
        )


@checked(width=at_least(1), time_width=at_least(1), groups=at_least(1))
@dataclass(frozen=True)
class UnetScore(_Score):
    """The perceptron with the long shortcuts of a U-Net that Multi-modal Latent Diffusion was published with.

    From ``(*, D + M)`` to ``(*, D)``, D the sum of the sizes of M blocks. Times enter raw, through two linear layers.

    References:
        | Multi-modal Latent Diffusion (Bounoua et al., 2024), the authors' code
        | https://arxiv.org/abs/2306.04445

    Arguments:
        sizes: Dimensions of the blocks.
        width: Width W of the first level.
        factors: Widths of the levels, in units of W.
        time_width: Width of the embedding of the times.
        groups: Groups of the normalisations; they divide every width.

    Raises:
        OptionError: If there is no block, or the groups do not divide a width.

    Example:
        >>> UnetScore((16, 64), width=256, time_width=256).out_shape
        (80,)
    """

    width: int = 512
    factors: tuple[int, ...] = (1, 1)
    time_width: int = 256
    groups: int = 8

    def layers(self) -> tuple[Layer, ...]:
        dim, width, embedded = sum(self.sizes), self.width, self.time_width
        widths = [width, *(width * factor for factor in self.factors)]
        times = (Linear(len(self.sizes), embedded), Activation("gelu"), Linear(embedded, embedded))
        inner: tuple[Layer, ...] = (self._block(widths[-1], widths[-1]),) * 2
        for here, below in zip(widths[-2::-1], widths[:0:-1], strict=True):
            inner = (
                self._block(here, here),
                Skip((Linear(here, below), *inner)),
                self._block(below + here, below),
                Linear(below, here),
            )
        return (
            Condition(dim, times),
            Linear(dim, width),
            Skip(inner),
            self._block(2 * width, width),
            GroupNorm(width, self.groups),
            Activation("silu"),
            Linear(width, dim, zero=True),
        )

    def _block(self, inputs: int, outputs: int) -> Layer:
        def half(a: int) -> tuple[Layer, ...]:
            return (GroupNorm(a, self.groups), Activation("silu"), Linear(a, outputs))

        shortcut = () if inputs == outputs else (Linear(inputs, outputs),)
        return Residual((*half(inputs), Shift(self.time_width, outputs), *half(outputs)), shortcut)


@checked(width=at_least(1), depth=at_least(0), waves=at_least(1))
@dataclass(frozen=True)
class PairEnergy(_Score):
    """The energy of a pair of blocks at a time, for :class:`mmppl.priors.PairwiseGuidance`.

    The event is the two blocks, each filled up to the widest, which blocks they are (twice M indicators), and the time:
    ``(*, 2 max(sizes) + 2 M + 1)`` to ``(*,)``.

    Arguments:
        sizes: Dimensions of all blocks.
        width: Width of the residual stream.
        depth: Number of residual blocks.
        waves: Frequencies of the time features.

    Example:
        >>> PairEnergy((16, 64)).in_shape
        (133,)
    """

    width: int = 128
    depth: int = 2
    waves: int = 8

    @property
    def in_shape(self) -> tuple[int, ...]:
        return (2 * max(self.sizes) + 2 * len(self.sizes) + 1,)

    @property
    def out_shape(self) -> tuple[int, ...]:
        return ()

    def layers(self) -> tuple[Layer, ...]:
        width, features = self.width, TimeFeatures(self.waves)
        (inputs,) = self.in_shape
        times = (
            features,
            Reshape((1, features.number), (features.number,)),
            Linear(features.number, width),
            Activation("silu"),
            Linear(width, width),
        )
        block = Residual((Norm(width), Shift(width, width), Activation("silu"), Linear(width, width)))
        return (
            Condition(inputs - 1, times),
            Linear(inputs - 1, width),
            *(block,) * self.depth,
            Norm(width),
            Linear(width, 1),
            Reshape((1,), ()),
        )
