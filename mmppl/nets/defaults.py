"""A good small net for a modality: multi-layer perceptrons for small data, mixers for large images and texts."""

from math import prod

from mmppl.checks import at_least, checked
from mmppl.modality import Modality
from mmppl.nets.flat import Flat
from mmppl.nets.mixers import PatchDecoder, PatchEncoder, TokenDecoder, TokenEncoder
from mmppl.nets.observed import (
    Among,
    Classes,
    Factored,
    Heteroscedastic,
    LogCounts,
    Partial,
    PartialIds,
    Scaled,
    Standardized,
    Unstandardized,
)
from mmppl.nets.spec import MLP, Energy, LocFactor, LocScale, Spec, factor_outputs

__all__ = ["decoder", "encoder", "energy"]

SMALL = 1024
MOST_PATCHES = 64


@checked(latent_dim=at_least(1), hidden=at_least(1), beside=at_least(0))
def encoder(
    modality: Modality, latent_dim: int, hidden: int = 256, family: str | None = "normal", beside: int = 0
) -> Spec:
    """An encoder of a modality: ``(*, *modality.shape)`` to a location and a scale, each ``(*, latent_dim)``.

    Without a family it is deterministic, to a code ``(*, latent_dim)``.

    Vectors and images of at most 1,024 values get an MLP with two hidden layers, larger images a patch encoder
    (patches of 4, 8 or 16 pixels, at most 64 of them where the sides allow), token texts a token encoder. Counts are
    seen as log(1 + x), categories one-hot. Counts, and values whose likelihood has a location in their units, are seen
    standardised: see :class:`~mmppl.nets.Standardized`. Of a modality that may lack single elements the net takes the
    mask of those that are there beside the values, ``net(x, mask)``: see :class:`~mmppl.nets.Partial`.

    Arguments:
        modality: The modality.
        latent_dim: Dimension D of the latent.
        hidden: Width of the hidden layers of an MLP; a quarter of it is the width of a patch or token.
        family: ``"normal"`` or ``"laplace"``, kept on the spec; ``"multivariate_normal"``, whose scale is the factor of
            a precision, ``(*, latent_dim, latent_dim)``; None for a code alone.
        beside: Number of features of the row that the net is given too, such as covariates, see
            :class:`~mmppl.nets.Among`; 0 for none.

    Raises:
        OptionError: If the family is unknown.

    Example:
        >>> encoder(Modality((1, 16, 16), kind="image"), 8).body.body
        MLP(in_shape=(1, 16, 16), out_shape=(16,), hidden=(256, 256), activation='gelu', norm=False, zero_last=False)
    """
    correlated = family == "multivariate_normal"
    out = (latent_dim,) if family is None else (factor_outputs(latent_dim) if correlated else 2 * latent_dim,)
    size = _patch(modality)
    body: Spec
    # Who is there stands behind the values, on the first axis of the event.
    shape = (2 * modality.shape[0], *modality.shape[1:]) if modality.partial else modality.shape
    if modality.vocabulary:
        ids, last = modality.vocabulary + modality.partial, (hidden,) if beside else out
        body = TokenEncoder(modality.shape[0], ids, last, width=_width(hidden))
        body = Among(body, beside, MLP((hidden + beside,), out, (hidden,))) if beside else body
        body = PartialIds(body, modality.vocabulary) if modality.partial else body
    elif modality.categories:
        among = Among(Flat((hidden,), (hidden,)), beside, MLP((hidden + beside,), out, (hidden,)))
        body = Classes(modality.categories, among if beside else MLP((hidden,), out, (hidden,)))
    elif size:
        last = (hidden,) if beside else out
        body = PatchEncoder(shape, last, size, _width(hidden))  # type: ignore[arg-type]
        body = Among(body, beside, MLP((hidden + beside,), out, (hidden,))) if beside else body
    elif beside:
        number = prod(shape)
        body = Among(Flat(shape, (number,)), beside, MLP((number + beside,), out, (hidden, hidden)))
    else:
        body = MLP(shape, out, (hidden, hidden))
    body = Partial(body, modality.shape) if modality.partial and not modality.ids else body
    counts = modality.scoring.values == "counts"
    body = Standardized(body, modality.scale_shape) if counts or modality.scoring.is_location else body
    body = LogCounts(body) if counts else body
    if family is None:
        return body
    return LocFactor(body) if correlated else LocScale(body, family)


