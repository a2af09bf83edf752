"""A table of terms, and draws that it is evaluated on."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

Array = Any

__all__ = ["Draws", "References", "Scores", "Terms"]


class References(NamedTuple):
    r"""Several references of each term, U of them answers of the guide and one the prior, with their shares.

    .. math:: \beta \Big( s_0 (\log p(z) - \log q(z)) + \sum_u s_u (\log q(z \mid x_{R_u}) - \log q(z)) \Big)

    Arguments:
        subsets: R, boolean ``(U, N, M)``.
        share: s, ``(T, U, N)``.
        prior: :math:`s_0`, ``(T, N)``.
    """

    subsets: Array
    share: Array
    prior: Array


class Terms(NamedTuple):
    """The rows of the table for one batch; T terms, M modalities, N rows (or 1 where all rows agree).

    Arguments:
        encode: E, boolean ``(T, N, M)``.
        score: T, boolean ``(T, N, M)``; or a factor on each log likelihood, 0 where it is not scored.
        weight: w, ``(T, N)``; 0 drops a term for a datum.
        reference: What r is; None for the prior.
        mixture: Subsets ``(U, N, M)`` and shares ``(U, N)`` of the mixture for ``density="mixture"``; None means the
            terms themselves, by weight.
        scored: For each modality the terms, by number, that may score it, where that is known before the masks are;
            the others are not decoded. None where any may.
        joint: Whether the k-th particles of all terms belong together: their log weights are then summed before the
            log-mean-exp.
        beside: Factor on what the model observes beside the modalities, such as a label, ``(T, N)``. None where it
            counts as the prior does, to whose side it belongs: all that a guide looks at has its density there.
    """

    encode: Array
    score: Array
    weight: Array
    reference: References | None = None
    mixture: tuple[Array, Array] | None = None
    scored: tuple[tuple[int, ...], ...] | None = None
    joint: bool = False
    beside: Array | None = None

    def several(self) -> bool:
        """Tells whether the guide is asked about more than one subset of a datum."""
        tables = [self.encode, *([self.mixture[0]] if self.mixture else [])]
        return self.reference is not None or any(len(table) > 1 for table in tables)


class Draws(NamedTuple):
    """Latents drawn from the guide.

    Arguments:
        latents: Those in the plate of the data by site, ``(K, T, *, N, *event)``; axes of other plates stand beside N.
        log_q: Their own log densities by site, ``(K, T, N)``.
        discrete: The sites that are discrete.
        auxiliary: The sites that the guide marks as its own, which are no latents of the model.
        rows: For each of ``latents`` the axis of N, counted after ``(K, T)``.
        outside: Values of the latents outside the plate by site; with leading ``(K, T)`` where each particle has its
            own.
        log_q_outside: Log density of those, a scalar, the mean over particles.
        fixed: Sites whose draws carry no gradient although their density asks for one.
        points: Sites in the plate of the data that are values with no spread.
        uneven: Whether some latent counts otherwise than once in the guide's density, by a scale, a mask or a plate
            that is sub-sampled.
        factors: Scales other than 1 of sites in the plate of the data, its own scale left out; None where one cannot be
            taken out of a density of several sites together.
        shape: ``(K, T, N)``.
        linear: Whether each particle has its own latents outside the plate: there is one term, of averaged particles.
        several: Whether the guide was asked about several subsets of a datum, which then share the batch's arrays.
        looped: Whether the guide was run for each particle and term, as its sites bear no axes of them.
        scale: Factor of the plate of the data, total over batch size.
        beside: Whether the guide has a site outside that plate.
    """

    latents: dict[str, Array]
    log_q: dict[str, Array]
    discrete: tuple[str, ...]
    auxiliary: tuple[str, ...]
    rows: dict[str, int]
    outside: dict[str, Array]
    log_q_outside: Array
    fixed: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    uneven: bool = False
    factors: Mapping[str, Any] = {}
    shape: tuple[int, ...] = (1, 1, 1)
    linear: bool = True
    several: bool = False
    looped: bool = False
    scale: float = 1.0
    beside: bool = False

    @property
    def single(self) -> bool:
        """Tells whether there is one particle of one term."""
        return self.shape[:2] == (1, 1)

    def by_particle(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """Latents that differ between particles and terms, and those that are the same for all."""
        return ({**self.latents, **self.outside}, {}) if self.linear else (self.latents, self.outside)

    def pack(self, xp: Any) -> Array:
        """The latents in the plate side by side, ``(K, T, N, D)``; ``(1, 1, 1, 0)`` where there are none."""
        if not self.latents:
            return xp.reshape(self.log_q_outside * 0.0, (1, 1, 1, 1))[..., :0]
        parts = [xp.moveaxis(z, 2 + self.rows[name], 2) for name, z in self.latents.items()]
        return xp.concat([z.reshape((*z.shape[:3], -1)) for z in parts], axis=-1)

    def unpack(self, xp: Any, position: Array) -> "Draws":
        """The same draws with the latents at a position ``(K, T, N, D)``."""
        latents, end = {}, 0
        for name, z in self.latents.items():
            axis = 2 + self.rows[name]
            rest = tuple(size for i, size in enumerate(z.shape) if i not in (0, 1, axis))
            begin, end = end, end + math.prod(rest)
            latents[name] = xp.moveaxis(position[..., begin:end].reshape((*position.shape[:3], *rest)), 2, axis)
        return self._replace(latents=latents)


class Scores(NamedTuple):
    """Log densities of the model at draws, by site, ``(K, T, N)`` each.

    Arguments:
        log_lik: Of what is observed in the plate of the data.
        log_prior: Of the latents in it.
        outside: Of what lies outside it, a scalar.
        beside: Whether anything lies outside it, in the guide or in the model.
        scale: Factor of the plate, total over batch size.
        astray: Modalities that lie outside it.
    """

    log_lik: dict[str, Array]
    log_prior: dict[str, Array]
    outside: Array
    beside: bool
    scale: float
    astray: tuple[str, ...] = ()

    def log_ratio_outside(self, draws: Draws) -> Array | None:
        """Log p - log q of what lies outside the plate of the data; None where nothing does."""
        return self.outside - draws.log_q_outside if self.beside else None
