"""Programs of users' own, with other plates, latents, scales and factors: the host's own objective is the oracle."""

import numpy as np
import pytest
from scipy import stats

from mmppl import Batch
from mmppl.errors import ObjectiveError

NUM = 5
VALUES = np.random.default_rng(0).normal(size=(NUM, 2))
BATCH = Batch({"a": VALUES, "b": VALUES[:, :1] + 1.0}, {"b": np.array([True, True, False, True, False])})


class Own:
    """A small program with parts of its own around the plate of the data; ``extra`` is run in model and guide."""

    def __init__(self, d, *, plate=None, extra=None, inside=None, local=None):
        self.d, self.extra, self.inside, self.local = d, extra, inside, local
        self.plate = plate or d.mm.plate

    def normal(self, loc, scale):
        d = self.d
        return d.dist.Normal(d.array(np.asarray(loc, float)), d.array(np.asarray(scale, float)))

    def model(self, batch):
        d = self.d
        shift = self.extra(self, True) if self.extra else 0.0
        with self.plate(batch):
            if self.inside:
                self.inside(self, True, batch)
            z = d.ppl.sample("z", self.normal(0.0, 1.0))
            if self.local:
                self.local(self, True, z)
            for name in batch.modalities:
                mean = z[..., None] + shift + 0.0 * batch[name]
                d.mm.observe(name, d.dist.Normal(mean, 0.8).to_event(1), batch)

    def guide(self, batch):
        d = self.d
        if self.extra:
            self.extra(self, False)
        with self.plate(batch):
            if self.inside:
                self.inside(self, False, batch)
            z = d.ppl.sample("z", d.dist.Normal(0.4 * batch["a"].sum(-1), d.array(np.asarray(0.7))))
            if self.local:
                self.local(self, False, z)


def pair(of_model, of_guide):
    """A statement that is one thing in the model and another in the guide."""
    return lambda self, model: of_model(self) if model else of_guide(self)


def drawn(name, size=None, rows=None, loc=1.5):
    """A global latent, in a plate of its own where it has a size."""

    def statement(self, model):
        d, fn = self.d, self.normal(0.0 if model else loc, 1.0)
        if size is None:
            return d.ppl.sample(name, fn)
        with d.ppl.plate(f"plate.{name}", size, subsample_size=rows or size):
            return d.ppl.sample(name, fn).sum()

    return statement


def observed(self, model):
    """A global latent with data of its own, in a plate beside that of the batch and outside any."""
    d = self.d
    mu = d.ppl.sample("mu", self.normal(0.0 if model else 0.5, 1.0))
    if model:
        d.ppl.sample("alone", d.dist.Normal(mu, 2.0), obs=d.array(np.asarray(0.3)))
        with d.ppl.plate("others", NUM):  # as many rows as the batch
            d.ppl.sample("y", d.dist.Normal(mu, 1.5), obs=d.array(np.arange(5.0)))
    return mu


def handled(handler):
    """A scaled or masked global latent."""

    def statement(self, model):
        with handler(self.d):
            return drawn("mu")(self, model)

    return statement


def handlers(d):
    if d.name == "pyro":
        from pyro import poutine

        return poutine
    from numpyro import handlers

    return handlers


def scaled(d):
    return handlers(d).scale(scale=0.3)


def masked(d):
    return handlers(d).mask(mask=False)


def factors(self, model):
    """A factor outside, which the model alone has, and a deterministic value."""
    d = self.d
    mu = drawn("mu")(self, model)
    if model:
        d.ppl.factor("penalty", -0.5 * (mu - 1.0) ** 2)
        d.ppl.deterministic("twice", 2.0 * mu)
    return mu


def views(self, model, batch):
    """A latent of each of three views of each row, in a plate within that of the data."""
    d = self.d
    with d.ppl.plate("views", 3, dim=-2):
        d.ppl.sample("v", self.normal(0.0 if model else 0.5, 1.0))


