r"""Nets over sets of features: one posterior for any subset of modalities, and in any order.

Each takes features :math:`h_s` of the modalities, ``(*, M, F)`` for any M, and with them who is present, boolean
``(*, M)``: ``net(features, present)``. Weights are shared between modalities, so a modality that is masked is as good
as absent, and the order of modalities says nothing. With nothing present the answer is a learned one.
"""

from dataclasses import dataclass

from mmppl.checks import at_least, checked
from mmppl.errors import OptionError
from mmppl.nets.layers import (
    Activation,
    Attention,
    Layer,
    Linear,
    MixtureSplit,
    Norm,
    Pool,
    Residual,
    Split,
    SplitFactor,
)
from mmppl.nets.spec import factor_outputs

__all__ = ["DeepSets", "EquivariantDeepSets", "EquivariantTransformer", "SetTransformer"]


@dataclass(frozen=True)
class _Set:
    features: int
    latent_dim: int

    def __post_init__(self) -> None:
        if getattr(self, "correlated", False) and self.components > 1:  # type: ignore[attr-defined]
            raise OptionError("Expected components=1 of a normal with correlations; got more. Leave correlated=False.")
        for name, value in vars(self).items():
            if name not in ("activation", "floor", "correlated") and value < (0 if name == "shared_dim" else 1):
                raise OptionError(f"Expected {name} >= 1; got {value}.")
        self.layers()

    @property
    def in_shape(self) -> tuple[int | None, ...]:
        return (None, self.features)

    @property
    def out_shape(self) -> tuple[int, ...]:
        return (self.latent_dim,)

    def layers(self) -> tuple[Layer, ...]:
        raise NotImplementedError


@checked(width=at_least(1), depth=at_least(1), components=at_least(1), floor=at_least(0))
@dataclass(frozen=True)
class DeepSets(_Set):
    r"""Sum pooling, invariant under permutations.

    .. math:: \rho\Big(\sum_{s \in S} \chi(h_s)\Big)

    gives a location and a scale, each ``(*, D)``; with ``components`` K > 1 those of K components, ``(*, K, D)``, and
    their logits, ``(*, K)``.

    References:
        | Deep Sets (Zaheer et al., 2017), https://arxiv.org/abs/1703.06114
        | Learning multi-modal generative models with permutation-invariant encoders and tighter variational objectives
        | (Hirt et al., 2024), section 3, https://arxiv.org/abs/2309.00380

    Arguments:
        features: Number F of features of a modality.
        latent_dim: Dimension D of the latent.
        width: Width of the hidden layers and of what is pooled.
        depth: Hidden layers of :math:`\chi` and of :math:`\rho`.
        components: Number K of components.
        activation: As in :class:`mmppl.nets.MLP`.
        floor: The smallest scale, as in :class:`mmppl.nets.LocScale`.
        correlated: Whether, in place of scales, it gives factors of precisions, ``(*, D, D)``, as
            :class:`mmppl.nets.LocFactor`; for one component.

    Raises:
        OptionError: If a size is less than 1, or the activation is unknown.

    Example:
        >>> DeepSets(64, 8).in_shape
        (None, 64)
    """

    width: int = 128
    depth: int = 2
    components: int = 1
    activation: str = "gelu"
    floor: float = 1e-4
    correlated: bool = False

    def layers(self) -> tuple[Layer, ...]:
        chi = _perceptron(self.features, self.width, self.depth, self.width, self.activation)
        return (*chi, Pool(), *_head(self))


@checked(
    width=at_least(1),
    blocks=at_least(1),
    heads=at_least(1),
    depth=at_least(1),
    components=at_least(1),
    floor=at_least(0),
)
@dataclass(frozen=True)
class SetTransformer(_Set):
    r"""Self-attention between the modalities present, then sum pooling; invariant under permutations.

    .. math:: \rho\Big(\sum_{s \in S} g^L_s\Big), \qquad g^0_s = \chi(h_s), \quad g^k = \mathrm{block}_k(g^{k-1})

    with blocks of attention and a perceptron, each normalised before it and added to its input. Outputs are those of
    :class:`DeepSets`.

    References:
        | Set Transformer (Lee et al., 2019), https://arxiv.org/abs/1810.00825
        | Hirt et al. (2024), section 3, https://arxiv.org/abs/2309.00380

    Arguments:
        features: Number F of features of a modality.
        latent_dim: Dimension D of the latent.
        width: Width of an element.
        blocks: Number L of blocks.
        heads: Attention heads; they divide the width.
        depth: Hidden layers of :math:`\rho`.
        components: Number K of components.
        activation: As in :class:`mmppl.nets.MLP`.
        floor: The smallest scale.
        correlated: Whether, in place of scales, it gives factors of precisions, ``(*, D, D)``, as
            :class:`mmppl.nets.LocFactor`; for one component.

    Raises:
        OptionError: If a size is less than 1, the heads do not divide the width, or the activation is unknown.

    Example:
        >>> SetTransformer(64, 8).out_shape
        (8,)
    """

    width: int = 128
    blocks: int = 1
    heads: int = 4
    depth: int = 2
    components: int = 1
    activation: str = "gelu"
    floor: float = 1e-4
    correlated: bool = False

    def layers(self) -> tuple[Layer, ...]:
        return (*_attended(self, self.features), Pool(), *_head(self))


