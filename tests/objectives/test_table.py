"""docs/objectives.md: what every objective makes of each part that a program may have, on either host, by values."""

import importlib
import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from mmppl import Batch
from mmppl._backend import get_backend
from mmppl.errors import MMPPLError

NUM, ALPHA = 3, 0.5
DATA = Batch({"a": np.ones((NUM, 1)), "b": np.arange(NUM)[:, None] / 2.0})
PAGE = (Path(__file__).parents[2] / "docs" / "objectives.md").read_text().split("## Beside the latents")[1]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")]
TOLD = {name: dict(zip(("deterministic", "factor", "latent", "outside"), row[1:], strict=True))
        for row in ROWS for name in re.findall(r"`(\w+)`", row[0])}  # fmt: skip
# The words of the page as numbers, for two modalities and no random subsets.
WORTH = {"0": 0.0, "1": 1.0, "1 + M": 3.0, "1 - alpha": 1.0 - ALPHA}
# Weight of each modality's log likelihood in an objective.
LIKELIHOOD = {"MVAE": 2.0, "MVTCAE": (2.0 - ALPHA) / 2.0}
OPTIONS = {"MVAE": {"random": 0}, "MVTCAE": {"alpha": ALPHA}}


def make(mm, name, **more):
    if name == "Refined":
        return mm.Refined(mm.ELBO(average=True, **more), steps=1)
    return getattr(mm, name)(**OPTIONS.get(name, {}), **more)


class Program:
    """A latent, two modalities, and a part beside them that the guide knows exactly, so that only its worth is left."""

    def __init__(self, d, kind, value=0.0):
        self.d, self.kind, self.value = d, kind, value
        self.handlers = importlib.import_module("pyro.poutine" if d.name == "pyro" else "numpyro.handlers")
        self.reparam = importlib.import_module(f"{d.name}.infer.reparam")

    def normal(self, *shape, scale=1.0):
        return self.d.dist.Normal(self.d.array(np.zeros(shape)), scale)

    def known(self, *shape):
        return self.d.dist.Delta(self.d.array(np.full(shape, self.value)))

    def within(self):
        return self.handlers.scale(scale=self.value) if self.kind == "scale" else nullcontext()

    def beside(self, z):
        ppl, local = self.d.ppl, 0.0 * z[..., 0]
        if self.kind == "deterministic":
            ppl.deterministic("twice", 2.0 * z[..., 0])
        if self.kind == "factor":
            ppl.factor("own", self.value + local)
        if self.kind == "nested":
            with ppl.plate("inner", 2, dim=-2):
                ppl.sample("w", self.normal())
        if self.kind == "reparam":
            with self.handlers.reparam(config={"w": self.reparam.LocScaleReparam(0.0)}):
                ppl.sample("w", self.normal(NUM, scale=2.0))
        if self.kind == "block":
            with self.handlers.block():
                ppl.sample("hidden", self.normal(NUM), obs=self.d.array(np.ones(NUM)))
        if self.kind == "discrete":
            ppl.sample("c", self.d.dist.Bernoulli(self.d.array(np.full(NUM, 0.5))))

    def model(self, batch):
        d = self.d
        if self.kind == "factor outside":
            d.ppl.factor("whole", d.array(np.asarray(self.value)))
        if self.kind == "latent outside":
            d.ppl.sample("mu", self.normal())
        with d.mm.plate(batch), self.within():
            z = d.ppl.sample("z", self.normal(NUM, 1).to_event(1))
            self.beside(z)
            for name in batch.modalities:
                d.mm.observe(name, d.dist.Normal(z + 0.0 * batch[name], 1.0).to_event(1), batch)

    def guide(self, batch):
        d = self.d
        if self.kind == "latent outside":
            d.ppl.sample("mu", self.known())
        with d.mm.plate(batch), self.within():
            experts = {name: (0.5 * batch[name], 0.0 * batch[name] + 0.8) for name in batch.modalities}
            d.ppl.sample("z", d.mm.Product(experts, batch.present))
            if self.kind == "nested":
                with d.ppl.plate("inner", 2, dim=-2):
                    d.ppl.sample("w", self.known(2, NUM))
            if self.kind == "reparam":
                d.ppl.sample("w_decentered", self.known(NUM))
            if self.kind == "discrete":
                d.ppl.sample("c", d.dist.Bernoulli(d.array(np.full(NUM, 0.3))))


def loss(d, objective, kind, value=0.0):
    """A loss, of the same noise in every call."""
    program = Program(d, kind, value)
    if d.name == "pyro":
        d.ppl.set_rng_seed(0)
        return float(objective.loss(program.model, program.guide, d.mm.as_batch(DATA)))
    import jax

    return float(objective.loss(jax.random.key(0), {}, program.model, program.guide, d.mm.as_batch(DATA)))


