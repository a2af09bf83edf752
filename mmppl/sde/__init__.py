"""Linear diffusions, and the solvers of their reversal."""

from mmppl.sde.base import SDE
from mmppl.sde.sub_vp import SubVP
from mmppl.sde.times import draw_times
from mmppl.sde.ve import VE
from mmppl.sde.vp import VP

__all__ = ["SDE", "VE", "VP", "SubVP", "draw_times"]