@checked(latent_dim=at_least(1), hidden=at_least(1))
def decoder(modality: Modality, latent_dim: int, hidden: int = 256) -> Spec:
    """A decoder of a modality: latents ``(*, latent_dim)`` to what its likelihood takes, ``(*, *modality.shape)``.

    Where a likelihood takes several outputs for each value, they lie behind each other on the first axis of the event.
    Token texts get logits ``(*, L, V)`` and categories ``(*, K)``. Nets are chosen as in :func:`encoder`; outputs
    are not squashed, but are in the data's units where those are a likelihood's location: see
    :class:`~mmppl.nets.Unstandardized`. A scale is a second output: without batch axes if it is learned, as the first
    if it is heteroscedastic, and factors of a covariance are a third.

    Arguments:
        modality: The modality.
        latent_dim: Dimension D of the latent.
        hidden: Width of the hidden layers of an MLP; a quarter of it is the width of a patch or token.

    Example:
        >>> decoder(Modality((5,), kind="tokens", vocabulary=27), 8).out_shape
        (5, 27)
        >>> decoder(Modality((5,), likelihood="zero_inflated_poisson"), 8).out_shape
        (10,)
    """
    size = _patch(modality)
    body: Spec
    given = 1 + (modality.rank or 0) if modality.heteroscedastic else 0
    number = modality.scoring.outputs + given
    shape = (number * modality.shape[0], *modality.shape[1:]) if number > 1 else modality.shape
    if modality.vocabulary:
        return TokenDecoder((latent_dim,), modality.shape[0], modality.vocabulary, width=_width(hidden))
    if modality.categories:
        return MLP((latent_dim,), (modality.categories,), (hidden, hidden))
    if size:
        body = PatchDecoder((latent_dim,), shape, size, _width(hidden))  # type: ignore[arg-type]
    else:
        body = MLP((latent_dim,), shape, (hidden, hidden))
    if modality.scoring.values == "counts":
        # The log of the mean count; what else there is, as the gate of a zero-inflated one, is left at 0.
        body = Unstandardized(body, shape)
    if modality.heteroscedastic:
        body = Heteroscedastic(body, modality.shape, modality.rank or 0)
    elif modality.learns_scale:
        body = Factored(body, modality.rank) if modality.rank else body
        body = Scaled(body, modality.scale_shape)
    return Unstandardized(body, modality.scale_shape) if modality.scoring.is_location else body


@checked(latent_dim=at_least(1))
def energy(latent_dim: int, hidden: tuple[int, ...] = (256, 256)) -> Energy:
    """The tilt of an energy-based prior: latents ``(*, latent_dim)`` to ``(*,)``.

    Arguments:
        latent_dim: Dimension D of the latent.
        hidden: Widths of the hidden layers.

    Example:
        >>> energy(8).out_shape
        ()
    """
    return Energy(latent_dim, hidden)


def _width(hidden: int) -> int:
    return max(hidden // 4, 1)


def _patch(modality: Modality) -> int | None:
    if modality.kind != "image" or len(modality.shape) != 3 or prod(modality.shape) <= SMALL:
        return None
    _, height, width = modality.shape
    sizes = [p for p in (4, 8, 16) if height % p == 0 and width % p == 0]
    few = [p for p in sizes if height * width <= MOST_PATCHES * p * p]
    return min(few) if few else max(sizes, default=None)
