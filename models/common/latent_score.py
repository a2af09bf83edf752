"""Two stages: an autoencoder for each modality, then a score of all their latents."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.errors import ModalityError, OptionError
from mmppl.inference.host import Face
from mmppl.inference.training.program import Program, Stage
from mmppl.models.common.autoencoder import Autoencoder
from mmppl.models.common.declare import autoencoders, likelihood, weights
from mmppl.models.common.score_options import ScoreOptions
from mmppl.models.common.score_registry import score_net
from mmppl.models.common.whitening_params import ratio_learning, whitening_params, whitening_values
from mmppl.nets import PairEnergy
from mmppl.nets.spec import Spec
from mmppl.priors import Blocks, ScoreModel, Whitening
from mmppl.priors.coordinates import Standardization, statistics
from mmppl.priors.score.base import JointModel
from mmppl.priors.score.guidance import pair_name

__all__ = ["two_stages"]


def two_stages(
    modalities: Mapping[str, Modality],
    ppl: Face,
    *,
    options: ScoreOptions,
    score: JointModel,
    net: Spec | None = None,
    pairs: str = "shared",
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
        seed: Random seed of the initial weights.

    Raises:
        OptionError: If ``pairs`` is unknown, no epochs are left for the score, or there is no decoder to tune.
        ModalityError: If a modality of ``coders`` is unknown.
    """
    given, share, finetune, reduce = dict(options.coders or {}), options.share, options.finetune, options.reduce
    autoencoder = Autoencoder(options.autoencoder, options.noise, options.penalty, options.beta)
    unknown = [name for name in given if name not in modalities]
    if unknown:
        raise ModalityError(f"Expected coders for modalities among {list(modalities)}; got {unknown}.")
    if pairs not in ("shared", "per_pair"):
        raise OptionError(f"Expected pairs 'shared' or 'per_pair'; got {pairs!r}.")
    if finetune < 0.0 or share + finetune >= 1.0:
        raise OptionError(f"Expected finetune >= 0 and share + finetune < 1; got {finetune} and share {share}.")
    learning = ratio_learning(options.ratio, seed)
    pairwise = score.pairwise if isinstance(score, ScoreModel) else None
    guide_by = pairwise if pairwise is not None and pairwise.strength > 0 else None
    blocks, dims = score.blocks, dict(score.blocks.items())
    own = {name: modality for name, modality in modalities.items() if name not in given}
    if finetune and not own:
        raise OptionError("Expected finetune 0 where all coders are given: they stay as they are; got more.")
    specs: dict[str, Any] = autoencoders(own, dims, options.hidden, autoencoder.family)
    specs["prior.score"] = net or score_net(options.net, blocks.sizes, options.width, options.depth)
    pair_names = [pair_name(blocks.names[i], blocks.names[j]) for i, j in guide_by.pairs] if guide_by else []
    energies = ["prior.pair"] if pairs == "shared" else [f"prior.pair.{name}" for name in pair_names]
    if guide_by:
        specs |= dict.fromkeys(energies, PairEnergy(blocks.sizes))
    nets = ppl.host.build_all(specs, seed)
    for name, (encoder, decoder) in given.items():
        nets |= {f"{name}.encoder": encoder, f"{name}.decoder": decoder}
    dist, sample, zeros = ppl.host.dist, ppl.host.sample, ppl.host.zeros

    def encode(batch: Batch, names: Iterable[str] = tuple(modalities)) -> dict[str, Any]:
        return {m: ppl.net(f"{m}.encoder", nets[f"{m}.encoder"])(batch[m]) for m in batch.modalities if m in names}

    def observe(name: str, z: Any, batch: Batch) -> None:
        output = ppl.net(f"{name}.decoder", nets[f"{name}.decoder"])(z)
        ppl.observe(name, likelihood(ppl, modalities[name], output), batch)

    def coordinates() -> Standardization | Whitening:
        if reduce is not None:
            return whitening_params(ppl, blocks)
        loc, scale = zeros(blocks.dim), zeros(blocks.dim) + 1.0
        return Standardization(ppl.host.param("prior.loc", loc), ppl.host.param("prior.scale", scale))

    def energy() -> Any:
        if not guide_by:
            return None
        bound = [ppl.net(name, nets[name]) for name in energies]
        return bound[0] if pairs == "shared" else dict(zip(pair_names, bound, strict=True))

    def joint(density: str) -> Any:
        bound = ppl.net("prior.score", nets["prior.score"])
        return ppl.JointScore(bound, score, coordinates=coordinates(), energy=energy(), density=density)

    def each_model(batch: Batch) -> None:
        with ppl.plate(batch):
            for name in own:
                z = sample(f"{name}.z", autoencoder.prior(dist, zeros(dims[name]), batch.present[name]))
                observe(name, z, batch)

    def each_guide(batch: Batch) -> None:
        with ppl.plate(batch):
            for name, code in encode(batch, own).items():
                sample(f"{name}.z", autoencoder.posterior(dist, code, batch.present[name]))

    def latent_model(batch: Batch) -> None:
        with ppl.plate(batch):
            sample("z", joint("denoising").marginal(batch.present))

    def latent_guide(batch: Batch) -> None:
        with ppl.plate(batch):
            sample("z", dist.Delta(drawn(batch), event_dim=1))

    def model(batch: Batch) -> None:
        with ppl.plate(batch):
            z = blocks.split(sample("z", joint("flow")))
            for name in batch.modalities:
                observe(name, z[name], batch)

    def guide(batch: Batch) -> None:
        with ppl.plate(batch):
            sample("z", joint("flow").conditional(encode(batch), batch.present))

    def codes(batch: Batch) -> dict[str, Any]:
        """Codes of the encoders ``(N, D_m)``, or locations and scales side by side, ``(N, 2 D_m)``."""
        parts = {name: code if isinstance(code, tuple) else (code,) for name, code in encode(batch).items()}
        return {name: get_backend(part[0]).xp.concat(part, axis=-1) for name, part in parts.items()}

    def drawn(batch: Batch) -> Any:
        """Latents as conditionals will be given them: draws where encoders have scales, new ones at every step."""
        some = next(iter(batch.values.values()))
        backend = get_backend(some)
        noise = backend.normal(ppl.host.random(), (*some.shape[:-1], blocks.dim), some)
        return blocks.join(_draw(batch, blocks, noise))

    def initialize(latents: Batch) -> dict[str, np.ndarray]:
        noise = np.random.default_rng(seed).standard_normal((len(latents), blocks.dim))
        latents = Batch(_draw(latents, blocks, noise), latents.present)
        if reduce is not None:
            return whitening_values(ppl, blocks, latents, reduce, learning)
        loc, scale = statistics(latents, blocks.names)
        return {"prior.loc": loc, "prior.scale": scale}

    def tuned_model(batch: Batch) -> None:
        with ppl.plate(batch):
            z = blocks.split(sample("z", dist.Normal(zeros(blocks.dim), 1.0).to_event(1).mask(False)))
            for name in batch.modalities:
                observe(name, z[name], batch)

    def tuned_guide(batch: Batch) -> None:
        with ppl.plate(batch):
            codes = encode(batch)
            sample("z", joint("flow").conditional(codes, some_of(batch)).mask(False))

    def some_of(batch: Batch) -> dict[str, Any]:
        """Random subset of what is present, each with probability a half; all of it where nothing would be left."""
        present, like = blocks.stack(batch.present), zeros(1)
        backend = get_backend(like)
        some = present & (backend.uniform(ppl.host.random(), tuple(present.shape), like) < 0.5)
        some = backend.xp.where(backend.xp.any(some, axis=-1)[..., None], some, present)
        return {name: some[..., i] for i, name in enumerate(blocks.names)}

    objective = ppl.ELBO(beta=autoencoder.beta if autoencoder.kind == "vae" else 1.0, weights=weights(modalities))
    train = tuple(f"{m}.{part}." for m in own for part in ("encoder", "decoder"))
    first = Stage("autoencoders", share=share, train=train, objective=objective, model=each_model, guide=each_guide)
    rest = 1.0 - share - finetune
    second = Stage(
        "prior",
        share=rest,
        train=("prior.score.",),
        objective=ppl.ELBO(),
        model=latent_model,
        guide=latent_guide,
        encode=codes,
        initialize=initialize,
        ema=options.ema,
    )
    exact = autoencoder.kind != "vae"
    stages: tuple[Stage, ...] = (first, second)
    if guide_by is not None:

        def pair_model(batch: Batch) -> None:
            z, present = coordinates().forward(drawn(batch)), blocks.stack(batch.present)
            losses = guide_by.losses(get_backend(z), ppl.host.random(), energy(), z, present)
            with ppl.plate(batch):
                ppl.host.factor("pairs", -losses)

        third = Stage(
            "guidance",
            share=0.3 * rest,
            train=("prior.pair.",),
            objective=ppl.ELBO(),
            model=pair_model,
            guide=lambda batch: None,
            encode=codes,
        )
        stages = (first, replace(second, share=0.7 * rest), third)
    if finetune:
        decoders = tuple(f"{m}.decoder." for m in own)
        scored = ppl.ELBO(weights=weights(modalities))
        last = Stage("decoders", finetune, decoders, scored, tuned_model, tuned_guide)
        stages = (*stages, last)
    if not own:
        stages = stages[1:]
    about: dict[str, Any] = {"stages": stages, "kernel": None, "density": not exact, "ode_density": True}
    return Program(model, guide, ppl.ELBO(), ppl, modalities, **about)


def _draw(codes: Batch, blocks: Blocks, noise: Any) -> dict[str, Any]:
    """Codes as they are; location and scale, side by side, as a draw by the noise ``(N, D)``."""
    parts = blocks.split(noise)

    def one(name: str, size: int) -> Any:
        code = codes[name]
        return code if code.shape[-1] == size else code[..., :size] + code[..., size:] * parts[name]

    return {name: one(name, size) for name, size in blocks.items()}