def of_rows(self, model, batch):
    """A latent, a factor and an auxiliary latent of each row; the last is scaled."""
    d = self.d
    with scaled(d):
        d.ppl.sample("u", self.normal(0.0 if model else 1.0, 0.9))
    if model:
        d.ppl.factor("reward", d.array(np.linspace(0.0, 1.0, NUM)))
        d.ppl.deterministic("index", d.array(np.arange(5.0)))
    else:
        d.ppl.sample("noise", self.normal(0.0, 2.0), infer={"is_auxiliary": True})


def around(d):
    return lambda batch: d.ppl.plate("data", len(batch), dim=-1)


def of_more(d):
    return lambda batch: d.mm.plate(batch, 50)


PROGRAMS = {
    "one latent outside": lambda d: Own(d, extra=drawn("mu")),
    "a plate of three": lambda d: Own(d, extra=drawn("mu", 3)),
    "a plate of one": lambda d: Own(d, extra=drawn("mu", 1)),
    "a plate of as many rows": lambda d: Own(d, extra=drawn("mu", NUM)),
    "a plate that stands for more": lambda d: Own(d, extra=drawn("mu", 6, 2)),
    "as many rows, for more": lambda d: Own(d, extra=drawn("mu", NUM), plate=of_more(d)),
    "observed beside": lambda d: Own(d, extra=observed),
    "scaled": lambda d: Own(d, extra=handled(scaled)),
    "masked": lambda d: Own(d, extra=handled(masked), plate=of_more(d)),
    "factor": lambda d: Own(d, extra=factors),
    "views": lambda d: Own(d, inside=views),
    "views, for more, and one outside": lambda d: Own(d, inside=views, extra=drawn("mu"), plate=of_more(d)),
    "of each row": lambda d: Own(d, inside=of_rows),
    "a plate of one's own": lambda d: Own(d, plate=around(d)),
    "a plate of one's own, views": lambda d: Own(d, plate=around(d), inside=views, extra=drawn("mu", NUM)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_elbo_is_the_hosts(d, name):
    program = PROGRAMS[name](d)
    ours, theirs = d.losses(d.mm.ELBO(), program, BATCH), d.losses(d.trace_elbo(), program, BATCH)
    if d.name == "pyro" and "stands for more" not in name:  # the very same draws
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    else:
        error = np.hypot(ours.std(), theirs.std()) / np.sqrt(len(ours))
        assert abs(ours.mean() - theirs.mean()) < 5.0 * error + 1e-9
    # Averaged particles, drawn one by one where there are other plates, have the same mean.
    more = d.losses(d.mm.ELBO(3, average=True), program, BATCH)
    error = np.hypot(more.std(), theirs.std()) / np.sqrt(len(more))
    assert abs(more.mean() - theirs.mean()) < 5.0 * error


class Conjugate:
    """A mean of all data and a latent of each row, with a guide that is exact for every subset given the mean."""

    noise, spread, wide = 0.8, 0.6, 2.0

    def __init__(self, d, truth=None):
        self.d = d
        self.x = {"a": BATCH["a"], "b": BATCH["b"]}
        self.present = {n: np.asarray(BATCH.present[n]) for n in "ab"}

    def model(self, batch):
        d = self.d
        mu = d.ppl.sample("mu", d.dist.Normal(d.array(np.asarray(0.0)), self.wide))
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(mu, self.spread))
            for name in batch.modalities:
                d.mm.observe(name, d.dist.Normal(z[..., None] + 0.0 * batch[name], self.noise).to_event(1), batch)

    def joint(self):
        """Values that are present as one vector, their rows, and their covariance under the model."""
        values = [(x, n) for m in "ab" for n in range(NUM) for x in np.asarray(self.x[m][n]) if self.present[m][n]]
        x, rows = np.array([v for v, _ in values]), np.array([n for _, n in values])
        cov = self.wide**2 + self.spread**2 * (rows[:, None] == rows) + self.noise**2 * np.eye(len(x))
        return x, cov

    def evidence(self):
        x, cov = self.joint()
        return stats.multivariate_normal(np.zeros(len(x)), cov).logpdf(x)

    def guide(self, batch):
        d = self.d
        x, cov = self.joint()
        gain = self.wide**2 * np.linalg.solve(cov, np.ones(len(x)))
        variance = self.wide**2 - self.wide**2 * gain.sum()
        mu = d.ppl.sample("mu", d.dist.Normal(d.array(np.asarray(gain @ x)), float(np.sqrt(variance))))
        with d.mm.plate(batch):
            precision, pull = 1.0 / self.spread**2, mu / self.spread**2
            for name in batch.modalities:
                here = batch.present[name] * 1.0
                precision = precision + here * batch[name].shape[-1] / self.noise**2
                pull = pull + here * batch[name].sum(-1) / self.noise**2
            d.ppl.sample("z", d.dist.Normal(pull / precision, precision**-0.5))


OBJECTIVES = {
    "ELBO": lambda mm: mm.ELBO(),
    "ELBO, stl": lambda mm: mm.ELBO(gradient="stl"),
    "averaged": lambda mm: mm.ELBO(4, average=True),
    "importance": lambda mm: mm.ELBO(4),
    "importance, dreg": lambda mm: mm.ELBO(4, gradient="dreg"),
    "masked": lambda mm: mm.Masked(),
    "masked, importance": lambda mm: mm.Masked(4, gradient="dreg"),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_bounds_are_the_evidence_where_the_guide_is_exact(d, name):
    program = Conjugate(d)
    found = d.losses(OBJECTIVES[name](d.mm), program, BATCH, num=4)
    np.testing.assert_allclose(-found, program.evidence(), rtol=1e-8)


@pytest.mark.parametrize("name", ["MVAE", "MMVAE", "MoPoE", "MMVAEPlus", "MVTCAE"])
def test_every_objective_takes_what_lies_outside_once(d, name):
    """What is outside adds its own divergence, whatever the terms are: here it has nothing to do with the data."""
    alone, beside = Own(d), Own(d, extra=lambda self, model: 0.0 * drawn("mu", 3)(self, model))
    options = {"random": 0} if name == "MVAE" else {}
    objective = getattr(d.mm, name)(**options)
    found = [d.losses(objective, program, BATCH, num=2000) for program in (alone, beside)]
    error = np.hypot(*(x.std() for x in found)) / np.sqrt(len(found[0]))
    assert abs(found[1].mean() - found[0].mean() - 3 * 1.5**2 / 2) < 5.0 * error


def test_a_factor_on_local_latents_outside_the_plate_is_right_or_refused(d):
    class Coupled(Own):
        def model(self, batch):
            with self.d.mm.plate(batch):
                z = self.d.ppl.sample("z", self.normal(0.0, 1.0))
                for name in batch.modalities:
                    mean = z[..., None] + 0.0 * batch[name]
                    self.d.mm.observe(name, self.d.dist.Normal(mean, 0.8).to_event(1), batch)
            self.d.ppl.factor("coupling", -0.1 * (z**2).sum())

    program = Coupled(d)
    theirs = d.losses(d.trace_elbo(), program, BATCH)
    for objective in (d.mm.ELBO(), d.mm.ELBO(3, average=True)):
        ours = d.losses(objective, program, BATCH)
        assert abs(ours.mean() - theirs.mean()) < 5.0 * np.hypot(ours.std(), theirs.std()) / np.sqrt(len(ours))
    for objective in (d.mm.ELBO(3), d.mm.MVAE()):
        with pytest.raises(ObjectiveError, match="outside the plate of the data, 'batch', that do not depend"):
            d.losses(objective, program, BATCH, num=1)


def test_rows_that_a_program_picks_itself_are_refused(d):
    def model(batch):
        with d.ppl.plate("data", NUM, subsample_size=2) as rows:
            z = d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(2)), 1.0))
            d.ppl.sample(
                "a", d.dist.Normal(z[..., None] + 0.0 * batch["a"][rows], 1.0).to_event(1), obs=batch["a"][rows]
            )

    def guide(batch):
        with d.ppl.plate("data", NUM, subsample_size=2):
            d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(2)), 0.5))

    program = type("Program", (), {"model": staticmethod(model), "guide": staticmethod(guide)})
    with pytest.raises(ObjectiveError, match="Expected plate 'data'.*to hold the 5 rows.*got 2 of 5"):
        d.losses(d.mm.ELBO(), program, BATCH.select("a"), num=1)


