"""Nets of a diffusion in the space of an image: a U-Net and a transformer of patches, with heads for the other blocks.

The event of each is that of :mod:`mmppl.nets.scores`, blocks and a code for each. Blocks that are images of the same
height and width are channels of the map; all others are tokens beside it, and with the codes a vector that modulates
every layer. Two numbers come out for each coordinate, those of all coordinates one behind the other: what is said, and
a second one, such as a log scale. Images are said by the last map, the others by perceptrons on a tap.
"""

from dataclasses import dataclass, field
from math import gcd, prod

from mmppl.checks import at_least, checked
from mmppl.errors import OptionError
from mmppl.nets.image_layers import (
    Convolution,
    CrossAttention,
    Fold,
    Given,
    MapNorm,
    Modulate,
    Pick,
    Position,
    Prepend,
    Read,
    Rows,
    Tap,
    Unfold,
)
from mmppl.nets.layers import (
    Activation,
    Attention,
    BlockEmbed,
    Layer,
    Linear,
    Norm,
    Reshape,
    Residual,
    Skip,
    Swap,
    TimeFeatures,
)
from mmppl.nets.scores import block_sizes

__all__ = ["ImageTransformer", "ImageUNet"]

TAPS = ("middle", "output")
GROUPS = 8


@dataclass(frozen=True)
class _ImageScore:
    """Base of both: the way in, and the heads.

    The fields are those of :class:`ImageUNet`.
    """

    sizes: tuple[int, ...]
    image: tuple[int, int, int]
    images: tuple[int, ...] = (0,)
    taps: tuple[str, ...] = ()
    width: int = 32
    heads: int = 4
    waves: int = 8
    usual = "middle"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", block_sizes(self.sizes))
        for name in ("image", "images"):
            object.__setattr__(self, name, tuple(int(x) for x in getattr(self, name)))
        object.__setattr__(self, "taps", tuple(self.taps) or (self.usual,) * len(self.sizes))
        unknown = [tap for tap in self.taps if tap not in TAPS]
        if unknown or len(self.taps) != len(self.sizes):
            raise OptionError(f"Expected a tap among {TAPS} for each of {len(self.sizes)} blocks; got {self.taps}.")
        area = prod(self.image[1:])
        bad = [i for i in self.images if not 0 <= i < len(self.sizes) or self.sizes[i] % area]
        if len(self.image) != 3 or not self.images or bad:
            raise OptionError(
                f"Expected images with {self.image[1:]} pixels, as image={self.image} has; got blocks {bad} of the "
                f"sizes {self.sizes}."
            )
        self.layers()

    @property
    def in_shape(self) -> tuple[int, ...]:
        return (sum(self.sizes) + len(self.sizes),)

    @property
    def out_shape(self) -> tuple[int, ...]:
        return (2 * sum(self.sizes),)

    def layers(self) -> tuple[Layer, ...]:
        raise NotImplementedError

    @property
    def _others(self) -> tuple[int, ...]:
        """Blocks that are no image."""
        return tuple(i for i in range(len(self.sizes)) if i not in self.images)

    @property
    def _channels(self) -> int:
        return sum(self.sizes[i] for i in self.images) // prod(self.image[1:])

    def _span(self, i: int, shift: int = 0) -> tuple[int, int]:
        """Place of a block in the event."""
        start = shift + sum(self.sizes[:i])
        return start, start + self.sizes[i]

    def _entry(self, vector: int, token: int) -> Given:
        """The way in: a map ``(H, W, C)``, a vector, and a token for each block that is no image."""
        (_, h, w), channels, number = self.image, self._channels, len(self.sizes)
        features, dim = TimeFeatures(self.waves), sum(self.sizes)
        flat = number * features.number
        seen = flat + sum(self.sizes[i] for i in self._others)
        codes = (Pick(((dim, dim + number),)), features, Reshape((number, features.number), (flat,)))
        return Given(
            (Pick(tuple(map(self._span, self.images))), *_to_map(channels, h, w)),
            (
                Skip(codes),
                Pick(((0, flat), *(self._span(i, flat) for i in self._others))),
                Linear(seen, vector),
                Activation("silu"),
                Linear(vector, vector),
            ),
            (
                Pick(tuple(map(self._span, self._others))),
                BlockEmbed(tuple(self.sizes[i] for i in self._others), token),
            )
            if self._others
            else (),
        )

    def _read(self, images: tuple[Layer, ...], perceptron: dict[int, tuple[Layer, ...]]) -> tuple[Layer, ...]:
        """Heads of all blocks, and their outputs in the order of the coordinates.

        Arguments:
            images: From the tap ``"output"`` to a map of two channels for each channel of the images.
            perceptron: From its tap to two numbers for each coordinate, for the other blocks.
        """
        (_, h, w), channels = self.image, self._channels
        flat = (*images, *_from_map(2 * channels, h, w))
        order, start, where = (*self.images, *self._others), 0, {}
        whole = sum(self.sizes[i] for i in self.images)
        for i in self.images:
            where[i] = start, start + whole
            start += self.sizes[i]
        start = 2 * whole
        for i in self._others:
            where[i] = start, start + self.sizes[i]
            start += 2 * self.sizes[i]
        spans = [(where[i][part], where[i][part] + self.sizes[i]) for part in (0, 1) for i in sorted(order)]
        parts = (("output", flat), *((self.taps[i], perceptron[i]) for i in self._others))
        return Read(parts), Pick(tuple(spans))


