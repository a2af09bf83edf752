r"""Nets for large images and for token texts: vectors per patch or per token, mixed by matrix products only.

A patch embedding is a convolution whose stride equals its kernel, written as a reshape and a matrix product. XLA's
strided convolutions are slow on the CPU and matrix products are fast on both hosts (``benchmarks/nets.py``). Between
embedding and head stand mixer blocks, each two residual steps on :math:`h` of shape ``(*, T, width)``:

.. math:: h \leftarrow h + A\,\mathrm{norm}(h) , \qquad
          h \leftarrow h + W_2\, \phi(W_1\, \mathrm{norm}(h))

where A, of shape ``(T, T)``, mixes tokens and :math:`W_1, W_2` mix channels through twice the width (Tolstikhin et
al., MLP-Mixer, 2021, section 2, with one matrix for tokens). A knows positions, so no position code is added.
"""

from dataclasses import dataclass
from math import prod

from mmppl.checks import at_least, checked
from mmppl.errors import OptionError
from mmppl.nets.layers import (
    Activation,
    Embed,
    Layer,
    Linear,
    Norm,
    Patch,
    Reshape,
    Residual,
    Swap,
    Unpatch,
)

__all__ = ["PatchDecoder", "PatchEncoder", "TokenDecoder", "TokenEncoder"]


@checked(size=at_least(1), width=at_least(1), blocks=at_least(1))
@dataclass(frozen=True)
class PatchEncoder:
    """Images to a vector: patches, linear embedding, mixer blocks, flatten, linear.

    Arguments:
        in_shape: Image shape ``(C, H, W)``, channels first.
        out_shape: Event shape of the output.
        size: Side p of a patch, in pixels; it divides H and W.
        width: Width of the vector of a patch.
        blocks: Number of mixer blocks.
        activation: As in :class:`mmppl.nets.MLP`.

    Raises:
        OptionError: If the patch size does not divide the image, or the activation is unknown.

    Example:
        >>> PatchEncoder((3, 28, 28), (16,)).layers()[0].tokens
        49
    """

    in_shape: tuple[int, int, int]
    out_shape: tuple[int, ...]
    size: int = 4
    width: int = 64
    blocks: int = 1
    activation: str = "gelu"

    def __post_init__(self) -> None:
        _settle(self)

    def layers(self) -> tuple[Layer, ...]:
        patch = Patch(self.in_shape, self.size)
        return (
            patch,
            Linear(patch.values, self.width),
            *_mixers(patch.tokens, self.width, self.blocks, self.activation),
            *_flat_head(patch.tokens, self.width, self.out_shape),
        )


@checked(size=at_least(1), width=at_least(1), blocks=at_least(1))
@dataclass(frozen=True)
class PatchDecoder:
    """Vectors to an image, the mirror of :class:`PatchEncoder`: linear, mixer blocks, linear to patches, un-patch.

    The output is not squashed: it is a location, or a logit for a Bernoulli likelihood.

    Arguments:
        in_shape: Event shape of the input.
        out_shape: Image shape ``(C, H, W)``, channels first.
        size: Side p of a patch, in pixels; it divides H and W.
        width: Width of the vector of a patch.
        blocks: Number of mixer blocks.
        activation: As in :class:`mmppl.nets.MLP`.

    Raises:
        OptionError: If the patch size does not divide the image, or the activation is unknown.

    Example:
        >>> PatchDecoder((16,), (3, 28, 28)).layers()[-1].values
        48
    """

    in_shape: tuple[int, ...]
    out_shape: tuple[int, int, int]
    size: int = 4
    width: int = 64
    blocks: int = 1
    activation: str = "gelu"

    def __post_init__(self) -> None:
        _settle(self)

    def layers(self) -> tuple[Layer, ...]:
        unpatch = Unpatch(self.out_shape, self.size)
        return (
            *_unflat_head(self.in_shape, unpatch.tokens, self.width),
            *_mixers(unpatch.tokens, self.width, self.blocks, self.activation),
            Norm(self.width),
            Linear(self.width, unpatch.values),
            unpatch,
        )


