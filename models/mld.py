"""Multi-modal Latent Diffusion."""

from types import ModuleType

from mmppl.batch import Modality
from mmppl.inference.program import Program
from mmppl.models.latent_score import Autoencoder, two_stages
from mmppl.models.parts import system
from mmppl.nets import ResidualScore
from mmppl.priors import Blocks, Conditioning, MultiTime, ScoreModel
from mmppl.sde.solvers import DPMSolver

__all__ = ["mld"]


@system
def mld(
    modalities: dict[str, Modality],
    *,
    ppl: ModuleType,
    latent_dim: int = 16,
    hidden: int = 256,
    autoencoder: str = "rae",
    noise: float = 0.1,
    penalty: float = 0.01,
    p_conditional: float = 0.5,
    p_marginal: float = 0.1,
    guidance: float = 0.0,
    width: int = 256,
    depth: int = 4,
    steps: int = 20,
    share: float = 0.25,
    ema: float = 0.999,
    seed: int = 0,
) -> Program:
    nets = Blocks.of(dict.fromkeys(modalities, latent_dim))
    score = ScoreModel(
        nets,
        MultiTime(p_conditional=p_conditional, p_marginal=p_marginal),
        DPMSolver(steps),
        Conditioning(guidance=guidance),
    )
    return two_stages(
        modalities,
        ppl,
        seed=seed,
        autoencoder=Autoencoder(autoencoder, noise, penalty),
        latent_dim=latent_dim,
        hidden=hidden,
        score=score,
        net=ResidualScore(nets.sizes, width, depth),
        share=share,
        ema=ema,
    )
