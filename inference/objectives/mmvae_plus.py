"""MMVAE+'s bound for shared and private latents."""

from mmppl.inference.objectives.mmvae import MMVAE

__all__ = ["MMVAEPlus"]


class MMVAEPlus(MMVAE):
    r"""MMVAE's bound, where other modalities are decoded with private latents from an auxiliary prior.

    .. math:: L = \frac{1}{|P|} \sum_{m \in P} \mathbb{E}\, \log \frac{1}{K} \sum_k
        p(x_m \mid z^k, w_m^k) \prod_{n \ne m} p(x_n \mid z^k, \tilde w_n^k)
        \Big( \frac{p(z^k)\, p(w_m^k)}{q_\mathrm{mix}(z^k)\, q(w_m^k \mid x_m)} \Big)^\beta

    with :math:`z^k \sim q(z \mid x_m)`, :math:`w_m^k \sim q(w_m \mid x_m)` and :math:`\tilde w_n^k \sim r_n`. A latent
    named ``"<modality>.<anything>"`` is private; the guide draws it from :math:`r_n` where the modality is hidden, and
    there it counts in no density. So each term is a lower bound of the evidence of the model in which the private
    latents of the other modalities have the prior :math:`r_n`. Without private latents it is MMVAE's bound.

    References:
        | MMVAE+: Enhancing the Generative Quality of Multimodal VAEs without Compromises (Palumbo et al., 2023)
        | https://openreview.net/forum?id=sdQGxouELX

    Arguments:
        particles: Draws K of the guide for each datum.
        strata: ``"all"`` experts in each step, or ``"one"`` drawn for each datum.
        options: Those of :class:`~mmppl.inference.objectives.base.Objective`.

    Example:
        >>> MMVAEPlus(particles=10, gradient="dreg").particles
        10
    """

    auxiliary = True
