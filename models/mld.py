"""Multi-modal Latent Diffusion."""

from mmppl.batch import Modality
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program
from mmppl.models.common.coders import UNCONDITIONAL, Conditions
from mmppl.models.common.declare import system
from mmppl.models.common.latent_score import two_stages
from mmppl.models.common.score_options import ScoreOptions
from mmppl.priors import MultiTimeScoreMatching

__all__ = ["mld"]

# Latents of little noise keep every detail, and their density is hard to learn.
SHARED = ScoreOptions(noise=0.7, share=0.25)


@system
def mld(
    modalities: dict[str, Modality],
    *,
    ppl: PPL,
    shared: ScoreOptions = SHARED,
    p_conditional: float = 0.5,
    p_marginal: float = 0.1,
    time_sampling: str = "uniform",
    predict: str = "velocity",
    conditions: Conditions = UNCONDITIONAL,
    seed: int = 0,
) -> Program:
    r"""Multi-modal Latent Diffusion.

    First every modality has an autoencoder of its own, :math:`z_m = e_m(x_m)`. Then the encoders are frozen and the
    standardised latents of all modalities get a joint density by a score,

    .. math:: s(z_\tau, \tau) \approx \nabla \log p(z_{A,t} \mid z_C), \qquad
        \tau_m = t \text{ for } m \in A,\ 0 \text{ for } m \in C,\ -1 \text{ for absent } m

    learned for random subsets, so that any modalities are drawn given any others in one run of a solver. Data with
    missing modalities are learned from as they are. The defaults differ from the published ones where these are
    slower or less sure: the velocity is predicted, latents are regularised and standardised over all data, masks are
    drawn for each datum, and sampling takes 50 evaluations in place of 2410 (``solver="repaint", steps=2410``).

    References:
        | Multi-modal Latent Diffusion (Bounoua et al., 2024)
        | https://arxiv.org/abs/2306.04445

    Arguments:
        modalities: What each modality is, by name.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        shared: The options of :class:`~mmppl.models.common.score_options.ScoreOptions`, each as an option of its own.
        p_conditional: Probability that a datum is learned as a conditional (the code's d, 1 minus the paper's).
        p_marginal: Probability that some modalities are hidden; guidance and blocks not wanted need it.
        time_sampling: How times are drawn: ``"uniform"``, ``"likelihood"``, ``"importance"`` or ``"cosine"``.
        predict: ``"velocity"``, ``"noise"`` as published, or ``"data"``, see
            :class:`~mmppl.priors.MultiTimeScoreMatching`.
        conditions: Covariates.
        seed: Random seed of the initial weights.

    Raises:
        OptionError: If an option is unknown or out of range.
        ModalityError: If a modality of ``coders`` is unknown.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import Modality, models
        >>> views = {"a": Modality((3,)), "b": Modality((2,))}
        >>> [stage.name for stage in models.mld(views, ppl=mm, latent_dim=2, hidden=8, width=8).stages]
        ['autoencoders', 'prior']
    """
    learning = MultiTimeScoreMatching(
        p_conditional=p_conditional, p_marginal=p_marginal, time_sampling=time_sampling, predict=predict
    )
    return two_stages(
        modalities, ppl, options=shared, conditions=conditions, score=shared.score(modalities, learning), seed=seed
    )
