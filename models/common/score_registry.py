"""Networks, diffusions and solvers of scores, by name."""

from collections.abc import Callable

from mmppl.errors import OptionError
from mmppl.nets import ResidualScore, TokenScore, UnetScore
from mmppl.nets.spec import Spec
from mmppl.sde import SDE, VE, VP, SubVP
from mmppl.sde.solvers import (
    Ancestral,
    AnnealedLangevin,
    DPMSolver,
    EulerMaruyama,
    Heun,
    PredictorCorrector,
    RePaint,
    Solver,
)

__all__ = ["NETS", "SDES", "SOLVERS", "score_net", "sde_of", "solver_of"]

NETS: dict[str, Callable[..., Spec]] = {"residual": ResidualScore, "tokens": TokenScore}
SOLVERS: dict[str, Callable[[int], Solver]] = {
    "dpm": lambda steps: DPMSolver(steps, eta=1.0),
    "flow": DPMSolver,
    "heun": Heun,
    "euler": EulerMaruyama,
    "ancestral": Ancestral,
    "corrector": PredictorCorrector,
    "repaint": RePaint,
    "langevin": AnnealedLangevin,
}
SDES: dict[str, Callable[[], SDE]] = {"vp": VP, "sub_vp": SubVP, "ve": lambda: VE(0.01, 20.0)}


def sde_of(name: str) -> SDE:
    """A diffusion by name, for latents of unit variance.

    Raises:
        OptionError: If the name is unknown.
    """
    if name not in SDES:
        raise OptionError(f"Expected sde among {list(SDES)}; got {name!r}.")
    return SDES[name]()


def solver_of(name: str, steps: int) -> Solver:
    """A solver by name, with as many evaluations of the network as it can do within ``steps``.

    Arguments:
        name: One of :data:`SOLVERS`.
        steps: The number of evaluations. Heun's method takes an odd number of them, a predictor-corrector two for each
            time, RePaint ten for most, annealed Langevin ten for each level.

    Raises:
        OptionError: If the name is unknown, or the solver takes more evaluations than that.

    Example:
        >>> [solver_of(name, 50).evaluations for name in ("dpm", "heun", "ancestral", "langevin")]
        [50, 49, 50, 41]
    """
    if name not in SOLVERS:
        raise OptionError(f"Unknown solver '{name}'; expected one of {list(SOLVERS)}.")
    found, least = None, None
    for number in range(1, steps + 1):
        try:
            solver = SOLVERS[name](number)
        except OptionError:  # a number that this solver cannot do, such as an even one
            continue
        least = least or solver.evaluations
        if solver.evaluations > steps:
            break
        found = solver
    if found is None:
        wanted = "more" if least is None else f"at least {least}"
        raise OptionError(f"Expected {wanted} steps, which are evaluations of the network, for '{name}'; got {steps}.")
    return found


def score_net(name: str, sizes: tuple[int, ...], width: int, depth: int) -> Spec:
    """A score's network by name: a residual perceptron, a transformer, or the published one (two levels).

    Raises:
        OptionError: If the name is unknown.
    """
    if name == "unet":
        return UnetScore(sizes, width, (1,) * depth)
    if name not in NETS:
        raise OptionError(f"Unknown score network '{name}'; expected one of {[*NETS, 'unet']}.")
    return NETS[name](sizes, width, depth)
