"""Modalities and their rows in the plate of the data, and outside it."""

import numpy as np
import pytest

from mmppl import Batch, Modality
from mmppl.errors import ObjectiveError
from mmppl.inference import Fitted, Program, infer, log_likelihood, to_arviz

NUM = 5
RNG = np.random.default_rng(0)
BATCH = Batch({"a": RNG.normal(size=(NUM, 2)), "b": RNG.normal(size=(NUM, 3))}, {"b": np.arange(NUM) != 2})


def test_modalities_outside_the_plate_of_the_data_have_the_hosts_bound_or_are_refused(d):
    """In plates of their own each counts as the host counts it; what weighs each datum by itself would miss them."""

    def model(batch):
        with d.ppl.plate("first", NUM):
            z = d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(NUM)), 1.0))
        for name in batch.modalities:
            with d.ppl.plate(f"of {name}", NUM):
                d.mm.observe(name, d.dist.Normal(z[..., None] + 0.0 * batch[name], 1.0).to_event(1), batch)

    def guide(batch):
        with d.ppl.plate("first", NUM):
            d.ppl.sample("z", d.dist.Normal(d.array(np.full(NUM, 0.2)), 0.7))

    program = type("Program", (), {"model": staticmethod(model), "guide": staticmethod(guide)})
    theirs, ours = (d.losses(o, program, BATCH) for o in (d.trace_elbo(), d.mm.ELBO(weights={"a": 1.0})))
    assert abs(ours.mean() - theirs.mean()) < 5.0 * np.hypot(ours.std(), theirs.std()) / np.sqrt(len(ours))
    for objective in (d.mm.ELBO(3), d.mm.MoPoE(), d.mm.MVAE()):
        with pytest.raises(ObjectiveError, match=r"Expected modalities in the plate of the data; got \['a'.* outside"):
            d.losses(objective, program, BATCH, num=1)
    for options in ({"beta": 0.5}, {"weights": {"a": 2.0}}, {"free_bits": 1.0}):
        with pytest.raises(ObjectiveError, match=r"where beta, weights and free bits are; got \['a'.* outside"):
            d.losses(d.mm.ELBO(**options), program, BATCH, num=1)


@pytest.mark.parametrize("tool", ["log_likelihood", "importance", "to_arviz"])
def test_tools_that_judge_each_datum_refuse_a_modality_outside_the_plate_of_the_data(d, tool):
    def model(batch):
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(0.0 * batch["a"][..., 0], 1.0))
            d.mm.observe("a", d.dist.Normal(z[..., None] + 0.0 * batch["a"], 1.0).to_event(1), batch)
        with d.ppl.plate("of b", len(batch)):
            d.mm.observe("b", d.dist.Normal(z[..., None] + 0.0 * batch["b"], 1.0).to_event(1), batch)

    def guide(batch):
        with d.mm.plate(batch):
            d.ppl.sample("z", d.dist.Normal(0.2 + 0.0 * batch["a"][..., 0], 0.7))

    kinds = {"a": Modality((2,)), "b": Modality((3,))}
    fitted = Fitted(Program(model, guide, d.mm.ELBO(), d.mm, kinds), {})
    use = {
        "log_likelihood": lambda: log_likelihood(fitted, BATCH, num=30),
        "importance": lambda: infer(fitted, BATCH, method="importance", num_samples=10),
        "to_arviz": lambda: to_arviz(fitted, BATCH, kernel=None, num_samples=10),
    }[tool]
    with pytest.raises(ObjectiveError, match=r"Expected modalities in the plate of the data; got \['b'\] outside it"):
        use()


def test_the_plate_of_the_data_gives_places_in_the_batch(d):
    """Whatever it stands for: places among the rows of the whole data set would be others, or none."""

    def program(by_place):
        def rows(batch, name, places):
            return batch[name][places] if by_place else batch[name]

        def model(batch):
            with d.mm.plate(batch, 50) as places:
                z = d.ppl.sample("z", d.dist.Normal(0.1 * rows(batch, "a", places).sum(-1), 1.0))
                d.mm.observe("a", d.dist.Normal(z[..., None] + 0.0 * batch["a"], 1.0).to_event(1), batch)

        def guide(batch):
            with d.mm.plate(batch, 50) as places:
                d.ppl.sample("z", d.dist.Normal(0.5 * rows(batch, "a", places).mean(-1), 0.7))

        return model, guide

    batch = BATCH.select("a")
    losses = [float(d.stepper(d.mm.ELBO(), *program(by_place))(batch, 0, {}).loss) for by_place in (True, False)]
    assert losses[0] == losses[1]
