"""What is known of systems that ship is said of their callables, and of no other."""

from dataclasses import replace
from functools import partial, wraps

import pytest

from mmppl.data import load
from mmppl.inference import Fitted
from mmppl.inference.shipped import is_shipped, mark_shipped

MODALITIES = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=4, num_test=1).modalities


@pytest.mark.parametrize("name", ["mvae", "ebm", "mld", "mt_diffusion"])
def test_callables_of_every_stage_are_known(small, name):
    program = small(name, MODALITIES)
    stages = [fn for stage in program.stages for fn in (stage.model, stage.guide) if fn is not None]
    assert all(map(is_shipped, (program.model, program.guide, *stages)))
    # Stages of the program made again are found by the first one's, as they are compiled once for all.
    again = program.fresh(3)
    assert all(again.own(stage) in again.stages for stage in program.stages)
    assert again.own(mine := replace(program.stages[0], share=0.123)) is mine


def test_what_a_user_puts_around_one_is_a_users_own(small):
    model = small("mvae", MODALITIES).model

    @wraps(model)
    def around(batch):
        return model(batch)

    class Called:
        def __call__(self, batch):
            return model(batch)

    class Slots:
        __slots__ = ()

        def __call__(self, batch):
            return model(batch)

    assert not any(map(is_shipped, (around, Called(), Slots(), lambda batch: model(batch))))
    assert is_shipped(partial(model))
    mark_shipped(Slots())  # takes no mark, and is asked


def test_functions_of_a_users_own_are_not_known(small):
    program = small("mt_diffusion", MODALITIES, space="a", encoders={"b": lambda batch: batch["b"]})
    assert not is_shipped(program.model)
    with pytest.raises(Exception, match="options that a run folder can hold; got functions for .'encoders'"):
        Fitted(program, {}).save("nowhere")
