"""Programs that count axes from the left, or mix rows, have the right values: they are run draw by draw."""

import numpy as np
import pytest

from mmppl import Batch, Modality
from mmppl._backend import get_backend
from mmppl.inference import Fitted, Program, generate, infer, log_likelihood

NUM = 5
BATCH = Batch({n: np.random.default_rng(i).normal(size=(NUM, 2)) for i, n in enumerate("ab")})
WAYS = {
    "slice": (lambda xp, z: z[:, :1] + 0.0 * z[..., :1], lambda xp, z: z[..., :1]),
    "index": (lambda xp, z: z[:, 0][:, None], lambda xp, z: z[..., :1]),
    "softmax": (
        lambda xp, z: (xp.exp(z) / xp.sum(xp.exp(z), axis=1, keepdims=True))[..., :1],
        lambda xp, z: (xp.exp(z) / xp.sum(xp.exp(z), axis=-1, keepdims=True))[..., :1],
    ),
    "rows": (
        lambda xp, z: z[..., :1] - xp.mean(z, axis=0, keepdims=True)[..., :1],
        lambda xp, z: z[..., :1] - xp.mean(z, axis=-2, keepdims=True)[..., :1],
    ),
}


def programs(d, way):
    """Model and guide that count from the left, and the same from the right."""

    def pair(pick):
        def model(batch):
            with d.mm.plate(batch):
                z = d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(2)), 1.0).to_event(1))
                loc = pick(get_backend(z).xp, z) * d.array(np.ones(2))
                for name in batch.modalities:
                    d.mm.observe(name, d.dist.Normal(loc, 0.7).to_event(1), batch)

        def guide(batch):
            with d.mm.plate(batch):
                d.ppl.sample("z", d.dist.Normal(0.5 * batch["a"], d.array(np.asarray(0.6))).to_event(1))

        return type("Pair", (), {"model": staticmethod(model), "guide": staticmethod(guide)})

    return [pair(pick) for pick in WAYS[way]]


OBJECTIVES = {"averaged": lambda mm: mm.ELBO(2, average=True), "importance": lambda mm: mm.ELBO(3)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_bounds_are_those_of_the_same_program_from_the_right(d, way, name):
    left, right = (d.losses(OBJECTIVES[name](d.mm), program, BATCH, num=600) for program in programs(d, way))
    error = np.hypot(left.std(), right.std()) / np.sqrt(len(left))
    assert abs(left.mean() - right.mean()) < 4.5 * error


def layout(d, program):
    batch = d.mm.as_batch(BATCH)
    if d.name == "pyro":
        from mmppl.pyro.tracing import Runs

        runs = Runs(batch)
    else:
        import jax

        from mmppl.numpyro.tracing import Runs

        runs = Runs({}, jax.random.key(0))
    return runs.layout(program.model, program.guide, batch, batch.modalities)


@pytest.mark.parametrize("way", WAYS)
def test_what_counts_from_the_right_is_run_at_once(d, way):
    left, right = programs(d, way)
    assert not layout(d, left).simple
    assert layout(d, right).simple


@pytest.mark.parametrize("way", ["slice", "softmax"])
def test_tools_give_the_values_of_the_same_program_from_the_right(host, way):
    """Log weights of the same draws are the same; draws have the same moments."""
    left, right = (
        Fitted(Program(p.model, p.guide, host.mm.ELBO(), host.mm, {n: Modality((2,)) for n in "ab"}), {})
        for p in programs(host, way)
    )
    rows = Batch({n: x.astype(np.float32) for n, x in BATCH.values.items()})
    (one, other) = (infer(f, rows, method="guide", num_samples=400, seed=1) for f in (left, right))
    spread = other.draws["z"].std(axis=(0, 1)) / np.sqrt(100)
    assert (np.abs(one.draws["z"].mean((0, 1)) - other.draws["z"].mean((0, 1))) < 6 * spread).all()
    (value, truth) = (log_likelihood(f, rows, num=2000, seed=1) for f in (left, right))
    error = np.nan_to_num(np.hypot(value.error, truth.error), nan=0.2)
    assert (np.abs(value.value - truth.value) < 6 * error).all()
    (drawn, wanted) = (generate(f, rows.only("a"), num=400, seed=2)["b"] for f in (left, right))
    assert (np.abs(drawn.mean(0) - wanted.mean(0)) < 6 * wanted.std(0) / np.sqrt(200)).all()
