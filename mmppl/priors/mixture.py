"""Checks of the parts of priors that are mixtures."""

from typing import Any

from mmppl.errors import OptionError

Array = Any

__all__ = ["check_components", "check_gaussians"]


def check_gaussians(loc: Array, scale: Array, logits: Array | None) -> None:
    """Raises :class:`OptionError` unless the shapes are those of K Gaussians in D dimensions.

    Arguments:
        loc: ``(*, K, D)``.
        scale: Of the same shape, or one that broadcasts to it.
        logits: ``(*, K)``, or None.
    """
    if loc.ndim < 2:
        raise OptionError(f"Expected loc of shape (*, K, D), K means in D dimensions; got {tuple(loc.shape)}.")
    shape, own = tuple(loc.shape), tuple(getattr(scale, "shape", ()))
    fits = all(a in (1, b) for a, b in zip(own[::-1], shape[::-1], strict=False)) and len(own) <= len(shape)
    if not fits:
        raise OptionError(f"Expected scale of shape {shape}, that of loc, or one that broadcasts to it; got {own}.")
    if logits is not None and tuple(logits.shape[-1:]) != (shape[-2],):
        raise OptionError(f"Expected logits of shape (*, {shape[-2]}), one for each mean; got {tuple(logits.shape)}.")


def check_components(posterior: Any, logits: Array | None) -> None:
    """Raises :class:`OptionError` unless a distribution has components along its last batch dimension.

    Arguments:
        posterior: A host distribution of batch shape ``(*, K)`` and event shape ``(D,)``.
        logits: ``(*, K)``, or None.
    """
    batch, event = tuple(posterior.batch_shape), tuple(posterior.event_shape)
    if not batch or len(event) != 1:
        raise OptionError(
            f"Expected a posterior with batch shape (K,), one of each pseudo-input, and event shape (D,); got {batch} "
            f"and {event}. Give it the K pseudo-inputs as rows, and use .to_event(1)."
        )
    if logits is not None and tuple(logits.shape[-1:]) != batch[-1:]:
        raise OptionError(
            f"Expected logits of shape (*, {batch[-1]}), one for each pseudo-input; got {tuple(logits.shape)}."
        )
