"""Linear diffusions, and the solvers of their reversal."""

from mmppl.sde.base import SDE
from mmppl.sde.times import draw_times
from mmppl.sde.ve import VE
from mmppl.sde.vp import VP, SubVP

__all__ = ["SDE", "VE", "VP", "SubVP", "draw_times"]
