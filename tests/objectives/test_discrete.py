"""The score function, for latents that are discrete, on either host."""

from contextlib import nullcontext

import numpy as np
import pytest
from scipy import special, stats

from mmppl import Batch
from mmppl.errors import ObjectiveError
from mmppl.testing.contract import within_error


def discrete(d, within=nullcontext):
    """A program with one discrete latent of three values, which lies within a handler."""
    mm, ppl, dist = d.mm, d.ppl, d.dist
    start, places = np.array([0.4, -0.3, 0.1]), np.array([-1.0, 0.5, 2.0])

    def model(batch):
        with mm.plate(batch):
            with within():
                y = ppl.sample("y", dist.Categorical(d.array(np.array([0.5, 0.2, 0.3]))))
            mm.observe("x", dist.Normal(d.array(places)[y][..., None], 0.8).to_event(1), batch)

    def guide(batch):
        logits = ppl.param("logits", d.array(start))
        with mm.plate(batch), within():
            ppl.sample("y", dist.Categorical(logits=logits + 0.0 * batch["x"]))

    return model, guide, start, places


WITHIN = {
    "plain": (lambda handlers: nullcontext(), 1.0),
    "scaled": (lambda handlers: handlers.scale(scale=0.25), 0.25),
    "masked": (lambda handlers: handlers.mask(mask=False), 0.0),
}


@pytest.mark.parametrize(
    ("within", "particles", "average"),
    [("plain", 1, False), ("plain", 3, True), ("plain", 3, False), ("scaled", 1, False), ("masked", 2, True)],
)
def test_the_score_function_is_unbiased_for_discrete_latents(d, handlers, within, particles, average):
    """Scales and masks change what a draw is worth, not how likely it is."""
    handler, factor = WITHIN[within]
    model, guide, start, places = discrete(d, lambda: handler(handlers))
    x, rows = 0.3, 4000
    step = d.stepper(d.mm.ELBO(particles, gradient="score", average=average), model, guide)
    batch = Batch({"x": np.full((rows, 1), x)})
    grads = np.stack([step(batch, seed).grads["logits"] / rows for seed in range(8)])

    def exact(logits):
        """The expected loss of one row, over every combination of draws."""
        q = special.softmax(logits)
        log_w = stats.norm.logpdf(x, places, 0.8) + factor * (np.log([0.5, 0.2, 0.3]) - np.log(q))
        sets = np.stack(np.meshgrid(*[np.arange(3)] * particles, indexing="ij"), -1).reshape(-1, particles)
        bound = log_w[sets].mean(-1) if average else special.logsumexp(log_w[sets], axis=-1) - np.log(particles)
        return -(q[sets].prod(-1) * bound).sum()

    wanted = [(exact(start + h) - exact(start - h)) / 2e-5 for h in 1e-5 * np.eye(3)]
    assert np.abs(wanted).max() > 0.02
    within_error(grads, np.array(wanted))


def test_discrete_latents_need_the_score_function(d):
    model, guide, *_ = discrete(d)
    with pytest.raises(ObjectiveError, match=r"Latents \['y'\] are discrete.*gradient='score'.*TraceEnum_ELBO"):
        d.stepper(d.mm.ELBO(), model, guide)(Batch({"x": np.ones((2, 1))}), 0)


def test_discrete_latents_are_summed_out_by_the_host(d):
    """Each host's TraceEnum_ELBO takes programs of plates and modalities as they are."""
    model, _, _, places = discrete(d)
    batch = d.mm.as_batch(Batch({"x": np.array([[0.3], [1.9], [0.0]])}, {"x": np.array([True, True, False])}))

    def guide(batch):
        pass

    if d.name == "pyro":
        from pyro.infer import TraceEnum_ELBO, config_enumerate

        loss = TraceEnum_ELBO(max_plate_nesting=1).loss(config_enumerate(model), guide, batch)
    else:
        import jax
        from numpyro.contrib.funsor import config_enumerate
        from numpyro.infer import TraceEnum_ELBO

        elbo = TraceEnum_ELBO(max_plate_nesting=1)
        loss = float(elbo.loss(jax.random.key(0), {}, config_enumerate(model), guide, batch))
    density = stats.norm.pdf(batch["x"][:2], places, 0.8)
    np.testing.assert_allclose(-loss, np.log(density @ [0.5, 0.2, 0.3]).sum(), rtol=1e-6)
    with d.mm.plate(batch, 9) as rows:  # NumPyro makes plates otherwise from here on
        assert len(rows) == 3