@checked(length=at_least(1), vocabulary=at_least(1), width=at_least(1), blocks=at_least(1))
@dataclass(frozen=True)
class TokenEncoder:
    """Token ids ``(*, L)`` to a vector: embedding, mixer blocks, flatten, linear.

    Arguments:
        length: Number L of tokens.
        vocabulary: Number V of token ids; ids lie in ``[0, V)``.
        out_shape: Event shape of the output.
        width: Width of the vector of a token.
        blocks: Number of mixer blocks.
        activation: As in :class:`mmppl.nets.MLP`.

    Raises:
        OptionError: If the activation is unknown.

    Example:
        >>> TokenEncoder(5, 27, (16,)).in_shape
        (5,)
    """

    length: int
    vocabulary: int
    out_shape: tuple[int, ...]
    width: int = 64
    blocks: int = 1
    activation: str = "gelu"

    def __post_init__(self) -> None:
        _settle(self)

    @property
    def in_shape(self) -> tuple[int, ...]:
        return (self.length,)

    def layers(self) -> tuple[Layer, ...]:
        return (
            Embed(self.vocabulary, self.width),
            *_mixers(self.length, self.width, self.blocks, self.activation),
            *_flat_head(self.length, self.width, self.out_shape),
        )


@checked(length=at_least(1), vocabulary=at_least(1), width=at_least(1), blocks=at_least(1))
@dataclass(frozen=True)
class TokenDecoder:
    """Vectors to logits of token ids ``(*, L, V)``, the mirror of :class:`TokenEncoder`.

    Arguments:
        in_shape: Event shape of the input.
        length: Number L of tokens.
        vocabulary: Number V of token ids.
        width: Width of the vector of a token.
        blocks: Number of mixer blocks.
        activation: As in :class:`mmppl.nets.MLP`.

    Raises:
        OptionError: If the activation is unknown.

    Example:
        >>> TokenDecoder((16,), 5, 27).out_shape
        (5, 27)
    """

    in_shape: tuple[int, ...]
    length: int
    vocabulary: int
    width: int = 64
    blocks: int = 1
    activation: str = "gelu"

    def __post_init__(self) -> None:
        _settle(self)

    @property
    def out_shape(self) -> tuple[int, ...]:
        return (self.length, self.vocabulary)

    def layers(self) -> tuple[Layer, ...]:
        return (
            *_unflat_head(self.in_shape, self.length, self.width),
            *_mixers(self.length, self.width, self.blocks, self.activation),
            Norm(self.width),
            Linear(self.width, self.vocabulary),
        )


def _mixers(tokens: int, width: int, blocks: int, activation: str) -> tuple[Layer, ...]:
    mix_tokens = Residual((Norm(width), Swap(), Linear(tokens, tokens), Swap()))
    mix_channels = Residual(
        (Norm(width), Linear(width, 2 * width), Activation(activation), Linear(2 * width, width)),
    )
    return (mix_tokens, mix_channels) * blocks


def _flat_head(tokens: int, width: int, out_shape: tuple[int, ...]) -> tuple[Layer, ...]:
    flat, outputs = tokens * width, prod(out_shape)
    return (Norm(width), Reshape((tokens, width), (flat,)), Linear(flat, outputs), Reshape((outputs,), out_shape))


def _unflat_head(in_shape: tuple[int, ...], tokens: int, width: int) -> tuple[Layer, ...]:
    inputs, flat = prod(in_shape), tokens * width
    return (Reshape(in_shape, (inputs,)), Linear(inputs, flat), Reshape((flat,), (tokens, width)))


def _settle(spec: PatchEncoder | PatchDecoder | TokenEncoder | TokenDecoder) -> None:
    for name in ("in_shape", "out_shape"):
        if name in spec.__dict__:
            object.__setattr__(spec, name, tuple(getattr(spec, name)))
    if spec.blocks < 1:
        raise OptionError(f"Expected blocks >= 1; got {spec.blocks}. Without a mixer block the net is linear.")
    spec.layers()
