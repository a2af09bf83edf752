"""Checks that normalising flows of either host's library share."""

from mmppl.checks import checked
from mmppl.errors import OptionError

__all__ = ["check_flow"]


@checked()
def check_flow(dim: int, layers: int, hidden: int, bins: int) -> None:
    """Raises :class:`OptionError` unless a flow of couplings can be made of these numbers."""
    if dim < 2:
        raise OptionError(f"Expected dim >= 2, for a coupling needs two halves; got {dim}. Use GaussianMixture.")
    for name, value, least in (("layers", layers, 2), ("hidden", hidden, 1), ("bins", bins, 2)):
        if value < least:
            raise OptionError(f"Expected {name} >= {least}; got {value}.")
