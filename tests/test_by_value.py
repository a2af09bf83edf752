"""Diffusions and solvers are equal where their settings are, and serve as keys."""

import numpy as np
import pytest

from mmppl.by_value import ByValue
from mmppl.sde import VE, VP, SubVP
from mmppl.sde.solvers import (
    Ancestral,
    AnnealedLangevin,
    DPMSolver,
    EulerMaruyama,
    Heun,
    PredictorCorrector,
    RePaint,
)

MADE = [
    (VP, (0.1, 20.0), (0.1, 30.0)),
    (SubVP, (0.1, 20.0), (0.2, 20.0)),
    (VE, (0.01, 50.0), (0.01, 20.0)),
    (Ancestral, (20,), (20, 2e-3)),
    (AnnealedLangevin, (10, 3), (10, 4)),
    (DPMSolver, (20,), (20, 1e-2, 0.5)),
    (EulerMaruyama, (20,), (21,)),
    (Heun, (19,), (21,)),
    (PredictorCorrector, (20,), (20, 2)),
    (RePaint, (20, 2, 2), (20, 2, 3)),
]


@pytest.mark.parametrize(("kind", "one", "other"), MADE)
def test_settings_tell_apart(kind, one, other):
    assert kind(*one) == kind(*one)
    assert hash(kind(*one)) == hash(kind(*one))
    assert kind(*one) != kind(*other)


def test_classes_tell_apart():
    every = {kind(*one) for kind, one, _ in MADE}
    assert len(every) == len(MADE)
    assert VP(0.1, 20.0) != SubVP(0.1, 20.0)


def test_what_has_no_hash_is_equal_to_itself_alone():
    class Listed(ByValue):
        def __init__(self, value):
            self.value = value

    one, same = Listed({1}), Listed({1})
    assert one == one
    assert one != same
    assert len({one, same}) == 2
    assert Listed(1) != Listed(1.0)
    assert Listed(np.zeros(2)) != Listed(np.zeros(2, "float32"))
    assert Listed(np.zeros(2)) == Listed(np.zeros(2))
    assert Listed({"a": [1.0]}) == Listed({"a": [1.0]}) != Listed({"a": [2.0]})


def test_private_attributes_count():
    """What is compiled for one would else serve another."""

    class Raised(ByValue):
        def __init__(self, power):
            self._power = power

    assert Raised(1) == Raised(1) != Raised(2)
