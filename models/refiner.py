"""A diffusion over one modality itself, given what a decoder made of it."""

from math import prod
from typing import Any

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.checks import at_least, checked
from mmppl.errors import DataError, ModalityError
from mmppl.inference.host import PPL
from mmppl.inference.training.fitted import Fitted
from mmppl.inference.training.program import Program
from mmppl.models.mld import mld
from mmppl.nets import Flat

__all__ = ["coarse_pairs", "refiner"]


@checked(width=at_least(1))
def refiner(modality: Modality, *, ppl: PPL, width: int = 512, seed: int = 0, **options: Any) -> Program:
    r"""Diffusion that sharpens decoded data: :math:`p(x \mid \hat x)` of data x and what a decoder made of them.

    A program of two modalities, ``"coarse"`` and ``"fine"``, both of the shape given: :func:`~mmppl.models.mld` of the
    values themselves, without autoencoders. It is fitted to :func:`coarse_pairs`, and then makes of what any system
    generated a draw that looks like data. Experimental.

    References:
        | Score-Based Multimodal Autoencoder (Wesego & Rooshenas, 2024), the second stage of images in its code
        | https://arxiv.org/abs/2305.15708

    Arguments:
        modality: The modality, an image or a vector of floats.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        width: Width of the score's network.
        seed: Random seed of the initial weights.
        options: Others of :func:`~mmppl.models.mld`. By default the data are predicted if the network is narrower than
            both modalities together, else the velocity.

    Raises:
        ModalityError: If the modality is a text, a category or of counts.

    Example:
        Sharper pictures of a fitted program, of images made of noise or of other modalities::

            pairs = coarse_pairs(fitted, "flower", digits.train)
            sharp = fit(refiner(digits.modalities["flower"], ppl=mm), pairs, epochs=100)
            made = generate(fitted, num=64, mean=True)["flower"]
            fine = generate(sharp, Batch({"coarse": made}), want=["fine"], mean=True)["fine"][0]
    """
    if modality.kind not in ("image", "vector"):
        raise ModalityError(f"Expected an image or a vector to refine; got kind '{modality.kind}'.")
    size = prod(modality.shape)
    # Values are the latents: what is drawn is what is shown.
    sharp = Modality(modality.shape, kind=modality.kind, scale=1e-3)
    coders = {
        name: (ppl.build(Flat(modality.shape, (size,))), ppl.build(Flat((size,), modality.shape)))
        for name in ("coarse", "fine")
    }
    ours = {"latent_dim": size, "width": width, "p_conditional": 1.0, "p_marginal": 0.0, "coders": coders}
    # A network that is narrower than what it sees lets no noise through that it could subtract.
    ours["predict"] = "velocity" if width >= 2 * size else "data"
    return mld({"coarse": sharp, "fine": sharp}, ppl=ppl, seed=seed, **{**ours, **options})


@checked(chunk=at_least(1))
def coarse_pairs(fitted: Fitted, name: str, batch: Batch, *, seed: int = 0, chunk: int = 4096) -> Batch:
    """Data of one modality beside what a fitted program's decoder makes of them: ``"fine"`` and ``"coarse"``.

    Arguments:
        fitted: A fitted program.
        name: The modality.
        batch: Data; rows that lack it are left out.
        seed: Random seed.
        chunk: Most rows at once.

    Raises:
        ModalityError: If there is no such modality.
        DataError: If no row has it.
    """
    if name not in batch.modalities or name not in fitted.program.modalities:
        raise ModalityError(f"Expected a modality among {list(fitted.program.modalities)}; got {name!r}.")
    rows = batch[np.flatnonzero(np.asarray(batch.present[name]))]
    if not len(rows):
        raise DataError(f"Expected rows with '{name}'; got none.")
    host, made = fitted.program.ppl.host, []
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        hidden = host.latents(fitted.model, fitted.guide, part, 1, seed + start, np.zeros(len(part), bool))
        made.append(np.asarray(host.decode(fitted.model, hidden, part, seed, True)[name])[0])
    return Batch({"coarse": np.concatenate(made), "fine": np.asarray(rows[name])}, label=rows.label)
