"""An evaluation keeps nothing of a draw: several of them may be scored in any order."""

import numpy as np

from mmppl import Batch
from mmppl.inference.objectives.evaluation import Evaluation
from mmppl.inference.objectives.terms import Terms

NUM = 4


def runs_of(host, batch):
    if host.name == "numpyro":
        import jax

        from mmppl.numpyro.tracing import Runs

        return Runs({}, jax.random.key(0))
    from mmppl.pyro.tracing import Runs

    return Runs(batch)


def test_draws_of_one_evaluation_are_scored_in_any_order(host):
    dist, ppl, mm = host.dist, host.ppl, host.mm

    def model(batch):
        with mm.plate(batch, 3 * NUM):
            z = ppl.sample("z", dist.Normal(host.array(np.zeros(())), 1.0))
            for name in batch.modalities:
                mm.observe(name, dist.Normal(z[..., None], 0.8).to_event(1), batch)

    def guide(batch):
        with mm.plate(batch, 3 * NUM):
            ppl.sample("z", dist.Normal(0.3 * sum(batch[name][..., 0] for name in batch.modalities), 0.7))

    rng = np.random.default_rng(0)
    batch = mm.as_batch(Batch({name: rng.normal(size=(NUM, 1)) for name in "ab"}))
    table = host.array(np.array([[[True, True]], [[True, False]]]))
    one, two = (Terms(encode, encode, None) for encode in (table[:1], table))

    def scored(order):
        run = Evaluation(runs_of(host, batch), model, guide, batch, batch.modalities)
        draws = [
            host.call(lambda: run.draw(one, 1, average=True), 0),
            host.call(lambda: run.draw(two, 3, average=False), 1),
        ]
        out = [None, None]
        for i in order:
            score, terms = run.score(draws[i], batch.modalities), (one, two)[i]
            log_q = run.density(draws[i], terms.encode)["z"]
            assert score.scale == draws[i].scale == 3.0
            out[i] = [host.numpy(x) for x in (*score.log_lik.values(), score.log_prior["z"], log_q)]
        return draws, out

    draws, first = scored((0, 1))
    assert [x.shape for x in first[0]] == [(1, 1, NUM)] * 4
    assert [x.shape for x in first[1]] == [(3, 2, NUM)] * 4
    z = host.numpy(draws[1].latents["z"])
    np.testing.assert_allclose(first[1][2], -0.5 * z**2 - 0.5 * np.log(2.0 * np.pi), rtol=1e-6)
    for found, again in zip(first, scored((1, 0))[1], strict=True):
        for x, y in zip(found, again, strict=True):
            np.testing.assert_array_equal(x, y)
