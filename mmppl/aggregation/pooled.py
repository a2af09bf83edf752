"""Posteriors by one network over the set of features that are present."""

from collections.abc import Callable, Mapping
from typing import Any

from mmppl._backend import get_backend
from mmppl.aggregation.base import FAMILIES, stack_features
from mmppl.aggregation.families import CORRELATED, Factorised, component, picked, unit_scale
from mmppl.aggregation.implicit import implicit
from mmppl.aggregation.mixture import choose
from mmppl.errors import OptionError

Array = Any

__all__ = ["Pooled", "pool", "private_posteriors", "where_present"]

EMPTY = ("learned", "prior")


class Pooled:
    r"""A posterior that a network of :mod:`mmppl.nets.sets` answers with from the features that are present.

    .. math:: q(z \mid x_S) = \sum_{k=1}^{K} \pi_k\, N\big(z; \mu_k, \mathrm{diag}\, \sigma_k^2\big), \qquad
        (\pi, \mu, \sigma) = f\big(\{h_s : s \in S\}\big)

    with K = 1, or Laplace densities, or normal ones with correlations, with K = 1. Draws of a mixture carry implicit
    gradients.

    References:
        | Learning multi-modal generative models with permutation-invariant encoders and tighter variational objectives
        | (Hirt et al., 2024), section 3, https://arxiv.org/abs/2309.00380

    Arguments:
        loc: Locations, ``(*, D)``, or ``(*, K, D)`` with logits.
        scale: Scales, as ``loc``; of a ``"multivariate_normal"`` the factors of precisions, ``(*, D, D)``.
        logits: Logits of :math:`\pi`, ``(*, K)``; None for one component.
        family: ``"normal"``, ``"multivariate_normal"`` or ``"laplace"``.

    Raises:
        OptionError: If the family is unknown, or several components are not normal.

    Example:
        >>> import numpy as np
        >>> Pooled(np.zeros((4, 3, 2)), np.ones((4, 3, 2)), np.zeros((4, 3))).sample(np.random.default_rng(0)).shape
        (4, 2)
    """

    def __init__(self, loc: Array, scale: Array, logits: Array | None = None, family: str = "normal"):
        if family not in FAMILIES:
            raise OptionError(f"Expected a family among {FAMILIES}; got {family!r}.")
        if logits is not None and family != "normal":
            raise OptionError(f"Expected the family 'normal' with several components; got {family!r}.")
        self.components = component(loc, scale, family)
        self.log_weight = None if logits is None else get_backend(logits).log_softmax(logits, axis=-1)
        self.dim = loc.shape[-1]
        self.batch_shape = tuple(loc.shape[:-1] if logits is None else loc.shape[:-2])

    def log_prob(self, z: Array) -> Array:
        """The log density of ``z``, shape ``(*, D)`` to ``(*,)``."""
        if self.log_weight is None:
            return self.components.log_prob(z)
        return get_backend(z).logsumexp(self.log_weight + self.components.log_prob(z[..., None, :]), axis=-1)

    def sample(self, rng: Any, sample_shape: tuple[int, ...] = ()) -> Array:
        """Reparametrised samples of shape ``(*sample_shape, *batch_shape, D)``."""
        backend = get_backend(self.components.loc)
        shape = (*sample_shape, *self.batch_shape)
        if self.log_weight is None or not isinstance(self.components, Factorised):
            return self.components.sample(self.components.draw(backend, rng, (*shape, self.dim)))
        first, second = [None, None] if rng is None else backend.split(rng, 2)
        u = backend.uniform(first, shape, self.log_weight)
        one = picked(self.components, choose(u, backend.xp.exp(self.log_weight)))
        z = one.sample(one.draw(backend, second, (*shape, self.dim)))
        return implicit(z, self.components.loc, self.components.scale, self.log_weight)

    stratified = sample


