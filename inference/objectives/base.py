r"""An objective is a table: weighted terms of "encode from E, score T, reference r, density of q".

.. math:: L = \sum_t w_t \, \mathbb{E}_{z \sim q(\cdot \mid x_{E_t})}\big[ \log p(x_{T_t} \mid z)
    + \beta (\log r_t(z) - \log q_t(z)) \big]

With K particles the expectation becomes a log-mean-exp, per datum, with the plate's scale outside it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from inspect import signature
from typing import Any, NamedTuple

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.by_value import ByValue
from mmppl.checks import at_least, checked, one_of
from mmppl.display import brief, page, plain, table
from mmppl.errors import ModalityError, ObjectiveError, OptionError
from mmppl.inference.objectives.algebra import Ingredients, bound_and_record, gradient_of
from mmppl.inference.objectives.evaluation import Evaluation
from mmppl.inference.objectives.gradients import along, held, scaled
from mmppl.inference.objectives.mixtures import mixed, own_share
from mmppl.inference.objectives.terms import Draws, Scores, Terms
from mmppl.sites import refuse_astray

Array = Any

__all__ = ["Objective", "factor", "owner"]

GRADIENTS = ("standard", "stl", "dreg", "score")
DENSITIES = ("own", "mixture")


@checked(
    particles=at_least(1),
    beta=at_least(0),
    free_bits=at_least(0),
    gradient=one_of(GRADIENTS),
    density=one_of(DENSITIES),
)
class Objective(ByValue, ABC):
    r"""Base of every objective; a row of the table says what :meth:`terms` are.

    A latent whose site is named ``"<modality>.<anything>"`` is private to that modality, the longest if several fit;
    every other one is shared.

    Arguments:
        particles: Draws K of the guide for each datum.
        beta: :math:`\beta`, on the whole ratio of reference and posterior of each datum; latents outside the plate of
            the data count as under the host's own bound. A number, or a function of the step such as
            :class:`~mmppl.inference.objectives.schedules.WarmUp`. :func:`~mmppl.inference.fit` counts steps within a
            stage; the host's own SVI is given ``step=``.
        gradient: ``"standard"`` (reparametrised), ``"stl"`` (sticking the landing), ``"dreg"`` (doubly
            reparametrised, what sticking the landing becomes with importance weights, K > 1) or ``"score"`` (score
            function with the other particles as baseline, for latents that are discrete). All have the same mean; see
            :mod:`mmppl.inference.objectives.gradients`.
        density: ``"own"``: q is the guide's density for the term's subset; ``"mixture"``: that of the mixture over all
            terms.
        average: True averages the particles (ELBO); False takes the log-mean-exp (IWAE).
        weights: Factor on the log likelihood of each modality named; 1 for the others.
        score: Modalities that the model scores; None for all. With none, a prior is learned from the guide's draws
            and no decoder runs.
        free_bits: :math:`\lambda`, in nats: a divergence below it counts as :math:`\lambda`, for each datum and term.

    Raises:
        OptionError: If an option is unknown or out of range.
        ObjectiveError: If DReG is asked for with one particle or with averaged particles, free bits with
            importance weights, or with sticking the landing, which they bias.

    References:
        | Importance Weighted Autoencoders (Burda et al., 2016), https://arxiv.org/abs/1509.00519
        | Sticking the Landing (Roeder et al., 2017), https://arxiv.org/abs/1703.09194
        | Doubly Reparameterized Gradient Estimators (Tucker et al., 2019), https://arxiv.org/abs/1810.04152
        | Variational Inference for Monte Carlo Objectives (Mnih & Rezende, 2016), https://arxiv.org/abs/1602.06725
        | Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016), appendix C (free bits)
    """

    least = 1  # modalities that the objective needs
    shared = False  # whether private latents are refused
    auxiliary = False  # whether private latents of modalities outside E are drawn, but count in no density

    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **options: Any) -> "Objective":
        self = super().__new__(cls)
        self._given = args, options
        return self

    def __init__(
        self,
        particles: int = 1,
        *,
        beta: float | Callable[[Array], Array] = 1.0,
        gradient: str = "standard",
        density: str = "own",
        average: bool = False,
        weights: dict[str, float] | None = None,
        score: tuple[str, ...] | None = None,
        free_bits: float = 0.0,
    ):
        if gradient == "dreg" and (particles == 1 or average):
            raise ObjectiveError("DReG is an estimator of the importance-weighted bound: pass particles > 1.")
        if gradient == "stl" and free_bits:
            raise ObjectiveError("Sticking the landing is biased with free bits: pass gradient='standard'.")
        negative = {name: value for name, value in (weights or {}).items() if not value >= 0}
        if negative:
            raise OptionError(f"Expected weights >= 0; got {negative}.")
        if free_bits and particles > 1 and not average:
            raise ObjectiveError("Free bits are of a divergence, which importance weights have not: pass average=True.")
        # With importance weights the term that sticking the landing leaves out has a mean, which DReG gives.
        self.gradient = "dreg" if gradient == "stl" and particles > 1 and not average else gradient
        self.particles = particles
        self.beta = beta if callable(beta) else float(beta)
        self.density, self.average, self.weights = density, average, dict(weights or {})
        self.score, self.free_bits = score, float(free_bits)
        super().__init__()

    def __repr__(self) -> str:
        args, options = self._given
        taken = signature(type(self).__init__).parameters.values()
        names = [p.name for p in taken if p.kind is p.POSITIONAL_OR_KEYWORD][1:]  # less self
        named = dict(zip(names, args, strict=False)) | options
        said = {n: x for n, x in named.items() if not (x is None or isinstance(x, dict) and not x)}
        texts = [*map(brief, args[len(names) :]), *(f"{n}={brief(x)}" for n, x in said.items())]
        return f"{type(self).__name__}({', '.join(texts)})"

    def _repr_html_(self) -> str:
        said = {name: getattr(self, name) for name in ("particles", "beta", "gradient", "density", "average")}
        rows = [(name, brief(value)) for name, value in (said | self._given[1]).items()]
        return page(type(self).__name__, table(("", ""), rows))

    def written(self) -> str:
        """The objective as it was written, with all digits; run folders keep it."""
        args, options = self._given
        texts = [x.written() if isinstance(x, Objective) else plain(x) for x in (*args, *options.values())]
        named = [f"{name}={text}" for name, text in zip(options, texts[len(args) :], strict=True)]
        return f"{type(self).__name__}({', '.join([*texts[: len(args)], *named])})"

    @abstractmethod
    def terms(self, backend: Backend, batch: Batch, rng: Any, like: Array) -> Terms:
        """The table for this batch."""

    def check(self, names: tuple[str, ...]) -> None:
        """Raises if the objective cannot be used on a batch with these modalities."""
        if len(names) < self.least:
            raise ObjectiveError(
                f"{type(self).__name__} needs at least {self.least} modalities; got {list(names)}. Use ELBO."
            )
        unknown = set(self.weights) - set(names)
        if unknown:
            raise OptionError(f"weights name {sorted(unknown)}, but the batch has {list(names)}.")

    def admit(self, draws: Draws, modalities: tuple[str, ...]) -> None:
        """Raises if the objective cannot use the latents that the guide draws."""
        both = [site for site in draws.latents if site in modalities]
        if both:
            raise ModalityError(
                f"Expected latents with names of their own; got {both}, which are modalities too. Rename one of them."
            )
        private = [site for site in draws.latents if owner(site, modalities) is not None]
        if private and self.shared:
            raise ObjectiveError(
                f"{type(self).__name__} cannot use the private latents {private}: it compares what modalities say of "
                "one shared latent. Use MMVAEPlus."
            )
        if draws.discrete and self.gradient != "score":
            raise ObjectiveError(
                f"Latents {list(draws.discrete)} are discrete, which have no reparametrised gradient: pass "
                "gradient='score', or sum them out with the host's TraceEnum_ELBO."
            )
        outside = [site for site in draws.discrete if site in draws.outside]
        if outside:
            raise ObjectiveError(
                f"Latents {outside} are discrete and outside the plate of the data, where the score function is not "
                "taken datum by datum: use the host's TraceGraph_ELBO, or sum them out with its TraceEnum_ELBO."
            )
        if draws.points and self.gradient in ("dreg", "score"):
            raise ObjectiveError(
                f"Latents {list(draws.points)} are values with no spread (Delta), whose density tells gradient="
                f"'{self.gradient}' nothing of them: pass gradient='standard'."
            )
        if draws.fixed and self.gradient != "score":
            raise ObjectiveError(
                f"Latents {list(draws.fixed)} have no reparametrised draws, so that what the guide learns of them "
                "would be lost: pass gradient='score', or take a distribution with rsample."
            )

    def evaluate(self, run: Evaluation, batch: Batch, rng: Any, step: Any = None) -> tuple[Array, dict[str, Array]]:
        """The loss (to minimise, summed over data with the plate's scale) and a record of its terms."""
        self.check(batch.modalities)
        beta = self._beta(run, step)
        terms = self.terms(run.backend, batch, rng, run.like)
        draws = run.draw(terms, self.particles, average=self.average)
        self.admit(draws, batch.modalities)
        if self.gradient == "dreg":
            parts = self._doubly_reparametrised(run, batch, terms, draws, beta)
        else:
            if self.gradient == "score":
                draws = draws._replace(latents={k: run.backend.stop_gradient(z) for k, z in draws.latents.items()})
            parts = self._ingredients(run, batch, terms, draws, *self._log_q(run, batch, terms, draws))
        return bound_and_record(run.backend, self, terms, parts, beta)

    def log_weights(self, run: Evaluation, batch: Batch, rng: Any) -> Array:
        """Log p(x_T, z) - log q(z) of every particle, term and datum, ``(K, T, N)``, with beta 1."""
        terms = self.terms(run.backend, batch, rng, run.like)
        draws = run.draw(terms, self.particles, average=self.average)
        parts = self._ingredients(run, batch, terms, draws, *self._log_q(run, batch, terms, draws))
        refuse_astray(parts.astray)
        return parts.log_weights(1.0)

    def _beta(self, run: Evaluation, step: Any) -> Any:
        if not callable(self.beta):
            return self.beta
        if step is None:
            raise ObjectiveError(
                "beta is a function of the step, so the step is needed: svi.update(state, batch, step=i) on NumPyro, "
                "svi.step(batch, step=i) on Pyro. fit counts by itself."
            )
        return self.beta(run.backend.asarray(step, like=run.like))

    def scored(self, batch: Batch) -> tuple[str, ...]:
        """The modalities that are scored."""
        return batch.modalities if self.score is None else self.score

    # The guide's density ------------------------------------------------------------------------------------------
    def _log_q(self, run: Evaluation, batch: Batch, terms: Terms, draws: Draws) -> tuple[Array, Array]:
        """The log density q of the draws, ``(K, T, N)``, with its gradient; and that of what they were drawn from."""
        if self.gradient == "stl":
            value, slope = held(run.backend, lambda at: self._densities(run, batch, terms, at).log_q, draws)
            return value + along(run.backend, slope, draws), value
        found = self._densities(run, batch, terms, draws, own=draws.log_q if self.gradient == "standard" else None)
        if self.gradient == "score" and draws.uneven:
            # The score is of what was drawn from: scales and masks change what a draw is worth, not how likely it is.
            plain = run.density(draws, terms.encode, plain=True)
            return found.log_q, sum(plain.values(), start=run.backend.xp.broadcast_to(run.like, draws.shape))
        return found.log_q, found.log_own

    def _densities(
        self, run: Evaluation, batch: Batch, terms: Terms, draws: Draws, own: dict[str, Array] | None = None
    ) -> "Densities":
        """The guide's densities at draws; ``own`` where the terms' own are known already."""
        xp = run.backend.xp
        owned = {site: i for site in draws.latents if (i := owner(site, batch.modalities)) is not None}
        zero = xp.broadcast_to(run.like, draws.shape)
        if self.density == "own":
            own = run.density(draws, terms.encode) if own is None else own
            log_q = self._total(xp, terms, owned, own, zero)
            return Densities(log_q, sum(own.values(), start=zero), zero, log_q)
        subsets, weight = terms.mixture or (terms.encode, terms.weight)
        across = run.density(draws, subsets, cross=True)
        private = [site for site in across if self.auxiliary and site in owned]
        if own is None and (private or self.gradient in ("score", "dreg")):
            own = run.density(draws, terms.encode)
        own = own or {}
        rest = self._total(xp, terms, owned, {site: own[site] for site in private}, zero)
        mixture = mixed(run, draws, {site: x for site, x in across.items() if site not in private}, weight)
        component = sum((x for site, x in own.items() if site not in private), start=zero)
        return Densities(mixture + rest, sum(own.values(), start=zero), rest, component)

    def _total(self, xp: Any, terms: Terms, owned: dict[str, int], parts: dict[str, Array], zero: Array) -> Array:
        """The sum over sites, of private ones where they count."""
        out = zero
        for site, value in parts.items():
            if self.auxiliary and site in owned:
                value = xp.where(terms.encode[..., owned[site]], value, xp.zeros_like(value))
            out = out + value
        return out

    def _doubly_reparametrised(
        self, run: Evaluation, batch: Batch, terms: Terms, draws: Draws, beta: Any
    ) -> Ingredients:
        """The ingredients whose gradient is the doubly reparametrised one."""
        backend, xp = run.backend, run.backend.xp
        frozen = draws._replace(latents={name: backend.stop_gradient(z) for name, z in draws.latents.items()})

        def slope(part: Callable[["Densities"], Array]) -> Array:
            return held(backend, lambda at: part(self._densities(run, batch, terms, at)), frozen)[1]

        # 1. The weights come first: they are in the factor of the draws' gradient.
        live = self._densities(run, batch, terms, frozen)
        log_q = backend.stop_gradient(live.log_q)
        first = self._ingredients(run.frozen(), batch, terms, frozen, log_q, log_q)
        weight = backend.stop_gradient(first.normalised_weights(backend, beta))
        # 2. The share of the component that drew.
        share = xp.ones_like(log_q)
        if self.density == "mixture":
            share = backend.stop_gradient(xp.exp(live.component - (live.log_q - live.rest)) * own_share(xp, terms))
        # 3. The factor of log q in log w.
        factor = beta * share
        if terms.reference is not None:
            factor = factor * (terms.reference.prior + xp.sum(terms.reference.share, axis=1))
        if terms.joint:
            factor = factor * terms.weight
        factor = 1.0 - factor * (1.0 - weight)
        owned = {site: i for site in draws.latents if (i := owner(site, batch.modalities)) is not None}

        def of_site(site: str) -> Array:
            """Auxiliary draws have a density in no weight, so their gradient stays as it is."""
            if self.auxiliary and site in owned:
                return xp.where(terms.encode[..., owned[site]], factor, xp.ones_like(factor))
            return factor

        moved = scaled(backend, draws, of_site)
        log_q = log_q + along(backend, slope(lambda d: d.log_q), moved)
        if self.density == "mixture" or draws.uneven:
            # 4. What the other components keep, and what log q has beyond the density of what was drawn from.
            drawn = live.component + live.rest
            if draws.uneven:
                plain = run.density(frozen, terms.encode, plain=True)
                drawn = self._total(xp, terms, owned, plain, xp.broadcast_to(run.like, draws.shape))
            log_q = log_q + gradient_of(backend, live.log_q - share * drawn)
        if self.density == "mixture":
            # 5. The slope of the share.
            slopes = slope(lambda d: d.component) - slope(lambda d: d.log_q - d.rest)
            log_q = log_q + along(backend, share[..., None] * slopes, draws)
        return self._ingredients(run, batch, terms, moved, log_q, log_q)

    # The bound's parts --------------------------------------------------------------------------------------------
    def _ingredients(
        self, run: Evaluation, batch: Batch, terms: Terms, draws: Draws, log_q: Array, log_own: Array
    ) -> Ingredients:
        xp = run.backend.xp
        owned = {site: i for site in draws.latents if (i := owner(site, batch.modalities)) is not None}
        scores = self._score(run, batch, terms, draws)
        if scores.astray and (
            self.beta != 1.0 or self.free_bits or any(self.weights.get(n, 1.0) != 1.0 for n in scores.astray)
        ):
            raise ObjectiveError(
                f"Expected modalities in the plate of the data, where beta, weights and free bits are; got "
                f"{list(scores.astray)} outside it. Observe all modalities in one mm.plate(batch)."
            )
        log_ratio = self._total(xp, terms, owned, scores.log_prior, xp.broadcast_to(run.like, draws.shape)) - log_q
        if terms.reference is not None:
            across = run.density(draws, terms.reference.subsets, cross=True)
            others = sum(across.values()) - log_q[:, :, None, :]
            log_ratio = terms.reference.prior * log_ratio + xp.sum(terms.reference.share * others, axis=2)
        masks = {site: factor(xp, terms, batch, site, log_q) for site in scores.log_lik}
        joint = terms.weight if terms.joint else None
        outside, scale = scores.log_ratio_outside(draws), scores.scale
        return Ingredients(
            scores.log_lik, masks, log_ratio, log_own, self.weights, joint, outside, scale, scores.astray
        )

    def _score(self, run: Evaluation, batch: Batch, terms: Terms, draws: Draws) -> Scores:
        """The model's log densities; each modality is decoded for the terms alone that may score it."""
        if terms.scored is None:
            return run.score(draws, run.names)
        xp, scores = run.backend.xp, run.score(draws, ())
        for name in run.names:
            which = terms.scored[batch.modalities.index(name)]
            own = run.score_terms(draws, name, which)
            if name not in own.log_lik:
                continue
            log_lik = own.log_lik[name]
            unscored = xp.zeros_like(log_lik[:, 0, ...])
            rows = [log_lik[:, which.index(t), ...] if t in which else unscored for t in range(draws.shape[1])]
            scores = scores._replace(log_lik={**scores.log_lik, name: xp.stack(rows, axis=1)}, scale=own.scale)
        return scores


class Densities(NamedTuple):
    """Log densities of draws under the guide, ``(K, T, N)``.

    Arguments:
        log_q: The one in the weights.
        log_own: That of all that was drawn, in what it was drawn from.
        rest: The part of ``log_q`` that is in no mixture: of private latents.
        component: Of a mixture, the density of the component that drew.
    """

    log_q: Array
    log_own: Array
    rest: Array
    component: Array


def owner(site: str, modalities: tuple[str, ...]) -> int | None:
    """The place of the modality that a latent is private to, the longest name that fits; None for a shared one.

    Example:
        >>> owner("a.b.w", ("a", "a.b")), owner("a.w", ("a", "a.b")), owner("ab", ("a", "a.b"))
        (1, 0, None)
    """
    owners = [i for i, name in enumerate(modalities) if site.startswith(f"{name}.")]
    return max(owners, key=lambda i: len(modalities[i]), default=None)


def factor(xp: Any, terms: Terms, batch: Batch, site: str, like: Array) -> Array:
    """The factor on a log likelihood, ``(T, N)``; what is observed beside the modalities counts with the prior."""
    if site not in batch.modalities:
        prior = None if terms.reference is None else terms.reference.prior
        beside = prior if terms.beside is None else terms.beside
        return xp.ones_like(like[0, ...]) * (1.0 if beside is None else beside)
    score, present = terms.score[..., batch.modalities.index(site)], batch.present[site]
    if score.dtype == xp.bool:
        return xp.astype(score & present, like.dtype)
    return score * xp.astype(present, like.dtype)
