"""Robustness of decoders to noise on latents."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import ANYTHING, checked
from mmppl.errors import DataError, OptionError
from mmppl.inference import Fitted
from mmppl.metrics import Classifiers, Coherence, coherence, frechet
from mmppl.sde import SDE, VP

__all__ = ["Robustness", "TIMES", "robustness"]

TIMES = (0.0, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, eq=False)
class Robustness:
    """Coherence that is left at one time of the diffusion.

    Arguments:
        coherence: Whether the modalities decoded still agree, and show the label where data have one.
        frechet: Distance of what is decoded from the data, on the classifiers' features, by modality.
    """

    coherence: Coherence
    frechet: dict[str, float]


@checked(batch=ANYTHING)
def robustness(
    fitted: Fitted,
    batch: Batch,
    classifiers: Classifiers,
    *,
    times: Iterable[float] = TIMES,
    sde: SDE | None = None,
    seed: int = 0,
) -> dict[float, Robustness]:
    r"""Decodes latents that were diffused to times t, of data with all modalities.

    .. math:: \tilde z_t = a(t) \tilde z + \sigma(t) \epsilon

    with :math:`\tilde z` the guide's latents, every coordinate standardised over the batch. At time 0 they are decoded
    as they are. A prior whose samples are as far off as latents at time t are can do no better than what is found
    there.

    Arguments:
        fitted: A fitted program.
        batch: Data, N rows; those that lack a modality are left out.
        classifiers: Classifiers of the modalities.
        times: Times t in [0, 1].
        sde: The diffusion; by default the variance-preserving one.
        seed: Random seed.

    Raises:
        DataError: If fewer than two rows have all modalities.
        OptionError: If a time is outside [0, 1].
        ModalityError: If there is no classifier for a modality.

    References:
        The study of autoencoders in the code of Bounoua et al., "Multi-modal Latent Diffusion" (2024).
    """
    times, sde = tuple(times), VP() if sde is None else sde
    outside = [t for t in times if not 0.0 <= t <= 1.0]
    if outside:
        raise OptionError(f"Expected times in [0, 1]; got {outside[0]}.")
    batch = fitted.program.observed(batch)
    whole = np.flatnonzero(np.all([np.asarray(mask) for mask in batch.present.values()], axis=0))
    if len(whole) < 2:
        raise DataError(f"Expected at least two rows with all modalities; got {len(whole)}.")
    rows, host = batch[whole], fitted.program.ppl.host
    hidden = host.latents(fitted.model, fitted.guide, rows, 1, seed, np.zeros(len(rows), bool))
    label = None if rows.label is None else np.asarray(rows.label)
    out = {}
    for t in times:
        rng = np.random.default_rng(seed)  # the same noise at all times
        moved = {name: _diffuse(np.asarray(z), t, sde, rng) for name, z in hidden.items()} if t else hidden
        made = host.decode(fitted.model, moved, rows, seed, True)
        near = {
            name: frechet(*(classifiers.features(name, np.asarray(x)) for x in (made[name][0], rows[name])))
            for name in made
        }
        out[t] = Robustness(coherence(made, classifiers, label), near)
    return out


def _diffuse(z: np.ndarray, t: float, sde: SDE, rng: np.random.Generator) -> np.ndarray:
    """Latents ``(1, N, *event)`` at time t; what is not continuous stays as it is."""
    if not np.issubdtype(z.dtype, np.floating):
        return z
    loc, scale = z.mean(axis=1, keepdims=True), z.std(axis=1, keepdims=True)
    time = np.asarray(t)
    noise = scale * rng.standard_normal(z.shape)
    return (loc + sde.mean_factor(time) * (z - loc) + sde.scale(time) * noise).astype(z.dtype)
