"""What a table of terms is, and what a face does to evaluate it."""

from typing import Any, NamedTuple, Protocol

from mmppl._backend import Backend

Array = Any

__all__ = ["Draws", "Evaluation", "References", "Terms"]


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
    """

    encode: Array
    score: Array
    weight: Array
    reference: References | None = None
    mixture: tuple[Array, Array] | None = None
    scored: tuple[tuple[int, ...], ...] | None = None
    joint: bool = False

    def several(self) -> bool:
        """Whether the guide is asked about more than one subset of a datum."""
        tables = [self.encode, *([self.mixture[0]] if self.mixture else [])]
        return self.reference is not None or any(len(table) > 1 for table in tables)


class Draws(NamedTuple):
    """Latents drawn from the guide.

    Arguments:
        latents: By site, ``(K, T, N, *event)``.
        log_q: Their own log densities by site, ``(K, T, N)``; empty where they were not asked for.
        discrete: The sites that are discrete.
    """

    latents: dict[str, Array]
    log_q: dict[str, Array]
    discrete: tuple[str, ...] = ()


class Evaluation(Protocol):
    """What a face does for an objective: it runs the program under the host's handlers and reads densities."""

    backend: Backend
    like: Array  # an array of the parameters' floating type
    shape: tuple[int, int, int]  # K, T and N of the draws
    several: bool  # whether the guide is asked about several subsets, which then share the batch's arrays
    scale: Any  # the plate's scale, total over batch size; known once the program has run

    def draw(self, masks: Array, num: int, density: bool = True) -> Draws:
        """Draws ``num`` particles from the guide for each of the encoding masks ``(T, N, M)``."""

    def density(self, draws: Draws, masks: Array, *, cross: bool, detach: bool) -> dict[str, Array]:
        """The guide's log densities of draws under masks, by site: ``(K, T, N)``, or ``(K, T, U, N)`` across pairs."""

    def score(
        self, draws: Draws, names: tuple[str, ...], prior: bool = True
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Log likelihood of what the model observes, and log prior of the latents, by site, all ``(K, T, N)``.

        Of the modalities only ``names`` are observed; without ``prior`` the second is empty.
        """

    def frozen(self) -> "Evaluation":
        """The same, with the program's parameters held fixed."""
