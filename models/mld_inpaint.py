"""Multi-modal Latent Diffusion with an unconditional score, conditioned by in-painting."""

from mmppl.batch import Modality
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program
from mmppl.models.common.coders import UNCONDITIONAL, Conditions
from mmppl.models.common.declare import system
from mmppl.models.common.latent_score import two_stages
from mmppl.models.common.score_options import ScoreOptions
from mmppl.priors import MultiTimeScoreMatching

__all__ = ["mld_inpaint"]

SHARED = ScoreOptions(solver="repaint", steps=2410)


@system
def mld_inpaint(
    modalities: dict[str, Modality],
    *,
    ppl: PPL,
    shared: ScoreOptions = SHARED,
    replacement: str = "fresh",
    pairs: str = "shared",
    conditions: Conditions = UNCONDITIONAL,
    seed: int = 0,
) -> Program:
    r"""MLD-Inpaint: the joint density alone is learned, and conditions are painted in.

    As :func:`mld`, but the score has one time for all modalities and is never shown a condition. To draw some
    modalities given others, what it sees of the others is noised to its own level at every step, on a path that goes
    back and forth (RePaint: 2410 evaluations by default).

    References:
        | Multi-modal Latent Diffusion (Bounoua et al., 2024), section 4
        | https://arxiv.org/abs/2306.04445
        | RePaint: Inpainting using Denoising Diffusion Probabilistic Models (Lugmayr et al., 2022)
        | https://arxiv.org/abs/2201.09865

    Arguments:
        modalities: What each modality is, by name.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        shared: The options of :class:`~mmppl.models.common.score_options.ScoreOptions`, each as an option of its own.
        replacement: ``"fresh"``, ``"fixed"``, ``"clean"`` or ``"legacy"``, see :class:`~mmppl.priors.Conditioning`.
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
        >>> [stage.name for stage in models.mld_inpaint(views, ppl=mm, latent_dim=2, hidden=8, width=8).stages]
        ['autoencoders', 'prior']
    """
    score = shared.score(modalities, MultiTimeScoreMatching(p_conditional=0.0), replacement)
    return two_stages(modalities, ppl, options=shared, conditions=conditions, score=score, pairs=pairs, seed=seed)
