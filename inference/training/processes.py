"""Several processes of one launcher, each of which would do the whole of the work of a fit on one device."""

import os

from mmppl.errors import OptionError

__all__ = ["check_one_process"]


def check_one_process(devices: int, together: bool) -> None:
    """Refuses to fit on one device in one of several processes that a launcher such as torchrun started.

    Each would do the whole of the work, and all but one be refused the run folder.

    Arguments:
        devices: Devices of the fit.
        together: Whether the host's devices are processes.

    Raises:
        OptionError: In every one of them.
    """
    rank, number = os.environ.get("RANK"), os.environ.get("WORLD_SIZE", "1")
    if rank is None or not number.isdecimal() or int(number) == 1 or (together and devices > 1):
        return
    how = f"Pass devices={number} (--devices), or start" if together else "Start"
    raise OptionError(
        f"Expected one process; this is rank {rank} of {number} (RANK and WORLD_SIZE are set, as by torchrun). {how} "
        "it without torchrun; or, where every process has a fit of its own, unset WORLD_SIZE."
    )
