"""Chains from the guide to the posterior, or from the base to the tilted prior, decoded on the way."""

from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import ANYTHING, above, at_least, checked
from mmppl.errors import OptionError
from mmppl.inference.generate import complete
from mmppl.inference.posterior.short_chains import refine_draws
from mmppl.inference.training.example import example
from mmppl.inference.training.fitted import Fitted

__all__ = ["trajectory"]


@checked(given=ANYTHING, num=at_least(1), frames=at_least(1), every=at_least(1), step_size=above(0))
def trajectory(
    fitted: Fitted,
    given: Batch | None = None,
    *,
    num: int = 4,
    frames: int = 8,
    every: int = 10,
    kernel: str = "ula",
    step_size: float = 0.1,
    seed: int = 0,
    **options: Any,
) -> dict[str, np.ndarray]:
    r"""Decodes the latents of a chain every so many steps: pictures of a sampler at work.

    .. math:: z_0 \sim q(z \mid x_S), \qquad z_{k+1} \sim T(\cdot \mid z_k) \text{ towards } p(z \mid x_S)

    Given nothing, the guide answers with its prior expert, which for a tilted prior is the base, and the chain ends in
    the prior.

    Arguments:
        fitted: A fitted program.
        given: Data, N rows, any of whose modalities may be missing; None for ``num`` rows of nothing.
        num: Rows where nothing is given.
        frames: Pictures after the first.
        every: Steps between them.
        kernel: A kernel by name.
        step_size: Its step size.
        seed: Random seed.
        options: More of the kernel's.

    Returns:
        Means of the likelihood of every modality, ``(frames + 1, N, *shape)``: of those given too, as the latents
        have them.

    Raises:
        OptionError: If a number is out of range, or the kernel or an option of it is unknown.
        ModalityError, DataError: If the data do not fit the program.
    """
    if frames < 1 or every < 1 or num < 1:
        raise OptionError(f"Expected frames, every and num >= 1; got {frames}, {every} and {num}.")
    modalities, host = fitted.program.modalities, fitted.program.ppl.host
    rows = fitted.program.taken(example(modalities, num).only()) if given is None else complete(given, fitted)
    rows = rows.validate(modalities, allow_empty_rows=True)
    hidden = host.latents(fitted.model, fitted.guide, rows, 1, seed, np.zeros(len(rows), bool))
    pictures = []
    for frame in range(frames + 1):
        if frame:
            again = int(np.random.SeedSequence([seed, frame]).generate_state(1)[0])
            hidden = refine_draws(
                fitted, rows, hidden, seed=again, kernel=kernel, steps=every, step_size=step_size, **options
            )
        pictures.append(host.decode(fitted.model, hidden, rows, seed, True))
    return {n: m.typed(np.concatenate([picture[n] for picture in pictures]), True) for n, m in modalities.items()}
