"""Precision of a fit's networks: checks of what is asked for."""

from typing import Any

from mmppl.errors import OptionError

__all__ = ["MIXED", "check_networks", "check_precision", "check_single"]

MIXED = "bf16-mixed"


def check_precision(precision: Any) -> None:
    """Refuses a precision that is none.

    Raises:
        OptionError: If it is neither None nor ``"bf16-mixed"``.
    """
    if precision is not None and precision != MIXED:
        raise OptionError(
            f"Expected precision (--precision) of None, the program's own, or '{MIXED}', networks in bfloat16 beside "
            f"weights in float32; got {precision!r}."
        )


def check_single(precision: str | None, default: str) -> None:
    """Refuses bfloat16 beside a host whose numbers are not in single precision.

    Arguments:
        precision: That of the fit.
        default: The host's type of floats.

    Raises:
        OptionError: If it is another than float32.
    """
    if precision is not None and default != "float32":
        raise OptionError(
            f"Expected float32 beside precision='{MIXED}' (--precision); the host's default is {default}. Set it back "
            "(jax_enable_x64, torch.set_default_dtype), or leave precision out."
        )


def check_networks(seen: bool) -> None:
    """Refuses bfloat16 for a program without networks, at its first step, before anything has moved.

    Arguments:
        seen: Whether a network has run.

    Raises:
        OptionError: If none has.
    """
    if not seen:
        raise OptionError(
            f"Expected networks that precision='{MIXED}' (--precision) may run in bfloat16; the program called none "
            "that mm.net gave it. Leave precision out, or give its networks to mm.net."
        )