@checked(width=at_least(1), heads=at_least(1), waves=at_least(1))
@dataclass(frozen=True)
class ImageUNet(_ImageScore):
    """A U-Net of residual convolutions, with attention, also to the other blocks, at its deepest level.

    Levels are halved by folding squares of 2 x 2 pixels into channels. Heads read the deepest level, ``"middle"``, or
    the map before the last convolution, ``"output"``, from which images are made.

    Arguments:
        sizes: Dimensions of the blocks.
        image: Shape (C, H, W) of the block that diffuses.
        images: Places of the blocks that are images of this height and width, of any number of channels.
        taps: ``"middle"`` or ``"output"`` for each block, which an image does not heed; the middle for all by default.
        width: Channels of the first level.
        heads: Attention heads; they divide the deepest level's channels.
        waves: Frequencies of the time features.
        factors: Widths of the levels, in units of ``width``.

    Raises:
        OptionError: If there is no block, a tap is unknown, a block is no image of that size, the heads do not divide
            the deepest width, or height and width cannot be halved so often.

    Example:
        >>> ImageUNet((256, 10), (1, 16, 16)).out_shape
        (532,)
    """

    factors: tuple[int, ...] = (1, 2, 4)

    def layers(self) -> tuple[Layer, ...]:
        (_, h, w), levels = self.image, len(self.factors)
        shrink = 2 ** max(levels - 1, 0)
        if not levels or h % shrink or w % shrink:
            raise OptionError(
                f"Expected an image whose height and width {shrink} divides, for {levels} levels; got {self.image}."
            )
        widths = [self.width * factor for factor in self.factors]
        deep, vector, area = widths[-1], 4 * self.width, (h // shrink, w // shrink)
        if deep % self.heads:
            raise OptionError(f"Expected heads that divide the deepest width {deep}; got {self.heads}.")
        mix: tuple[Layer, ...] = (
            Residual((Norm(deep), Linear(deep, 3 * deep), Attention(self.heads), Linear(deep, deep))),
        )
        if self._others:
            look = (Norm(deep), Linear(deep, deep), CrossAttention(vector, deep, self.heads), Linear(deep, deep))
            mix += (Residual(look),)
        number = prod(area)
        inner: tuple[Layer, ...] = (
            self._block(deep, deep),
            Reshape((*area, deep), (number, deep)),
            *mix,
            Reshape((number, deep), (*area, deep)),
            Tap("middle"),
            self._block(deep, deep),
        )
        for here, below in zip(widths[-2::-1], widths[:0:-1], strict=True):
            down = (Fold(2), Linear(4 * here, below), *inner, Linear(below, 4 * here), Unfold(2))
            inner = (self._block(here, here), Skip(down), self._block(2 * here, here))
        taps = {"middle": (*area, deep), "output": (h, w, widths[0])}
        last = (*_normed(widths[0]), Convolution(widths[0], 2 * self._channels, zero=True))
        perceptron = {i: _perceptron(taps[self.taps[i]], vector, 2 * self.sizes[i]) for i in self._others}
        return (
            self._entry(vector, vector),
            Convolution(self._channels, widths[0]),
            *inner,
            Tap("output"),
            *self._read(last, perceptron),
        )

    def _block(self, inputs: int, outputs: int) -> Layer:
        shortcut = () if inputs == outputs else (Linear(inputs, outputs),)
        second = (MapNorm(outputs, gcd(GROUPS, outputs)), Modulate(4 * self.width, outputs, 2), Activation("silu"))
        first = (*_normed(inputs), Convolution(inputs, outputs))
        return Residual((*first, *second, Convolution(outputs, outputs)), shortcut)


@checked(width=at_least(1), heads=at_least(1), waves=at_least(1), patch=at_least(1), depth=at_least(1))
@dataclass(frozen=True)
class ImageTransformer(_ImageScore):
    """A diffusion transformer (DiT): patches of the image and a token for each other block attend to each other.

    The token of a block is what its head reads, after half of the layers, ``"middle"``, or all, ``"output"``.

    References:
        | Scalable Diffusion Models with Transformers (Peebles & Xie, 2023)
        | https://arxiv.org/abs/2212.09748

    Arguments:
        sizes: Dimensions of the blocks.
        image: Shape (C, H, W) of the block that diffuses.
        images: Places of the blocks that are images of this height and width, of any number of channels.
        taps: ``"middle"`` or ``"output"`` for each block; the output for all by default.
        width: Width of a token.
        heads: Attention heads; they divide the width.
        waves: Frequencies of the time features.
        depth: Number of transformer blocks.
        patch: Side of a patch in pixels; it divides height and width.

    Raises:
        OptionError: If there is no block, a tap is unknown, a block is no image of that size, the heads do not divide
            the width, or the patch not the image.

    Example:
        >>> ImageTransformer((256, 10), (1, 16, 16)).in_shape
        (268,)
    """

    width: int = 128
    depth: int = 4
    patch: int = field(default=4, kw_only=True)
    usual = "output"

    def layers(self) -> tuple[Layer, ...]:
        (_, h, w), p, width = self.image, self.patch, self.width
        if h % p or w % p:
            raise OptionError(f"Expected a patch that divides the image {self.image}; got {p}.")
        if width % self.heads:
            raise OptionError(f"Expected heads that divide the width {width}; got {self.heads}.")
        grid, beside, values = (h // p, w // p), len(self._others), p * p * self._channels
        tokens = prod(grid)
        mix = (Norm(width), Modulate(width, width, 1), Linear(width, 3 * width), Attention(self.heads))
        each = (Norm(width), Modulate(width, width, 1), Linear(width, 4 * width), Activation("gelu"))
        block = Residual((*mix, Linear(width, width))), Residual((*each, Linear(4 * width, width)))
        half = self.depth // 2
        out = (Rows(beside, beside + tokens), Linear(width, 2 * values, zero=True))
        image = (*out, Reshape((tokens, 2 * values), (*grid, 2 * values)), Unfold(p))
        perceptron = {
            i: (Rows(k, k + 1), *_perceptron((1, width), width, 2 * self.sizes[i])) for k, i in enumerate(self._others)
        }
        return (
            self._entry(width, width),
            Fold(p),
            Reshape((*grid, values), (tokens, values)),
            Linear(values, width),
            Position((tokens, width)),
            *((Prepend(),) if beside else ()),
            *block * half,
            Tap("middle"),
            *block * (self.depth - half),
            Norm(width),
            Tap("output"),
            *self._read(image, perceptron),
        )


def _to_map(channels: int, h: int, w: int) -> tuple[Layer, ...]:
    """``(C H W,)`` to ``(H, W, C)``."""
    area = h * w
    return Reshape((channels * area,), (channels, area)), Swap(), Reshape((area, channels), (h, w, channels))


def _from_map(channels: int, h: int, w: int) -> tuple[Layer, ...]:
    """The way back."""
    area = h * w
    return Reshape((h, w, channels), (area, channels)), Swap(), Reshape((channels, area), (channels * area,))


def _normed(width: int) -> tuple[Layer, ...]:
    return MapNorm(width, gcd(GROUPS, width)), Activation("silu")


def _perceptron(shape: tuple[int, ...], width: int, outputs: int) -> tuple[Layer, ...]:
    """A tap of a shape to numbers, through one hidden layer."""
    flat = prod(shape)
    hidden = (Reshape(shape, (flat,)), Norm(flat), Linear(flat, width), Activation("silu"))
    return (*hidden, Linear(width, outputs, zero=True))
