r"""An objective is a table: weighted terms of "encode from E, score T, pull towards r, density of q".

.. math:: L = \sum_t w_t \, \mathbb{E}_{z \sim q(\cdot \mid x_{E_t})}\big[ \log p(x_{T_t} \mid z)
    + \beta (\log r_t(z) - \log q_t(z)) \big]

With K particles the expectation becomes a log-mean-exp, per datum, with the plate's scale outside it.
"""

import copy
from collections.abc import Callable
from typing import Any

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.errors import ModalityError, ObjectiveError, OptionError
from mmppl.inference.objectives.algebra import Ingredients, bound_and_record
from mmppl.inference.objectives.terms import Draws, Evaluation, Terms

Array = Any

__all__ = ["Objective", "factor", "mixed", "owner"]

GRADIENTS = ("standard", "stl", "dreg", "score")
DENSITIES = ("own", "mixture")


class Objective:
    r"""Base of every objective; a row of the table says what :meth:`terms` are.

    A latent whose site is named ``"<modality>.<anything>"`` is private to that modality, the longest if several fit;
    every other one is shared.

    Arguments:
        particles: K.
        beta: :math:`\beta`, on the whole ratio of reference and posterior: a number, or a function of the step such as
            :class:`~mmppl.inference.objectives.schedules.WarmUp`. :func:`~mmppl.inference.fit` counts steps within a
            stage; the host's own SVI is given ``step=``.
        gradient: ``"standard"`` (reparametrised), ``"stl"`` (sticking the landing), ``"dreg"`` (doubly
            reparametrised, for K > 1) or ``"score"`` (score function with the other particles as baseline, for
            latents that are discrete).
        density: ``"own"``: q is the guide's density for the term's subset; ``"mixture"``: that of the mixture over all
            terms.
        average: True averages the particles (ELBO); False takes the log-mean-exp (IWAE).
        weights: Factor on the log likelihood of each modality named; 1 for the others.
        score: Modalities that the model scores; None for all. With none, a prior is learned from the guide's draws
            and no decoder runs.
        free_bits: :math:`\lambda`, in nats: a divergence below it counts as :math:`\lambda`, for each datum and term.

    Raises:
        OptionError: If an option is unknown or out of range.
        ObjectiveError: If DReG is asked for with one particle or with averaged particles, or free bits with
            importance weights.

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
        if particles < 1:
            raise OptionError(f"Expected particles >= 1; got {particles}.")
        if not callable(beta) and not beta >= 0:
            raise OptionError(f"Expected beta >= 0, or a function of the step; got {beta}.")
        if gradient not in GRADIENTS:
            raise OptionError(f"Expected gradient among {GRADIENTS}; got {gradient!r}.")
        if density not in DENSITIES:
            raise OptionError(f"Expected density among {DENSITIES}; got {density!r}.")
        if gradient == "dreg" and (particles == 1 or average):
            raise ObjectiveError("DReG is an estimator of the importance-weighted bound: pass particles > 1.")
        negative = {name: value for name, value in (weights or {}).items() if not value >= 0}
        if negative:
            raise OptionError(f"Expected weights >= 0; got {negative}.")
        if not free_bits >= 0:
            raise OptionError(f"Expected free_bits >= 0, in nats; got {free_bits}.")
        if free_bits and particles > 1 and not average:
            raise ObjectiveError("Free bits are of a divergence, which importance weights have not: pass average=True.")
        self.particles, self.gradient = particles, gradient
        self.beta = beta if callable(beta) else float(beta)
        self.density, self.average, self.weights = density, average, dict(weights or {})
        self.score, self.free_bits = score, float(free_bits)
        super().__init__()

    def __repr__(self) -> str:
        """As it was written; run folders keep it."""
        args, options = self._given
        said = [*map(_plain, args), *(f"{name}={_plain(value)}" for name, value in options.items())]
        return f"{type(self).__name__}({', '.join(said)})"

    def terms(self, backend: Backend, batch: Batch, rng: Any, like: Array) -> Terms:
        """The table for this batch."""
        raise NotImplementedError

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

    def evaluate(self, run: Evaluation, batch: Batch, rng: Any, step: Any = None) -> tuple[Array, dict[str, Array]]:
        """The loss (to minimise, summed over data with the plate's scale) and a record of its terms."""
        self.check(batch.modalities)
        beta = self._beta(run, step)
        terms = self.terms(run.backend, batch, rng, run.like)
        run.several = terms.several()
        draws = self._draw(run, terms)
        self.admit(draws, batch.modalities)
        if self.gradient == "dreg":
            # The factor of the latents' gradient is a normalised weight, so the weights come first.
            first = self._ingredients(run, batch, terms, draws)
            share = run.backend.stop_gradient(first.normalised_weights(run.backend, beta))
            draws = draws._replace(latents={k: _scaled(run.backend, z, share) for k, z in draws.latents.items()})
        elif self.gradient == "score":
            draws = draws._replace(latents={k: run.backend.stop_gradient(z) for k, z in draws.latents.items()})
        parts = self._ingredients(run, batch, terms, draws)
        return bound_and_record(run.backend, self, terms, parts, run.scale, beta)

    def log_weights(self, run: Evaluation, batch: Batch, rng: Any) -> Array:
        """Log p(x_T, z) - log q(z) of every particle, term and datum, ``(K, T, N)``, with beta 1."""
        terms = self.terms(run.backend, batch, rng, run.like)
        return self._ingredients(run, batch, terms, self._draw(run, terms)).log_weights(1.0)

    def _beta(self, run: Evaluation, step: Any) -> Any:
        if not callable(self.beta):
            return self.beta
        if step is None:
            raise ObjectiveError(
                "beta is a function of the step, so the step is needed: svi.update(state, batch, step=i) on NumPyro, "
                "svi.step(batch, step=i) on Pyro. fit counts by itself."
            )
        return self.beta(run.backend.asarray(step, like=run.like))

    def _draw(self, run: Evaluation, terms: Terms) -> Draws:
        own = self.density == "own" and self.gradient == "standard"
        return run.draw(terms.encode, self.particles, density=own or self.auxiliary)

    def _ingredients(self, run: Evaluation, batch: Batch, terms: Terms, draws: Draws) -> Ingredients:
        xp, detach = run.backend.xp, self.gradient in ("stl", "dreg")
        owned = {site: i for site in draws.latents if (i := owner(site, batch.modalities)) is not None}

        def total(parts: dict[str, Array]) -> Array:
            """The sum over sites, of private ones where they count."""
            out = xp.broadcast_to(run.like, run.shape)
            for site, value in parts.items():
                if self.auxiliary and site in owned:
                    value = xp.where(terms.encode[..., owned[site]], value, xp.zeros_like(value))
                out = out + value
            return out

        own = draws.log_q
        if self.gradient != "standard" and (self.density == "own" or self.auxiliary or self.gradient == "score"):
            own = run.density(draws, terms.encode, cross=False, detach=detach)
        if self.density == "mixture":
            subsets, weight = terms.mixture or (terms.encode, terms.weight)
            across = run.density(draws, subsets, cross=True, detach=detach)
            private = {site: own[site] for site in across if self.auxiliary and site in owned}
            log_q = mixed(run, [across[site] for site in across if site not in private], weight) + total(private)
        else:
            log_q = total(own)
        log_lik, prior = self._score(run, batch, terms, draws)
        pull = total(prior) - log_q
        if terms.reference is not None:
            across = run.density(draws, terms.reference.subsets, cross=True, detach=False)
            others = sum(across.values()) - log_q[:, :, None, :]
            pull = terms.reference.prior * pull + xp.sum(terms.reference.share * others, axis=2)
        masks = {site: factor(xp, terms, batch, site, log_q) for site in log_lik}
        log_own = sum(own.values()) if self.gradient == "score" else log_q
        return Ingredients(log_lik, masks, pull, log_own, self.weights, terms.weight if terms.joint else None)

    def _score(self, run: Evaluation, batch: Batch, terms: Terms, draws: Draws) -> tuple[dict, dict]:
        """Log likelihoods and log prior; each modality is decoded for the terms alone that may score it."""
        names = batch.modalities if self.score is None else self.score
        if terms.scored is None:
            return run.score(draws, names)
        xp = run.backend.xp
        log_lik, prior = run.score(draws, ())
        for name in names:
            which = terms.scored[batch.modalities.index(name)]
            part = copy.copy(run)
            part.shape = (run.shape[0], len(which), run.shape[2])
            latents = {s: xp.concat([z[:, t : t + 1, ...] for t in which], axis=1) for s, z in draws.latents.items()}
            own = part.score(draws._replace(latents=latents), (name,), prior=False)[0][name]
            unscored = xp.zeros_like(own[:, 0, ...])
            rows = [own[:, which.index(t), ...] if t in which else unscored for t in range(run.shape[1])]
            log_lik = {**log_lik, name: xp.stack(rows, axis=1)}
        return log_lik, prior


def owner(site: str, modalities: tuple[str, ...]) -> int | None:
    """The place of the modality that a latent is private to, the longest name that fits; None for a shared one.

    Example:
        >>> owner("a.b.w", ("a", "a.b")), owner("a.w", ("a", "a.b")), owner("ab", ("a", "a.b"))
        (1, 0, None)
    """
    owners = [i for i, name in enumerate(modalities) if site.startswith(f"{name}.")]
    return max(owners, key=lambda i: len(modalities[i]), default=None)


def mixed(run: Evaluation, across: list[Array], weight: Array) -> Array:
    """The log density of the mixture over subsets by weight ``(U, N)``, ``(K, T, N)``."""
    backend, xp = run.backend, run.backend.xp
    total = xp.sum(weight, axis=0, keepdims=True)
    # A datum without a term gets even shares: its density is not used, but must be finite.
    share = xp.where(total > 0, weight / xp.where(total > 0, total, xp.ones_like(total)), 1.0 / weight.shape[0])
    log_share = xp.where(share > 0, xp.log(xp.where(share > 0, share, xp.ones_like(share))), -xp.inf)
    return backend.logsumexp(sum(across) + log_share, axis=2)


def factor(xp: Any, terms: Terms, batch: Batch, site: str, like: Array) -> Array:
    """The factor on a log likelihood, ``(T, N)``; 1 for what is observed beside the modalities."""
    if site not in batch.modalities:
        return xp.ones_like(like[0, ...])
    score, present = terms.score[..., batch.modalities.index(site)], batch.present[site]
    if score.dtype == xp.bool:
        return xp.astype(score & present, like.dtype)
    return score * xp.astype(present, like.dtype)


def _scaled(backend: Backend, z: Array, factor: Array) -> Array:
    """The same value with its gradient multiplied by ``factor`` (``(K, T, N)``)."""
    still = backend.stop_gradient(z)
    return still + factor.reshape(factor.shape + (1,) * (z.ndim - factor.ndim)) * (z - still)


def _plain(value: Any) -> str:
    """As it writes itself; what would tell its address, other in every process, by its name or its type's."""
    said = repr(value)
    return getattr(value, "__qualname__", type(value).__qualname__) if " at 0x" in said else said