@checked(shared_dim=at_least(0), width=at_least(1), depth=at_least(1), floor=at_least(0))
@dataclass(frozen=True)
class EquivariantDeepSets(_Set):
    r"""Private posteriors by sum pooling, equivariant under permutations.

    .. math:: \rho\Big(\sum_{t \in S} \chi_0(h_t, z') + \chi_1(h_s, z')\Big)

    gives a location and a scale for every modality s, each ``(*, M, D)``. An element is ``(h_s, z')``, ``(F + D',)``.

    References:
        | Hirt et al. (2024), section 4, https://arxiv.org/abs/2309.00380

    Arguments:
        features: Number F of features of a modality.
        latent_dim: D, of a private latent.
        shared_dim: D', of the shared latent :math:`z'`.
        width: Width of the hidden layers and of what is pooled.
        depth: Hidden layers of each perceptron.
        activation: As in :class:`mmppl.nets.MLP`.
        floor: The smallest scale.

    Raises:
        OptionError: If a size is less than 1, or the activation is unknown.

    Example:
        >>> EquivariantDeepSets(64, 8, 16).in_shape
        (None, 80)
    """

    shared_dim: int = 0
    width: int = 128
    depth: int = 2
    activation: str = "gelu"
    floor: float = 1e-4

    @property
    def in_shape(self) -> tuple[int | None, ...]:
        return (None, self.features + self.shared_dim)

    def layers(self) -> tuple[Layer, ...]:
        own = _perceptron(self.features + self.shared_dim, self.width, self.depth, self.width, self.activation)
        out = _perceptron(self.width, self.width, self.depth, 2 * self.latent_dim, self.activation)
        return (Residual((*own, Pool(keep=True)), own), *out, Split(self.latent_dim, self.floor))


@checked(shared_dim=at_least(0), width=at_least(1), blocks=at_least(1), heads=at_least(1), floor=at_least(0))
@dataclass(frozen=True)
class EquivariantTransformer(_Set):
    r"""Private posteriors by self-attention, equivariant under permutations.

    .. math:: g^0_s = \chi(h_s, z'), \qquad g^k = \mathrm{block}_k(g^{k-1})

    and the last block gives a location and a scale for every modality, each ``(*, M, D)``.

    References:
        | Hirt et al. (2024), section 4, https://arxiv.org/abs/2309.00380

    Arguments:
        features: Number F of features of a modality.
        latent_dim: D, of a private latent.
        shared_dim: D', of the shared latent.
        width: Width of an element.
        blocks: Number L of blocks.
        heads: Attention heads; they divide the width.
        activation: As in :class:`mmppl.nets.MLP`.
        floor: The smallest scale.

    Raises:
        OptionError: If a size is less than 1, the heads do not divide the width, or the activation is unknown.

    Example:
        >>> EquivariantTransformer(64, 8, 16).out_shape
        (8,)
    """

    shared_dim: int = 0
    width: int = 128
    blocks: int = 1
    heads: int = 4
    activation: str = "gelu"
    floor: float = 1e-4

    @property
    def in_shape(self) -> tuple[int | None, ...]:
        return (None, self.features + self.shared_dim)

    def layers(self) -> tuple[Layer, ...]:
        elements = _attended(self, self.features + self.shared_dim)
        return (*elements, Linear(self.width, 2 * self.latent_dim), Split(self.latent_dim, self.floor))


def _perceptron(inputs: int, width: int, depth: int, outputs: int, activation: str) -> tuple[Layer, ...]:
    chain: list[Layer] = []
    for _ in range(depth):
        chain += [Linear(inputs, width), Activation(activation)]
        inputs = width
    return (*chain, Linear(inputs, outputs))


def _attended(spec: SetTransformer | EquivariantTransformer, inputs: int) -> tuple[Layer, ...]:
    """Elements that know of each other, ``(*, M, width)``, normalised."""
    width = spec.width
    if width % spec.heads:
        raise OptionError(f"Expected heads that divide the width {width}; got {spec.heads}.")
    attend = Attention(spec.heads, masked=True)
    mix = Residual((Norm(width), Linear(width, 3 * width), attend, Linear(width, width)))
    each = Residual((Norm(width), *_perceptron(width, width, 1, width, spec.activation)))
    return (*_perceptron(inputs, width, 1, width, spec.activation), *(mix, each) * spec.blocks, Norm(width))


def _head(spec: DeepSets | SetTransformer) -> tuple[Layer, ...]:
    number, dim = spec.components, spec.latent_dim
    outputs = 2 * dim if number == 1 else number * (2 * dim + 1)
    split: Layer = Split(dim, spec.floor) if number == 1 else MixtureSplit(dim, number, spec.floor)
    if spec.correlated:
        outputs, split = factor_outputs(dim), SplitFactor(dim, spec.floor)
    return (*_perceptron(spec.width, spec.width, spec.depth, outputs, spec.activation), split)
