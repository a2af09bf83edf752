r"""An objective is a table: weighted terms of "encode from E, score T, pull towards r, density of q".

.. math:: L = \sum_t w_t \, \mathbb{E}_{z \sim q(\cdot \mid x_{E_t})}\big[ \log p(x_{T_t} \mid z)
    + \beta (\log r_t(z) - \log q_t(z)) \big]

With K particles the expectation becomes a log-mean-exp, per datum, with the plate's scale outside it.
"""

from typing import Any, NamedTuple, Protocol

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.errors import ObjectiveError, OptionError
from mmppl.inference.objectives.algebra import Ingredients, bound_and_record

Array = Any

__all__ = ["Evaluation", "Objective", "Terms"]

GRADIENTS = ("standard", "stl", "dreg")
DENSITIES = ("own", "mixture")


class Terms(NamedTuple):
    """The rows of the table for one batch; T terms, M modalities, N rows (or 1 where all rows agree).

    Arguments:
        encode: E, boolean ``(T, N, M)``.
        score: T, boolean ``(T, N, M)``.
        weight: w, ``(T, N)``; 0 drops a term for a datum.
        reference: R where r is q(.|x_R), boolean ``(T, N, M)``; None where r is the prior.
        mixture: Subsets ``(U, N, M)`` and shares ``(U, N)`` of the mixture for ``density="mixture"``; None means the
            terms themselves, by weight.
    """

    encode: Array
    score: Array
    weight: Array
    reference: Array | None = None
    mixture: tuple[Array, Array] | None = None


class Draws(NamedTuple):
    """Latents drawn from the guide, by site, ``(K, T, N, *event)``, and their own log density ``(K, T, N)``.

    The density is zero where it was not asked for.
    """

    latents: dict[str, Array]
    log_q: Array


class Evaluation(Protocol):
    """What a face does for an objective: it runs the program under the host's handlers and reads densities."""

    backend: Backend
    like: Array  # an array of the parameters' floating type
    scale: Any  # the plate's scale, total over batch size; known once the program has run

    def draw(self, masks: Array, num: int, density: bool = True) -> Draws:
        """Draws ``num`` particles from the guide for each of the encoding masks ``(T, N, M)``."""

    def density(self, draws: Draws, masks: Array, *, cross: bool, detach: bool) -> Array:
        """The guide's log density of draws under masks: ``(K, T, N)``, or ``(K, T, U, N)`` across all pairs."""

    def score(self, draws: Draws, names: tuple[str, ...], like: Array) -> tuple[dict[str, Array], Array]:
        """Log likelihood of the modalities ``names``, and the log prior of the latents, all ``(K, T, N)``."""


