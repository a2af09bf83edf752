"""Several processes of one launcher, which a fit on one device does not know."""

import os

from mmppl.errors import OptionError

__all__ = ["check_one_process"]


def check_one_process() -> None:
    """Refuses to fit in one of several processes that a launcher such as torchrun started.

    Each would do the whole of the work, and all but one be refused the run folder.

    Raises:
        OptionError: In every one of them.
    """
    rank, number = os.environ.get("RANK"), os.environ.get("WORLD_SIZE", "1")
    if rank is not None and number.isdecimal() and int(number) > 1:
        raise OptionError(
            f"Expected one process; this is rank {rank} of {number} (RANK and WORLD_SIZE are set, as by torchrun), and "
            "fitting on several devices is not there yet. Start it without torchrun; or, where every process has a fit "
            "of its own, unset WORLD_SIZE."
        )