def pool(features: Mapping[str, Array], present: Mapping[str, Array], net: Callable, empty: str = "learned") -> tuple:
    """Parameters of :class:`Pooled`, ``(loc, scale)`` or ``(loc, scale, logits)``, from features by modality name.

    Arguments:
        features: :math:`h_s`, ``(*, F)`` each.
        present: Boolean ``(*,)`` each; may have more leading axes than the features.
        net: The network, called with the features ``(*, M, F)`` and with who is present ``(*, M)``.
        empty: What answers where nothing is present: what the network learned for the empty set, or the standard
            density (``"prior"``).

    Raises:
        ModalityError: If there is no feature, or ``present`` does not know one.
        OptionError: If ``empty`` is unknown.
    """
    if empty not in EMPTY:
        raise OptionError(f"Expected empty among {EMPTY}; got {empty!r}.")
    stacked, mask = stack_features(features, present)
    loc, scale, *logits = net(stacked, mask)
    if empty == "prior":
        xp = get_backend(loc).xp
        some = xp.any(mask, axis=-1)
        correlated = scale.ndim > loc.ndim
        standard = xp.zeros_like(loc), unit_scale(loc, CORRELATED if correlated else "normal")
        loc, scale = (
            xp.where(xp.reshape(some, some.shape + (1,) * (x.ndim - some.ndim)), x, other)
            for x, other in zip((loc, scale), standard, strict=True)
        )
    return (loc, scale, *logits)


def private_posteriors(
    features: Mapping[str, Array],
    present: Mapping[str, Array],
    net: Callable,
    shared: Array,
    absent: Mapping[str, tuple[Array, Array]] | None = None,
) -> dict[str, tuple[Array, Array]]:
    r"""Location and scale of each modality's private latent, by an equivariant network of :mod:`mmppl.nets.sets`.

    .. math:: q(\tilde z_s \mid z', x_S), \quad s \in S; \qquad p(\tilde z_s \mid z'), \quad s \notin S

    Arguments:
        features: :math:`h_s`, ``(*, F)`` each.
        present: Boolean ``(*,)`` each.
        net: The network, called with elements :math:`(h_s, z')`, ``(*, M, F + D')``, and with who is present.
        shared: The shared latent :math:`z'`, ``(*, D')``; may have more leading axes than the features.
        absent: Location and scale of :math:`p(\tilde z_s \mid z')` by name, ``(*, D)`` each; standard by default.

    Raises:
        ModalityError: If there is no feature, or ``present`` does not know one.

    References:
        | Hirt et al. (2024), section 4, https://arxiv.org/abs/2309.00380
    """
    stacked, mask = stack_features(features, present)
    xp = get_backend(stacked).xp
    lead = max(shared.shape[:-1], stacked.shape[:-2], key=len)
    stacked = xp.broadcast_to(stacked, (*lead, *stacked.shape[-2:]))
    shared = xp.broadcast_to(shared[..., None, :], (*lead, stacked.shape[-2], shared.shape[-1]))
    loc, scale = net(xp.concat([stacked, shared], axis=-1), mask)
    out = {}
    for i, name in enumerate(features):
        own = loc[..., i, :], scale[..., i, :]
        other = (xp.zeros_like(own[0]), xp.ones_like(own[1])) if absent is None else absent[name]
        out[name] = where_present(mask[..., i], own, other)
    return out


def where_present(seen: Array, own: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    """Location and scale of one thing where a modality is present, and of another elsewhere.

    Arguments:
        seen: Whether the modality is present, boolean ``(*,)``.
        own: Location and scale where it is, ``(*, D)`` each.
        other: Those elsewhere.

    Example:
        >>> import numpy as np
        >>> one = np.ones((2, 1))
        >>> loc, scale = where_present(np.array([True, False]), (one, one), (0 * one, 2 * one))
        >>> loc.ravel().tolist(), scale.ravel().tolist()
        ([1.0, 0.0], [1.0, 2.0])
    """
    xp = get_backend(own[0]).xp
    loc, scale = (xp.where(seen[..., None], here, there) for here, there in zip(own, other, strict=True))
    return loc, scale
