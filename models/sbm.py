"""Score-based multi-modal autoencoders."""

from types import ModuleType

from mmppl.batch import Modality
from mmppl.inference.program import Program
from mmppl.models.autoencoder import Autoencoder
from mmppl.models.latent_score import two_stages
from mmppl.models.parts import system
from mmppl.models.score_parts import score_net, sde_of, solver_of
from mmppl.priors import Blocks, Conditioning, MultiTime, Pairwise, Particles, ScoreModel

__all__ = ["sbm"]


@system
def sbm(
    modalities: dict[str, Modality],
    *,
    ppl: ModuleType,
    latent_dim: int = 16,
    hidden: int = 256,
    autoencoder: str = "vae",
    noise: float = 0.1,
    penalty: float = 0.01,
    beta: float = 0.5,
    replacement: str = "fresh",
    particles: int | None = None,
    sde: str = "vp",
    scheme: str = "uniform",
    matching: str = "denoising",
    guidance: float = 0.0,
    pairs: str = "ind",
    net: str = "residual",
    width: int = 256,
    depth: int = 4,
    solver: str = "corrector",
    steps: int = 100,
    share: float = 0.2,
    ema: float = 0.999,
    reduce: float | None = None,
    ratio: str = "free",
    finetune: float = 0.0,
    seed: int = 0,
) -> Program:
    r"""Score-based multi-modal autoencoder: SBM-VAE, or SBM-RAE with ``autoencoder="rae"``.

    First every modality has an autoencoder of its own, :math:`z_m = e_m(x_m)`. Then the encoders are frozen and the
    standardised latents of all modalities get a joint density by a score,

    .. math:: p(x, z) = p_\psi(z_1, \ldots, z_M) \prod_m p(x_m \mid z_m), \qquad
        s_\psi(z_t, t) \approx \nabla \log p_\psi(z_t)

    with one time for all. Conditions are replaced in what the score sees, noised to its level at every step: an
    approximation, see :class:`~mmppl.priors.Conditioning`. Sampling is by predictor and corrector.

    References:
        | Score-Based Multimodal Autoencoder (Wesego & Rooshenas, 2024)
        | https://arxiv.org/abs/2305.15708
        | Generative Modeling by Estimating Gradients of the Data Distribution (Song & Ermon, 2019), for NCSN
        | https://arxiv.org/abs/1907.05600

    Arguments:
        modalities: What each modality is, by name.
        ppl: The face.
        latent_dim: Dimension of each modality's latent.
        hidden: Width of the encoders and decoders.
        autoencoder: The first stage: ``"ae"``, ``"rae"`` or ``"vae"``, see
            :class:`~mmppl.models.autoencoder.Autoencoder`.
        noise: Deviation of the latent noise of ``"rae"``.
        penalty: Factor on the squared latents of ``"rae"``.
        beta: Factor on the divergence of ``"vae"``.
        replacement: ``"fresh"``, ``"fixed"``, ``"clean"`` or ``"legacy"`` (as the published code has it).
        particles: Number of particles that a draw of a conditional takes in place of replacement, exact as it grows,
            see :class:`~mmppl.priors.Particles`; None for replacement.
        sde: The diffusion: ``"vp"``, ``"sub_vp"`` or ``"ve"``. The last with ``solver="langevin"`` is a network
            conditioned on noise (NCSN), a ladder of noise levels climbed down by annealed Langevin steps.
        scheme: How times are drawn: ``"uniform"``, ``"likelihood"`` or ``"importance"``.
        matching: How the score is learned: ``"denoising"``, or by implicit score matching, ``"sliced"`` or ``"exact"``,
            see :class:`~mmppl.priors.MultiTime`.
        guidance: Strength of the coherence guidance by pairs, 0 for none; above it, energies are trained in a third
            stage, see :class:`~mmppl.priors.Pairwise`.
        pairs: ``"ind"`` for one energy of all pairs, ``"noind"`` for one of each.
        net: The score's network: ``"residual"``, ``"tokens"`` (a transformer with a token for each modality) or
            ``"unet"`` (the published one).
        width: Its width.
        depth: Its number of blocks (levels of ``"unet"``).
        solver: ``"dpm"``, ``"flow"``, ``"heun"``, ``"euler"``, ``"ancestral"``, ``"corrector"``, ``"repaint"`` or
            ``"langevin"``.
        steps: Steps of the solver.
        share: The first stage's share of the epochs.
        ema: Decay of the averaged weights of the score.
        reduce: Tolerance in nats of a reduction of dimension by score ratio matching before the second stage, see
            :func:`~mmppl.inference.find_subspaces`; None for none.
        ratio: What the score ratio is learned by: ``"free"``, ``"lowrank"``, ``"potential"``, or ``"linear"``, which
            takes no time and sees correlations alone, see :class:`~mmppl.inference.RatioLearning`.
        finetune: The share of the epochs, the last ones, in which the decoders learn to make a tuple from latents of
            which each, with probability a half, is drawn by the score given the others; 0 for none. Every step runs
            the solver.
        seed: Of the initial weights.

    Raises:
        OptionError: If an option is unknown or out of range.
    """
    blocks = Blocks.of(dict.fromkeys(modalities, latent_dim))
    learning = MultiTime(sde_of(sde), p_conditional=0.0, scheme=scheme, matching=matching)
    conditioning = Conditioning(replacement)
    pairwise = Pairwise(blocks, guidance, learning.sde) if guidance else None
    return two_stages(
        modalities,
        ppl,
        seed=seed,
        autoencoder=Autoencoder(autoencoder, noise, penalty, beta),
        hidden=hidden,
        score=ScoreModel(
            blocks,
            learning,
            solver_of(solver, steps),
            conditioning,
            pairwise=pairwise,
            particles=None if particles is None else Particles(particles),
        ),
        pairs=pairs,
        net=score_net(net, blocks.sizes, width, depth),
        share=share,
        ema=ema,
        reduce=reduce,
        ratio=ratio,
        finetune=finetune,
    )
