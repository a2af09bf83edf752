"""The likelihood of a modality, from what its decoder returns."""

from typing import Any

from mmppl.likelihoods.decoded import likelihood as decoded
from mmppl.modality import Modality
from mmppl.pyro import host

__all__ = ["likelihood"]


def likelihood(modality: Modality, output: Any) -> Any:
    """The likelihood p(x | z) of a modality, as an event of its shape; formulas are the modality's.

    Arguments:
        modality: The modality.
        output: What its decoder, such as :func:`mmppl.nets.decoder`, returns: an array ``(*, N, *event)``, or a pair
            of it and a scale.

    Example:
        >>> likelihood(Modality((2,), scale=0.5), host.zeros(3, 2)).event_shape
        torch.Size([2])
    """
    return decoded(host, modality, output)