def test_plates_of_other_sizes_in_model_and_guide_are_refused(d):
    program = Own(d)
    whole = Own(d, plate=of_more(d))
    mixed = type("Program", (), {"model": whole.model, "guide": program.guide})
    with pytest.raises(ObjectiveError, match="stands for 5 rows in the guide and 50 in the model"):
        d.losses(d.mm.ELBO(), mixed, BATCH, num=1)


def test_a_guide_that_draws_all_rows_together_is_refused_with_importance_weights(d):
    program = Own(d)

    def guide(batch):
        d.ppl.sample("joint", program.normal(0.0, 1.0), infer={"is_auxiliary": True})
        program.guide(batch)

    mixed = type("Program", (), {"model": program.model, "guide": staticmethod(guide)})
    with pytest.raises(ObjectiveError, match="draws all rows together, by its auxiliary site 'joint'"):
        d.losses(d.mm.ELBO(4), mixed, BATCH, num=1)


def autoguides(d):
    if d.name == "pyro":
        from pyro.infer import autoguide
    else:
        from numpyro.infer import autoguide
    return [
        autoguide.AutoNormal,
        autoguide.AutoDiagonalNormal,
        autoguide.AutoMultivariateNormal,
        autoguide.AutoDelta,
    ]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("extra", [None, "mu"])
