"""Score-based multi-modal autoencoders."""

from mmppl.batch import Modality
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program
from mmppl.models.common.coders import UNCONDITIONAL, Conditions
from mmppl.models.common.declare import system
from mmppl.models.common.latent_score import two_stages
from mmppl.models.common.score_options import ScoreOptions
from mmppl.models.common.score_registry import sde_of
from mmppl.priors import MultiTimeScoreMatching

__all__ = ["sbm"]

SHARED = ScoreOptions(autoencoder="vae", solver="corrector", steps=201)


@system
def sbm(
    modalities: dict[str, Modality],
    *,
    ppl: PPL,
    shared: ScoreOptions = SHARED,
    replacement: str = "fresh",
    particles: int | None = None,
    sde: str = "vp",
    time_sampling: str = "uniform",
    loss: str = "denoising",
    pairs: str = "shared",
    conditions: Conditions = UNCONDITIONAL,
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
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        shared: The options of :class:`~mmppl.models.common.score_options.ScoreOptions`, each as an option of its own.
        replacement: ``"fresh"``, ``"fixed"``, ``"clean"`` or ``"legacy"`` (as the published code has it).
        particles: Number of particles that a draw of a conditional takes in place of replacement, exact as it grows,
            see :class:`~mmppl.priors.TwistedSMC`; None for replacement.
        sde: The diffusion: ``"vp"``, ``"sub_vp"`` or ``"ve"``. The last with ``solver="langevin"`` is a network
            conditioned on noise (NCSN), a ladder of noise levels climbed down by annealed Langevin steps.
        time_sampling: How times are drawn: ``"uniform"``, ``"likelihood"``, ``"importance"`` or ``"cosine"``.
        loss: How the score is learned: ``"denoising"``, or by implicit score matching, ``"sliced"`` or ``"exact"``,
            see :class:`~mmppl.priors.MultiTimeScoreMatching`.
        pairs: With guidance, ``"shared"`` for one energy of all pairs, ``"per_pair"`` for one of each.
        conditions: Covariates.
        seed: Random seed of the initial weights.

    Raises:
        OptionError: If an option is unknown or out of range.
        ModalityError: If a modality of ``coders`` is unknown.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import Modality, models
        >>> views = {"a": Modality((3,)), "b": Modality((2,))}
        >>> [stage.name for stage in models.sbm(views, ppl=mm, latent_dim=2, hidden=8, width=8).stages]
        ['autoencoders', 'prior']
    """
    learning = MultiTimeScoreMatching(sde_of(sde), p_conditional=0.0, time_sampling=time_sampling, loss=loss)
    score = shared.score(modalities, learning, replacement, particles)
    return two_stages(modalities, ppl, options=shared, conditions=conditions, score=score, pairs=pairs, seed=seed)
