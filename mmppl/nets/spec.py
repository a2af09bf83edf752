"""Specifications of networks, without a framework: each lowers to one chain of :mod:`mmppl.nets.layers`.

Pinned for both hosts: exact GELU, LayerNorm epsilon 1e-5, and the initial weights of :mod:`mmppl.nets.init`.
"""

from dataclasses import dataclass
from math import isqrt, prod
from typing import Protocol

from mmppl.checks import at_least, checked
from mmppl.errors import OptionError
from mmppl.nets.layers import Activation, Layer, Linear, Norm, Reshape, Split, SplitFactor

__all__ = ["MLP", "Energy", "LocFactor", "LocScale", "Spec"]

FAMILIES = ("normal", "laplace")


class Spec(Protocol):
    """A net from events of ``in_shape`` to events of ``out_shape``, under any leading batch axes.

    Any frozen, hashable object with these three members can be built; a net of your own needs no builder of its own.
    """

    @property
    def in_shape(self) -> tuple[int | None, ...]:
        """Event shape of the input; None for an axis of any size, the elements of a set."""

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Event shape of the output (of each output, for :class:`LocScale`)."""

    def layers(self) -> tuple[Layer, ...]:
        """The chain of layers the net is, in order."""


@checked()
@dataclass(frozen=True)
class MLP:
    """A multi-layer perceptron: flatten the event, (linear, activation) for each hidden width, linear, reshape.

    Arguments:
        in_shape: Event shape of the input; the net takes ``(*, *in_shape)``.
        out_shape: Event shape of the output, ``(*, *out_shape)``; ``()`` gives one number per datum.
        hidden: Widths of the hidden layers.
        activation: ``"gelu"``, ``"relu"``, ``"silu"`` or ``"tanh"``.
        norm: Whether each hidden layer is normalised before its activation.
        zero_last: Whether the last layer starts at zero, so that the net starts as the zero function.

    Raises:
        OptionError: If the activation is unknown.

    Example:
        >>> MLP((1, 16, 16), (8,), hidden=(64,)).layers()[1]
        Linear(inputs=256, outputs=64, zero=False)
    """

    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "gelu"
    norm: bool = False
    zero_last: bool = False

    def __post_init__(self) -> None:
        for name in ("in_shape", "out_shape", "hidden"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self.layers()

    def layers(self) -> tuple[Layer, ...]:
        width = prod(self.in_shape)
        chain: list[Layer] = [Reshape(self.in_shape, (width,))]
        for size in self.hidden:
            chain += [Linear(width, size), *([Norm(size)] if self.norm else []), Activation(self.activation)]
            width = size
        outputs = prod(self.out_shape)
        return (*chain, Linear(width, outputs, self.zero_last), Reshape((outputs,), self.out_shape))


@checked(latent_dim=at_least(1))
@dataclass(frozen=True)
class Energy:
    r"""The tilt :math:`f(z)` of an energy-based prior :math:`p(z) \propto p_0(z) \exp f(z)`: one number per latent.

    An :class:`MLP` whose output is not squashed; a bound or a penalty on f is the prior's business.

    Arguments:
        latent_dim: Dimension D of the latent; the net takes ``(*, D)`` and gives ``(*,)``.
        hidden: Widths of the hidden layers.
        activation: As in :class:`MLP`; Langevin steps follow the gradient of f, so a smooth one.
        zero_last: Whether f starts at exactly 0, where the tilted prior is its base.

    Raises:
        OptionError: If the activation is unknown.

    Example:
        >>> energy = Energy(8)
        >>> energy.in_shape, energy.out_shape
        ((8,), ())
    """

    latent_dim: int
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "gelu"
    zero_last: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        self.layers()

    @property
    def in_shape(self) -> tuple[int, ...]:
        return (self.latent_dim,)

    @property
    def out_shape(self) -> tuple[int, ...]:
        return ()

    def layers(self) -> tuple[Layer, ...]:
        return MLP(self.in_shape, (), self.hidden, self.activation, zero_last=self.zero_last).layers()


@checked(floor=at_least(0))
@dataclass(frozen=True)
class LocScale:
    r"""An encoder's head: a body with ``2 D`` outputs ``(a, b)`` becomes the pair (location, scale), each ``(*, D)``.

    .. math:: \mu = a, \qquad \sigma = \mathrm{softplus}(b + \log(e - 1)) + \mathrm{floor}

    The scale is near 1, the prior's, in a new net; a sharp posterior is reached at a constant rate, for the scale
    falls with ``exp(b)`` down to the floor.

    Arguments:
        body: A spec with ``out_shape == (2 * D,)``.
        family: The location-scale family the pair is meant for, ``"normal"`` or ``"laplace"``. The net is the same;
            whoever makes the distribution reads it.
        floor: The smallest scale, in units of the latent.

    Raises:
        OptionError: If the body's output cannot be halved, or the family is unknown.

    Example:
        >>> LocScale(MLP((3,), (16,))).out_shape
        (8,)
    """

    body: Spec
    family: str = "normal"
    floor: float = 1e-4

    def __post_init__(self) -> None:
        out = self.body.out_shape
        if len(out) != 1 or out[0] % 2:
            raise OptionError(f"Expected a body with out_shape (2 * D,); got {out}. Give it two outputs per latent.")
        if self.family not in FAMILIES:
            raise OptionError(f"Expected a family among {FAMILIES}; got {self.family!r}. Choose one of them.")

    @property
    def in_shape(self) -> tuple[int | None, ...]:
        return self.body.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        return (self.body.out_shape[0] // 2,)

    def layers(self) -> tuple[Layer, ...]:
        return (*self.body.layers(), Split(self.out_shape[0], self.floor))


@checked(floor=at_least(0))
@dataclass(frozen=True)
class LocFactor:
    r"""The head of an encoder whose normal has correlations: ``D (D + 3) / 2`` outputs become location and factor.

    .. math:: q = N\big(\mu, (C C^\top)^{-1}\big), \qquad C = \mathrm{diag}(\sigma)^{-1} U

    with a lower triangular C ``(*, D, D)``, :math:`\mu` and :math:`\sigma` as in :class:`LocScale`, and a U whose
    diagonal is 1.

    Arguments:
        body: A spec with ``out_shape == (D (D + 3) / 2,)``.
        floor: The smallest scale, in units of the latent.

    Raises:
        OptionError: If the body has another number of outputs for every D.

    Example:
        >>> LocFactor(MLP((3,), (14,))).out_shape
        (4,)
    """

    body: Spec
    floor: float = 1e-4

    def __post_init__(self) -> None:
        out = self.body.out_shape
        if len(out) != 1 or factor_outputs(self.out_shape[0]) != out[0]:
            raise OptionError(f"Expected a body with out_shape (D (D + 3) / 2,); got {out}. Give it as many outputs.")

    @property
    def in_shape(self) -> tuple[int | None, ...]:
        return self.body.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        return ((isqrt(9 + 8 * self.body.out_shape[0]) - 3) // 2,)

    def layers(self) -> tuple[Layer, ...]:
        return (*self.body.layers(), SplitFactor(self.out_shape[0], self.floor))


def factor_outputs(dim: int) -> int:
    """Outputs that the head of a normal with correlations takes: D locations, D scales, and those of pairs."""
    return dim * (dim + 3) // 2