def test_automatic_guides_have_the_hosts_bound(d, number, extra):
    program = Own(d, extra=drawn(extra) if extra else None)
    batch = d.mm.as_batch(BATCH)
    guide = autoguides(d)[number](program.model)
    if d.name == "pyro":
        import pyro

        found = []
        for objective in (d.trace_elbo(), d.mm.ELBO()):
            with pyro.get_param_store().scope():
                pyro.set_rng_seed(1)
                fresh = autoguides(d)[number](program.model)
                fresh(batch)
                found.append(pyro.infer.SVI(program.model, fresh, pyro.optim.Adam({}), objective).step(batch))
        np.testing.assert_allclose(found[1], found[0], rtol=1e-9)
        return
    import jax
    import numpyro

    found = []
    for objective in (d.trace_elbo(), d.mm.ELBO()):
        svi = numpyro.infer.SVI(program.model, guide, numpyro.optim.SGD(0.0), objective)
        params = svi.get_params(svi.init(jax.random.key(1), batch))
        keys = jax.random.split(jax.random.key(2), 4000)
        loss = jax.jit(jax.vmap(lambda k, o=objective, p=params: o.loss(k, p, program.model, guide, batch)))(keys)
        found.append(np.asarray(loss))
    error = np.hypot(*(x.std() for x in found)) / np.sqrt(4000)
    assert abs(found[0].mean() - found[1].mean()) < 5.0 * error + 1e-9


def test_obs_mask_is_refused_with_what_to_do(d):
    program = Own(d)

    def model(batch):
        with d.mm.plate(batch):
            z = d.ppl.sample("z", program.normal(0.0, 1.0))
            fn = d.dist.Normal(z[..., None] + 0.0 * batch["a"], 0.8).to_event(1)
            d.ppl.sample("a", fn, obs=batch["a"], obs_mask=batch.present["a"])

    def guide(batch):
        with d.mm.plate(batch):
            d.ppl.sample("z", program.normal(0.0, 1.0))
            d.ppl.sample("a_unobserved", d.dist.Normal(0.0 * batch["a"], 1.0).to_event(1))

    mixed = type("Program", (), {"model": staticmethod(model), "guide": staticmethod(guide)})
    with pytest.raises(ObjectiveError, match=r"Modalities \['a'\] are observed with obs_mask.*mm.observe"):
        d.losses(d.mm.ELBO(), mixed, BATCH.select("a"), num=1)
