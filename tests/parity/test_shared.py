"""Every shared function, with replayed noise, gives the same numbers through numpy, torch and JAX in float64."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mmppl._backend import get_backend
from mmppl.aggregation import Experts, GeometricMean, Mixture, Product, all_subsets, stack_experts
from mmppl.batch import Batch
from mmppl.inference.objectives import ELBO, JMVAE, MMJSD, MMVAE, MVAE, MVTCAE, MoPoE, WarmUp
from mmppl.inference.objectives.algebra import Ingredients, bound_and_record
from mmppl.inference.objectives.terms import Terms
from mmppl.mcmc import langevin
from mmppl.models.nexus import drop_messages
from mmppl.priors import LangevinChains, smoothed_laplace
from mmppl.priors.energy.normalizer import annealed_importance_sampling
from mmppl.subsets import inside, present_table, random_subsets, table

MOVERS = {"numpy": np.asarray, "jax": jnp.asarray, "torch": torch.as_tensor}
RNG = np.random.default_rng(0)
LOC, SCALE = RNG.normal(size=(5, 3, 2)), RNG.uniform(0.4, 1.6, size=(5, 3, 2))
PRESENT = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 0, 1]], dtype=bool)
Z, POINT = RNG.normal(size=(5, 2)), RNG.normal(size=(6, 2))
SUBSETS = all_subsets(3)
NORMAL, UNIFORM = RNG.normal(size=(4, 6, 2)), RNG.random((4, 6))


class Replay:
    """Stands for a random handle: the n-th draw of a shape is the same on every backend."""

    def __init__(self, backend, monkeypatch):
        self.rng = np.random.default_rng(7)
        for kind in ("normal", "uniform"):
            monkeypatch.setattr(backend, kind, self.drawer(backend, kind))
        monkeypatch.setattr(backend, "split", lambda rng, num: [rng] * num)

    def drawer(self, backend, kind):
        draw = self.rng.standard_normal if kind == "normal" else self.rng.random
        return lambda rng, shape, like: backend.asarray(draw(tuple(shape)), like=like)


def log_density(z):
    """A density that is neither normal nor factorised, and analytic for the complex step."""
    xp = get_backend(z).xp
    return -0.5 * xp.sum(z * z, axis=-1) + xp.sin(z[..., 0]) * xp.cos(2.0 * z[..., 1])


def tilt(z):
    return get_backend(z).xp.sin(3.0 * z[..., 0]) + 0.3 * z[..., 1]


def start(to):
    return langevin.init(log_density, to(POINT))


AGGREGATIONS = {
    f"{name}, {family}": (lambda to, make=make, family=family: make(Experts(*map(to, (LOC, SCALE, PRESENT)), family)))
    for family in ("normal", "laplace")
    for name, make in {
        "product": Product,
        "product, no prior": lambda e: Product(e, prior_expert=False),
        "geometric mean": GeometricMean,
        "mixture of experts": Mixture,
        "mixture of products": lambda e: Mixture(e, SUBSETS),
        "mixture of products, prior": lambda e: Mixture(e, SUBSETS, prior_expert=True),
    }.items()
}


def batch(to, modalities=3):
    present = np.tile(PRESENT, 2)[:, :modalities]
    names = "abcdef"[:modalities]
    return Batch({n: to(np.ones((5, 1))) for n in names}, {n: to(present[:, i]) for i, n in enumerate(names)})


def terms(objective, modalities=3):
    def run(to, rng):
        like = to(np.zeros(()))
        out = objective.terms(get_backend(like), batch(to, modalities), rng, like)
        return [out.encode, out.score, out.weight, *(out.mixture or ()), *(out.reference or ())]

    return run


def algebra(objective):
    def run(to, rng):
        draw = np.random.default_rng(3).normal
        parts = Ingredients(
            {"a": to(draw(size=(4, 2, 5))), "b": to(draw(size=(4, 2, 5)))},
            {"a": to(np.ones((2, 5))), "b": to(PRESENT[:, :2].T * 1.0)},
            to(draw(size=(4, 2, 5))),
            to(draw(size=(4, 2, 5))),
            {"b": 0.5},
            scale=7.0,
        )
        weight = to(np.array([[1.0, 0.5, 0.0, 1.0, 2.0], [0.0, 0.5, 0.0, 0.3, 1.0]]))
        terms = Terms(None, None, weight)
        loss, record = bound_and_record(get_backend(weight), objective, terms, parts, objective.beta)
        return [loss, *(record[name] for name in sorted(record))]

    return run


def stacked(to, rng):
    pairs = {"a": (to(LOC[:, 0]), to(SCALE[:, 0])), "b": (to(LOC[:, 1]), to(SCALE[:, 1]))}
    out = stack_experts(pairs, {"a": to(PRESENT[:, 0]), "b": to(PRESENT[:, 1])}, "laplace")
    return [out.loc, out.scale, out.present]


def refreshed(to, rng):
    chains = LangevinChains(number=2, steps=3, buffer=6, restart=0.5)
    point = to(POINT)
    return chains.refresh(get_backend(point), rng, log_density, point, point[4:, :])


def short_run(adjusted):
    def run(to, rng):
        point = to(POINT)
        return LangevinChains(steps=5, adjusted=adjusted, clip=0.7).run(get_backend(point), rng, log_density, point)

    return run


def annealed(to, rng):
    point = to(POINT)
    noise = to(NORMAL), to(UNIFORM)
    return [annealed_importance_sampling(get_backend(point), log_density, tilt, point, *noise, 0.4, 2.0)]


def subsets(to, rng):
    like = to(np.zeros(()))
    backend, data = get_backend(like), batch(to)
    present = present_table(backend, data)
    drawn = random_subsets(backend, rng, 3, present, like)
    return [present, table(backend, SUBSETS, like), drawn, inside(backend, drawn, present)]


U = np.linspace(-2.0, 2.0, 41)
CASES = {
    **{f"{n}: log_prob": (lambda to, rng, q=q: [q(to).log_prob(to(Z))]) for n, q in AGGREGATIONS.items()},
    **{f"{n}: sample": (lambda to, rng, q=q: [q(to).sample(rng, (3,))]) for n, q in AGGREGATIONS.items()},
    **{f"{n}: stratified": (lambda to, rng, q=q: [q(to).stratified(rng, (4,))]) for n, q in AGGREGATIONS.items()},
    "stack_experts": stacked,
    "smoothed Laplace: log_prob": lambda to, rng: [smoothed_laplace.log_prob(to(U), to(np.array(0.8)), 0.3)],
    "smoothed Laplace: quantile": lambda to, rng: [
        smoothed_laplace.quantile(to(np.linspace(0.01, 0.99, 33)), to(np.array(0.8)), 0.3)
    ],
    "langevin: init": lambda to, rng: start(to),
    "langevin: ula_step": lambda to, rng: langevin.ula_step(log_density, start(to), to(NORMAL[0]), 0.6, 0.5)[0],
    "langevin: mala_step": lambda to, rng: [
        x for part in langevin.mala_step(log_density, start(to), to(NORMAL[0]), to(UNIFORM[0]), 1.4) for x in part
    ],
    "langevin: step size for each chain": lambda to, rng: langevin.mala_step(
        log_density, start(to), to(NORMAL[0]), to(UNIFORM[0]), to(np.linspace(0.2, 2.0, 6)), 0.5
    )[0],
    "langevin: run_chain": lambda to, rng: langevin.run_chain(
        get_backend(to(Z)), log_density, to(POINT), to(NORMAL), to(UNIFORM), 0.9
    ),
    "chains: run": short_run(False),
    "chains: run, adjusted": short_run(True),
    "chains: refresh": refreshed,
    "annealed importance sampling": annealed,
    "tables of subsets": subsets,
    "terms: elbo": terms(ELBO()),
    "terms: mvae": terms(MVAE(random=2)),
    "terms: mmvae": terms(MMVAE()),
    "terms: mmvae, one stratum": terms(MMVAE(strata="one")),
    "terms: mopoe": terms(MoPoE()),
    "terms: mopoe, one stratum": terms(MoPoE(strata="one")),
    "terms: mopoe, sampled": terms(MoPoE(), modalities=6),
    "algebra: standard": algebra(ELBO(4, beta=0.7)),
    "algebra: average": algebra(ELBO(4, average=True, beta=2.0)),
    "algebra: dreg": algebra(ELBO(4, gradient="dreg")),
    "algebra: score": algebra(ELBO(4, gradient="score")),
    "algebra: score, average": algebra(ELBO(4, gradient="score", average=True)),
    "algebra: free bits": algebra(ELBO(4, average=True, free_bits=0.4)),
    "terms: jmvae": terms(JMVAE()),
    "terms: mmjsd": terms(MMJSD()),
    "terms: mvtcae": terms(MVTCAE()),
    "warm-up": lambda to, rng: [WarmUp(4, start=0.2)(to(np.linspace(0.0, 8.0, 5)))],
    "messages kept": lambda to, rng: list(drop_messages(batch(to), rng, 0.7, to(np.zeros(()))).values()),
}


def outputs(case, side, monkeypatch):
    to = MOVERS[side]
    backend = get_backend(to(Z))
    return [backend.to_numpy(x) for x in CASES[case](to, Replay(backend, monkeypatch))]


@pytest.mark.parametrize("case", CASES)
def test_three_backends_give_the_same_numbers(case, x64, monkeypatch):
    wanted = outputs(case, "numpy", monkeypatch)
    assert wanted
    for side in ("jax", "torch"):
        for ours, oracle in zip(outputs(case, side, monkeypatch), wanted, strict=True):
            assert ours.dtype == oracle.dtype
            assert ours.shape == oracle.shape
            np.testing.assert_allclose(ours, oracle, rtol=1e-10, atol=1e-13)