def test_every_objective_is_in_the_table(d):
    assert {*TOLD, "Refined"} == {*importlib.import_module(f"mmppl.{d.name}.objectives").__all__}


@pytest.mark.parametrize("name", TOLD)
def test_each_cell_is_what_the_page_says(d, name):
    told, objective = TOLD[name], make(d.mm, name)
    log_density = stats.norm.logpdf(1.0) - stats.norm.logpdf(0.0)
    plain = loss(d, objective, "nothing")
    for kind in ("deterministic", "block"):
        assert loss(d, objective, kind) == pytest.approx(plain, rel=1e-10)
    assert loss(d, objective, "scale", 0.5) == pytest.approx(0.5 * loss(d, objective, "scale", 1.0), rel=1e-10)

    def worth(kind, change):
        """Weight of a part in each row: change of the loss, with the same noise, by that of its log density."""
        return (loss(d, objective, kind, 0.0) - loss(d, objective, kind, 1.0)) / change

    row = {"abs": 1e-6, "rel": 1e-6}
    assert worth("factor", NUM) == pytest.approx(WORTH[told["factor"]], **row)
    assert worth("nested", 2 * NUM * log_density) == pytest.approx(WORTH[told["latent"]], **row)
    assert worth("reparam", NUM * log_density) == pytest.approx(WORTH[told["latent"]], **row)
    assert worth("factor outside", 1.0) == pytest.approx(WORTH[told["outside"]], **row)
    assert worth("latent outside", log_density) == pytest.approx(WORTH[told["outside"]], **row)
    with pytest.raises(MMPPLError, match="discrete"):
        loss(d, objective, "discrete")
    assert np.isfinite(loss(d, make(d.mm, name, gradient="score"), "discrete"))


def test_what_refined_takes(d):
    objective = make(d.mm, "Refined")
    plain = loss(d, objective, "nothing")
    for kind in ("deterministic", "block"):
        assert loss(d, objective, kind) == pytest.approx(plain, rel=1e-10)
    assert loss(d, objective, "factor", 1.0) == pytest.approx(plain - NUM, rel=1e-10)
    for kind in ("factor outside", "latent outside"):
        with pytest.raises(MMPPLError, match="Refined moves the latents of each datum by themselves"):
            loss(d, objective, kind, 1.0)
    with pytest.raises(MMPPLError, match="discrete"):
        loss(d, objective, "discrete")


WIDE = 2.0


@pytest.mark.parametrize("rows", ["all", "some"])
@pytest.mark.parametrize("name", TOLD)
def test_the_optimum_of_a_mean_that_all_rows_share(d, name, rows):
    r"""Gradients of q(mu) = N(m, s^2) at one draw mu = m + s e, for data N(mu, 1) of weight c and a prior N(0, W^2).

    They are g = L (mu - M) and h = g s e - 1 with L = c n + 1 / W^2 and L M = c times the sum of the data, so that the
    optimum is N(M, 1 / L); of rows of a plate that is larger, n and the sum are scaled to it, which has no bias.
    """
    mm, ppl, dist = d.mm, d.ppl, d.dist

    def model(batch):
        mu = ppl.sample("mu", dist.Normal(d.array(np.asarray(0.0)), WIDE))
        with mm.plate(batch, size=NUM):
            z = ppl.sample("z", dist.Normal(d.array(np.zeros((len(batch), 1))), 1.0).to_event(1))
            for m in batch.modalities:
                mm.observe(m, dist.Normal(mu + 0.0 * z + 0.0 * batch[m], 1.0).to_event(1), batch)

    def guide(batch):
        loc, log_scale = ppl.param("loc", d.array(np.asarray(0.7))), ppl.param("log_scale", d.array(np.asarray(-0.4)))
        ppl.sample("mu", dist.Normal(loc, get_backend(loc).xp.exp(log_scale)))
        with mm.plate(batch, size=NUM):
            experts = {m: (0.5 * batch[m], 0.0 * batch[m] + 0.8) for m in batch.modalities}
            ppl.sample("z", mm.Product(experts, batch.present))

    weight = LIKELIHOOD.get(name, 1.0)
    step = d.stepper(make(mm, name), model, guide)
    for part in (slice(0, NUM),) if rows == "all" else (slice(0, 1), slice(1, 3)):
        batch = DATA[part]
        scale = NUM / len(batch)
        precision = weight * scale * 2 * len(batch) + WIDE**-2
        mean = weight * scale * sum(batch[m].sum() for m in "ab") / precision
        found = [step(batch, seed).grads for seed in range(4)]
        g, h = (np.array([float(x[key]) for x in found]) for key in ("loc", "log_scale"))
        noise = g / precision + mean - 0.7  # s e
        np.testing.assert_allclose(h, g * noise - 1.0, rtol=1e-8, atol=1e-8)
        assert np.ptp(noise) > 0.1