class Objective:
    r"""Base of every objective; a row of the table says what :meth:`terms` are.

    Arguments:
        particles: K.
        beta: :math:`\beta`, on the whole ratio of reference and posterior.
        gradient: ``"standard"`` (reparametrised), ``"stl"`` (sticking the landing) or ``"dreg"`` (doubly
            reparametrised, for K > 1).
        density: ``"own"``: q is the guide's density for the term's subset; ``"mixture"``: that of the mixture over all
            terms.
        average: True averages the particles (ELBO); False takes the log-mean-exp (IWAE).
        weights: Factor on the log likelihood of each modality named; 1 for the others.
        score: Modalities that the model scores; None for all. With none, a prior is learned from the guide's draws
            and no decoder runs.

    Raises:
        OptionError: If an option is unknown or out of range.
        ObjectiveError: If DReG is asked for with one particle or with averaged particles.

    References:
        | Importance Weighted Autoencoders (Burda et al., 2016), https://arxiv.org/abs/1509.00519
        | Sticking the Landing (Roeder et al., 2017), https://arxiv.org/abs/1703.09194
        | Doubly Reparameterized Gradient Estimators (Tucker et al., 2019), https://arxiv.org/abs/1810.04152
    """

    def __init__(
        self,
        particles: int = 1,
        *,
        beta: float = 1.0,
        gradient: str = "standard",
        density: str = "own",
        average: bool = False,
        weights: dict[str, float] | None = None,
        score: tuple[str, ...] | None = None,
    ):
        if particles < 1:
            raise OptionError(f"Expected particles >= 1; got {particles}.")
        if gradient not in GRADIENTS:
            raise OptionError(f"Expected gradient among {GRADIENTS}; got {gradient!r}.")
        if density not in DENSITIES:
            raise OptionError(f"Expected density among {DENSITIES}; got {density!r}.")
        if gradient == "dreg" and (particles == 1 or average):
            raise ObjectiveError("DReG is an estimator of the importance-weighted bound: pass particles > 1.")
        self.particles, self.beta, self.gradient = particles, float(beta), gradient
        self.density, self.average, self.weights = density, average, dict(weights or {})
        self.score = score
        super().__init__()

    def terms(self, backend: Backend, batch: Batch, rng: Any, like: Array) -> Terms:
        """The table for this batch."""
        raise NotImplementedError

    def evaluate(self, run: Evaluation, batch: Batch, rng: Any) -> tuple[Array, dict[str, Array]]:
        """The loss (to minimise, summed over data with the plate's scale) and a record of its terms."""
        unknown = set(self.weights) - set(batch.modalities)
        if unknown:
            raise OptionError(f"weights name {sorted(unknown)}, but the batch has {list(batch.modalities)}.")
        terms = self.terms(run.backend, batch, rng, run.like)
        draws = self._draw(run, terms)
        if self.gradient == "dreg":
            # The factor of the latents' gradient is a normalised weight, so the weights come first.
            first = self._ingredients(run, batch, terms, draws)
            factor = run.backend.stop_gradient(first.normalised_weights(run.backend, self.beta))
            draws = draws._replace(latents={k: _scaled(run.backend, z, factor) for k, z in draws.latents.items()})
        return bound_and_record(run.backend, self, terms, self._ingredients(run, batch, terms, draws), run.scale)

    def log_weights(self, run: Evaluation, batch: Batch, rng: Any) -> Array:
        """Log p(x_T, z) - log q(z) of every particle, term and datum, ``(K, T, N)``, with beta 1."""
        terms = self.terms(run.backend, batch, rng, run.like)
        return self._ingredients(run, batch, terms, self._draw(run, terms)).log_weights(1.0)

    def _draw(self, run: Evaluation, terms: Terms) -> Draws:
        own = self.density == "own" and self.gradient == "standard"
        return run.draw(terms.encode, self.particles, density=own)

    def _ingredients(self, run: Evaluation, batch: Batch, terms: Terms, draws: Draws) -> Ingredients:
        backend, xp = run.backend, run.backend.xp
        detach = self.gradient != "standard"
        if self.density == "mixture":
            subsets, weight = terms.mixture or (terms.encode, terms.weight)
            across = run.density(draws, subsets, cross=True, detach=detach)
            total = xp.sum(weight, axis=0, keepdims=True)
            # A datum without a term gets even shares: its density is not used, but must be finite.
            share = xp.where(total > 0, weight / xp.where(total > 0, total, xp.ones_like(total)), 1.0 / weight.shape[0])
            log_share = xp.where(share > 0, xp.log(xp.where(share > 0, share, xp.ones_like(share))), -xp.inf)
            log_q = backend.logsumexp(across + log_share, axis=2)
        elif detach:
            log_q = run.density(draws, terms.encode, cross=False, detach=True)
        else:
            log_q = draws.log_q
        names = batch.modalities if self.score is None else self.score
        log_lik, log_prior = run.score(draws, names, log_q)
        reference = log_prior
        if terms.reference is not None:
            reference = run.density(draws, terms.reference, cross=False, detach=False)
        masks = {
            name: xp.astype(terms.score[..., i] & batch.present[name], log_q.dtype)
            for i, name in enumerate(batch.modalities)
            if name in names
        }
        return Ingredients(log_lik, masks, reference, log_q, self.weights)


def _scaled(backend: Backend, z: Array, factor: Array) -> Array:
    """The same value with its gradient multiplied by ``factor`` (``(K, T, N)``)."""
    still = backend.stop_gradient(z)
    return still + factor.reshape(factor.shape + (1,) * (z.ndim - factor.ndim)) * (z - still)
