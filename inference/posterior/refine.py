"""Refinement of the guide's draws towards the posterior."""

from collections.abc import Sequence
from typing import Any

from mmppl.batch import Batch
from mmppl.checks import ANYTHING, at_least, checked
from mmppl.inference.posterior.infer import infer
from mmppl.inference.posterior.posterior import Posterior
from mmppl.inference.training.fitted import Fitted

__all__ = ["refine"]


@checked(data=ANYTHING, steps=at_least(0), num_samples=at_least(1))
def refine(
    fitted: Fitted,
    data: Batch,
    *,
    kernel: str = "mala",
    steps: int = 50,
    num_samples: int = 250,
    seed: int | Sequence[int] = 0,
    **options: Any,
) -> Posterior:
    r"""Draws of the guide, each moved by a few steps of a kernel towards :math:`p(z \mid x_S)`, for any subset S.

    .. math:: z^{(0)} \sim q(z \mid x_S), \qquad z^{(k+1)} \sim T_{x_S}(\cdot \mid z^{(k)}), \quad k < K

    with T leaving :math:`p(z \mid x_S)` as it is: every step brings their distribution closer to it, whatever the
    guide. Each draw of each datum is a chain of its own, which learns its step size in the first half of the steps.

    References:
        | Learning Multimodal Latent Space with EBM Prior and MCMC Inference (Yuan, Lipizzi & Han, 2024)
        | https://arxiv.org/abs/2408.10467

    Arguments:
        fitted: A fitted program.
        data: Data, N rows; modalities may be missing.
        kernel: A kernel by name.
        steps: Number K of steps.
        num_samples: Draws for each datum.
        seed: Random seed; one, or one for each datum.
        options: Of the kernel, such as ``step_size``.

    Returns:
        A :class:`~mmppl.inference.Posterior` of independent draws.

    Raises:
        OptionError: If the kernel or an option is unknown, or ``steps`` is negative.
        ModalityError, DataError: If the data do not fit the program.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import models
        >>> from mmppl.data import load
        >>> from mmppl.inference import fit
        >>> data = load("linear_gaussian", num_train=64, num_test=8)
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> fitted = fit(program, data.train, epochs=1, seed=0, progress=False)
        >>> refine(fitted, data.test[:3], num_samples=5)["z"].shape
        (1, 5, 3, 2)
    """
    return infer(
        fitted, data, method="refine", num_samples=num_samples, seed=seed, kernel=kernel, steps=steps, **options
    )
