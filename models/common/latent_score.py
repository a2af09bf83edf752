"""Two stages: an autoencoder for each modality, then a score of all their latents."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.errors import ModalityError, OptionError
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program, Stage
from mmppl.models.common.autoencoder import Autoencoder
from mmppl.models.common.coders import UNCONDITIONAL, Coders, Conditions
from mmppl.models.common.declare import autoencoders, weights
from mmppl.models.common.own_space import OwnSpace
from mmppl.models.common.score_options import ScoreOptions
from mmppl.models.common.score_registry import score_net
from mmppl.models.common.whitening_params import ratio_learning, whitening_params, whitening_values
from mmppl.nets import PairEnergy
from mmppl.nets.spec import Spec
from mmppl.numerics import normal_log_density
from mmppl.priors import Blocks, MultiTaskModel, ScoreModel, Whitening
from mmppl.priors.condition import BlockRoles, Condition, Query
from mmppl.priors.coordinates import Standardization, statistics
from mmppl.priors.score.base import JointModel
from mmppl.priors.score.guidance import PairwiseGuidance, pair_name

__all__ = ["two_stages"]


def two_stages(
    modalities: Mapping[str, Modality],
    ppl: PPL,
    *,
    options: ScoreOptions,
    score: JointModel,
    net: Spec | None = None,
    pairs: str = "shared",
    plain: Mapping[str, OwnSpace] | None = None,
    alone: tuple[JointModel, float] | None = None,
    conditions: Conditions = UNCONDITIONAL,
    seed: int,
) -> Program:
    """The program of independent autoencoders with a joint score over their latents.

    Arguments:
        modalities: What each modality is, by name.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        options: The options that all such systems have.
        score: How the score is learned, solved and conditioned.
        net: Its network; None for the one that the options name.
        pairs: Where the score is guided by pairs: ``"shared"`` for one energy of all pairs, ``"per_pair"`` for one of
            each.
        plain: Modalities that are diffused in their own spaces, see
            :class:`~mmppl.models.common.own_space.OwnSpace`.
        alone: A model by which the network is learned in the last epochs, and their share; None for none.
        conditions: Covariates that encoders and decoders are given; the score is of codes alone.
        seed: Random seed of the initial weights.

    Raises:
        OptionError: If ``pairs`` is unknown, no epochs are left for the score, or there is no decoder to tune.
        ModalityError: If a modality of ``coders`` is unknown.
    """
    if pairs not in ("shared", "per_pair"):
        raise OptionError(f"Expected pairs 'shared' or 'per_pair'; got {pairs!r}.")
    share, finetune = options.share, options.finetune
    if finetune < 0.0 or share + finetune >= 1.0:
        raise OptionError(f"Expected finetune >= 0 and share + finetune < 1; got {finetune} and share {share}.")
    latents = LatentScore(ppl, modalities, options, score, net, pairs, seed, dict(plain or {}), conditions)
    if finetune and not latents.own:
        raise OptionError("Expected finetune 0 where no autoencoder is learned; got more.")
    stages = [latents.autoencoder_stage()] if latents.own else []
    last, rest = 0.0 if alone is None else alone[1], 1.0 - share - finetune
    rest = rest * (1.0 - last)
    if latents.guidance is None:
        stages += [latents.score_stage(rest)]
    else:
        stages += [latents.score_stage(0.7 * rest), latents.guidance_stage(0.3 * rest)]
    if alone is not None and last:
        stages += [latents.score_stage(rest * last / (1.0 - last), "alone", alone[0])]
    if finetune:
        stages += [latents.decoder_stage(finetune)]
    about: dict[str, Any] = {"stages": tuple(stages), "kernel": None, "ode_density": True}
    whole = len(latents.spaces) == len(modalities)
    about["bound"] = (latents.bound_model, latents.bound_guide) if whole else None
    density = latents.autoencoder.kind == "vae" or whole
    return Program(latents.model, latents.guide, ppl.ELBO(), ppl, modalities, density=density, **about)


@dataclass(eq=False)
class LatentScore:
    """Models and guides of the stages, over networks that they share; arguments are those of :func:`two_stages`."""

    ppl: PPL
    modalities: Mapping[str, Modality]
    options: ScoreOptions
    score: JointModel
    net: Spec | None
    pairs: str
    seed: int
    spaces: Mapping[str, OwnSpace] = field(default_factory=dict)
    conditions: Conditions = UNCONDITIONAL
    guidance: PairwiseGuidance | None = field(init=False)
    coders: Coders = field(init=False)

    def __post_init__(self) -> None:
        options, ppl, blocks = self.options, self.ppl, self.score.blocks
        given = dict(options.coders or {})
        unknown = [name for name in given if name not in self.modalities]
        if unknown:
            raise ModalityError(f"Expected coders for modalities among {list(self.modalities)}; got {unknown}.")
        self.autoencoder = Autoencoder(options.autoencoder, options.noise, options.penalty, options.beta)
        self.learning = ratio_learning(options.ratio, self.seed)
        self.blocks, self.dims = blocks, dict(blocks.items())
        self.own = {n: modality for n, modality in self.modalities.items() if n not in given and n not in self.spaces}
        pairwise = self.score.pairwise if isinstance(self.score, ScoreModel) else None
        self.guidance = pairwise if pairwise is not None and pairwise.strength > 0 else None
        if self.conditions.known and len(self.own) < len(self.modalities):
            raise OptionError(
                "Expected covariates without coders and without modalities in their own space, which are not given "
                "any; got both."
            )
        self.coders = Coders(ppl, self.modalities, self.conditions)
        own = Coders(ppl, self.own, self.conditions)
        specs: dict[str, Any] = autoencoders(own, self.dims, options.hidden, self.autoencoder.family)
        specs["prior.score"] = self.net or score_net(options.net, blocks.sizes, options.width, options.depth)
        if self.guidance is not None:
            self.pair_names = [pair_name(blocks.names[i], blocks.names[j]) for i, j in self.guidance.pairs]
            per_pair = [f"prior.pair.{name}" for name in self.pair_names]
            self.energies = ["prior.pair"] if self.pairs == "shared" else per_pair
            specs |= dict.fromkeys(self.energies, PairEnergy(blocks.sizes))
        self.coders.build(specs, self.seed)
        for name, (encoder, decoder) in given.items():
            self.coders.nets.update({f"{name}.encoder": encoder, f"{name}.decoder": decoder})

    # Networks and the prior ---------------------------------------------------------------------------------------
    def encode(self, batch: Batch, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Outputs of the encoders of what the batch has."""
        names = self.modalities if names is None else names
        asked = [m for m in batch.modalities if m in names]
        out = {m: self.coders.encode(m, batch) for m in asked if m not in self.spaces}
        like = self.ppl.host.zeros(1)
        out |= {m: self.spaces[m].encode(batch[m], like) for m in asked if m in self.spaces}
        if any(isinstance(code, tuple) for code in out.values()):
            return {m: out[m] if isinstance(out[m], tuple) else (out[m], 0.0 * out[m]) for m in asked}
        return {m: out[m] for m in asked}

    def observe(self, name: str, z: Any, batch: Batch) -> None:
        """Decodes a modality and scores it."""
        if name in self.spaces:
            self.ppl.observe(name, self.spaces[name].likelihood(self.ppl, z), batch)
            return
        self.coders.observe(name, z, batch)

    def coordinates(self) -> Standardization | Whitening:
        """Coordinates of the score, as parameters."""
        host, dim = self.ppl.host, self.blocks.dim
        if self.options.reduce is not None:
            return whitening_params(self.ppl, self.blocks)
        loc, scale = host.zeros(dim), host.zeros(dim) + 1.0
        return Standardization(host.param("prior.loc", loc), host.param("prior.scale", scale))

    def energy(self) -> Any:
        """Energies of the pairwise guidance; None where there is none."""
        if self.guidance is None:
            return None
        bound = [self.coders.net(name) for name in self.energies]
        return bound[0] if self.pairs == "shared" else dict(zip(self.pair_names, bound, strict=True))

    def joint(self, density: str, score: JointModel | None = None) -> Any:
        """The prior of all latents."""
        bound = self.coders.net("prior.score")
        how = {"coordinates": self.coordinates(), "energy": self.energy(), "density": density}
        return self.ppl.JointScore(bound, score or self.score, **how)

    # The program --------------------------------------------------------------------------------------------------
    def model(self, batch: Batch) -> None:
        """Latents of the joint score, decoded."""
        with self.ppl.plate(batch):
            z = self.blocks.split(self.ppl.host.sample("z", self.joint("flow")))
            for name in batch.modalities:
                self.observe(name, z[name], batch)

    def guide(self, batch: Batch) -> None:
        """Latents of the joint score given the codes of what is there."""
        with self.ppl.plate(batch):
            self.ppl.host.sample("z", self.joint("flow").conditional(self.encode(batch), batch.present))

    def bound_model(self, batch: Batch) -> None:
        """Codes of what there is, by a bound of their density, less what is known of them, and the data given them."""
        codes = {m: self.spaces[m].encode(batch[m], self.ppl.host.zeros(1)) for m in batch.modalities}
        with self.ppl.plate(batch):
            z = self.ppl.host.sample("z", self.joint("bound").marginal(batch.present))
            parts = self.blocks.split(z)
            for name, (code, scale) in codes.items():
                self.observe(name, parts[name], batch)
                self.ppl.host.factor(f"{name}.code", -_log_density(parts[name], code, scale, batch.present[name]))

    def bound_guide(self, batch: Batch) -> None:
        """Codes of what there is."""
        self._latent_guide(Batch.trusted(self._codes(batch), batch.present, None, len(batch)))

    # 1. Autoencoders, each alone ----------------------------------------------------------------------------------
    def autoencoder_stage(self) -> Stage:
        """The stage of the autoencoders."""
        beta = self.autoencoder.beta if self.autoencoder.kind == "vae" else 1.0
        return Stage(
            "autoencoders",
            share=self.options.share,
            train=tuple(f"{m}.{part}." for m in self.own for part in ("encoder", "decoder")),
            objective=self.ppl.ELBO(beta=beta, weights=weights(self.modalities)),
            model=self._each_model,
            guide=self._each_guide,
        )

    def _each_model(self, batch: Batch) -> None:
        host = self.ppl.host
        with self.ppl.plate(batch):
            for name in self.own:
                prior = self.autoencoder.prior(host.dist, host.zeros(self.dims[name]), batch.present[name])
                self.observe(name, host.sample(f"{name}.z", prior), batch)

    def _each_guide(self, batch: Batch) -> None:
        host = self.ppl.host
        with self.ppl.plate(batch):
            for name, code in self.encode(batch, self.own).items():
                host.sample(f"{name}.z", self.autoencoder.posterior(host.dist, code, batch.present[name]))

    # 2. The score of their latents --------------------------------------------------------------------------------
    def score_stage(self, share: float, name: str = "prior", score: JointModel | None = None) -> Stage:
        """The stage of the score, by its own model or another one's loss."""
        return Stage(
            name,
            share=share,
            train=("prior.score.",),
            objective=self.ppl.ELBO(),
            model=partial(self._latent_model, score=score),
            guide=self._latent_guide,
            encode=self._codes,
            initialize=self._initialize,
            ema=self.options.ema,
            measure=self._terms if isinstance(self.score, MultiTaskModel) else None,
        )

    def _latent_model(self, batch: Batch, score: JointModel | None = None) -> None:
        with self.ppl.plate(batch):
            self.ppl.host.sample("z", self.joint("denoising", score).marginal(batch.present))

    def _latent_guide(self, batch: Batch) -> None:
        with self.ppl.plate(batch):
            self.ppl.host.sample("z", self.ppl.host.dist.Delta(self._drawn(batch), event_dim=1))

    def _terms(self, batch: Batch) -> dict[str, Any]:
        """Terms of the bound of codes, L0 to L3 as published."""
        z, present = self._drawn(batch), self.blocks.stack(batch.present)
        backend, net = get_backend(z), self.coders.net("prior.score")
        known = Condition(backend.xp.zeros_like(z), None, BlockRoles(present, present & ~present))
        terms = self.score.sampled_evidence(  # type: ignore[attr-defined]
            self.ppl.host.random(), Query(backend, net, known, self.coordinates()), z
        )
        return {"L0": terms.end, "L1": terms.steps, "L2": terms.heads, "L3": terms.data}

    def _codes(self, batch: Batch) -> dict[str, Any]:
        """Codes of the encoders ``(N, D_m)``, or locations and scales side by side, ``(N, 2 D_m)``."""
        parts = {name: code if isinstance(code, tuple) else (code,) for name, code in self.encode(batch).items()}
        return {name: get_backend(part[0]).xp.concat(part, axis=-1) for name, part in parts.items()}

    def _drawn(self, batch: Batch) -> Any:
        """Latents as conditionals will be given them: draws where encoders have scales, new ones at every step."""
        some = next(iter(batch.values.values()))
        backend = get_backend(some)
        noise = backend.normal(self.ppl.host.random(), (*some.shape[:-1], self.blocks.dim), some)
        return self.blocks.join(_draw(batch, self.blocks, noise))

    def _initialize(self, latents: Batch) -> dict[str, np.ndarray]:
        noise = np.random.default_rng(self.seed).standard_normal((len(latents), self.blocks.dim))
        latents = Batch(_draw(latents, self.blocks, noise), latents.present)
        if self.options.reduce is not None:
            return whitening_values(self.ppl, self.blocks, latents, self.options.reduce, self.learning)
        parts = [
            self.spaces[n].statistics(latents) if n in self.spaces else statistics(latents, (n,))
            for n in self.blocks.names
        ]
        loc, scale = (np.concatenate(part) for part in zip(*parts, strict=True))
        return {"prior.loc": loc, "prior.scale": scale}

    # 3. Energies of pairs -----------------------------------------------------------------------------------------
    def guidance_stage(self, share: float) -> Stage:
        """The stage of the pairwise guidance."""
        return Stage(
            "guidance",
            share=share,
            train=("prior.pair.",),
            objective=self.ppl.ELBO(),
            model=self._pair_model,
            guide=_nothing,
            encode=self._codes,
        )

    def _pair_model(self, batch: Batch) -> None:
        z, present = self.coordinates().forward(self._drawn(batch)), self.blocks.stack(batch.present)
        losses = self.guidance.losses(  # type: ignore[union-attr]
            get_backend(z), self.ppl.host.random(), self.energy(), z, present
        )
        with self.ppl.plate(batch):
            self.ppl.host.factor("pairs", -losses)

    # 4. Decoders, on latents that the score draws -----------------------------------------------------------------
    def decoder_stage(self, share: float) -> Stage:
        """The stage of the decoders."""
        return Stage(
            "decoders",
            share=share,
            train=tuple(f"{m}.decoder." for m in self.own),
            objective=self.ppl.ELBO(weights=weights(self.modalities)),
            model=self._tuned_model,
            guide=self._tuned_guide,
        )

    def _tuned_model(self, batch: Batch) -> None:
        host = self.ppl.host
        with self.ppl.plate(batch):
            free = host.dist.Normal(host.zeros(self.blocks.dim), 1.0).to_event(1).mask(False)
            z = self.blocks.split(host.sample("z", free))
            for name in batch.modalities:
                self.observe(name, z[name], batch)

    def _tuned_guide(self, batch: Batch) -> None:
        with self.ppl.plate(batch):
            given = self.joint("flow").conditional(self.encode(batch), self._some_of(batch))
            self.ppl.host.sample("z", given.mask(False))

    def _some_of(self, batch: Batch) -> dict[str, Any]:
        """Random subset of what is present, each with probability a half; all of it where nothing would be left."""
        present, like = self.blocks.stack(batch.present), self.ppl.host.zeros(1)
        backend = get_backend(like)
        some = present & (backend.uniform(self.ppl.host.random(), tuple(present.shape), like) < 0.5)
        some = backend.xp.where(backend.xp.any(some, axis=-1)[..., None], some, present)
        return {name: some[..., i] for i, name in enumerate(self.blocks.names)}


def _nothing(batch: Batch) -> None:
    """A guide without latents."""


def _log_density(z: Any, code: Any, scale: Any, present: Any) -> Any:
    """Log density of draws of codes, ``(*,)``, where they are draws; 0 of what is exact or not there."""
    xp = get_backend(z).xp
    drawn = (scale > 0.0) & present[..., None]
    width = xp.where(drawn, scale, xp.ones_like(scale))
    normal = normal_log_density((z - code) / width, xp.log(width))
    return xp.sum(xp.where(drawn, normal, xp.zeros_like(normal)), axis=-1)


def _draw(codes: Batch, blocks: Blocks, noise: Any) -> dict[str, Any]:
    """Codes as they are; location and scale, side by side, as a draw by the noise ``(N, D)``."""
    parts = blocks.split(noise)

    def one(name: str, size: int) -> Any:
        code = codes[name]
        return code if code.shape[-1] == size else code[..., :size] + code[..., size:] * parts[name]

    return {name: one(name, size) for name, size in blocks.items()}
