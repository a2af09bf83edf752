"""Labels that models score, and latents that all rows share: closed forms and the host's own bound."""

import numpy as np
import pytest
from scipy import stats

from mmppl import Batch

NUM = 5
BATCH = Batch(
    {m: np.random.default_rng(i).normal(size=(NUM, 1)) for i, m in enumerate("ab")}, {"a": np.arange(NUM) > 0}
)


class Labelled:
    """One latent, two modalities and a label that the model scores and the guide sees: exact for every subset."""

    noise, label_noise = 0.8, 0.5
    label = np.array([0.3, -0.5, 1.2, 0.1])
    rows = {m: np.random.default_rng(i).normal(size=(4, 1)) for i, m in enumerate("ab")}

    def __init__(self, d):
        self.d = d

    def model(self, batch):
        d = self.d
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(())), 1.0))
            for m in batch.modalities:
                d.mm.observe(m, d.dist.Normal(z[..., None] + 0.0 * batch[m], self.noise).to_event(1), batch)
            d.ppl.sample("y", d.dist.Normal(z, self.label_noise), obs=batch.label)

    def guide(self, batch):
        d, precision = self.d, 1.0 + self.label_noise**-2
        with d.mm.plate(batch):
            pull = batch.label / self.label_noise**2
            for m in batch.modalities:
                here = batch.present[m] * 1.0
                precision, pull = precision + here / self.noise**2, pull + here * batch[m][..., 0] / self.noise**2
            d.ppl.sample("z", d.dist.Normal(pull / precision, precision**-0.5))

    def evidence(self, names):
        """Log density of the label and of some modalities, summed over rows."""
        x = np.concatenate([*(self.rows[m] for m in names), self.label[:, None]], 1)
        cov = 1.0 + np.diag([*(self.noise**2 for _ in names), self.label_noise**2])
        return stats.multivariate_normal(np.zeros(x.shape[1]), cov).logpdf(x).sum()


LABELLED = {
    "ELBO": lambda mm: mm.ELBO(),
    "importance": lambda mm: mm.ELBO(4),
    "masked": lambda mm: mm.Masked(),
    "masked, importance": lambda mm: mm.Masked(4, gradient="dreg"),
    "masked, one subset": lambda mm: mm.Masked(subsets={("a",): 1.0}),
    "JMVAE": lambda mm: mm.JMVAE(alpha=0.0),
    "MVTCAE": lambda mm: mm.MVTCAE(alpha=0.6),
}


@pytest.mark.parametrize("name", LABELLED)
def test_a_label_that_the_model_scores_counts_once(d, name):
    program = Labelled(d)
    right = program.evidence("ab")
    if name == "MVTCAE":  # a share of the ELBO, and one of conditional bounds, which the label is given to
        right -= 0.6 * np.mean([program.evidence("a"), program.evidence("b")])
    batch = Batch(program.rows, label=program.label)
    np.testing.assert_allclose(-d.losses(LABELLED[name](d.mm), program, batch, num=3), right, rtol=1e-8)


class Regression:
    """Global latents and no others."""

    def __init__(self, d):
        self.d = d

    def model(self, batch):
        d = self.d
        w = d.ppl.sample("w", d.dist.Normal(d.array(np.zeros(2)), 1.0).to_event(1))
        with d.mm.plate(batch):
            for name in batch.modalities:
                d.mm.observe(name, d.dist.Normal(w.sum() + 0.0 * batch[name], 0.7).to_event(1), batch)

    def guide(self, batch):
        self.d.ppl.sample("w", self.d.dist.Normal(self.d.array(np.full(2, 0.2)), 0.3).to_event(1))


GLOBAL = {
    "stl": lambda mm: mm.ELBO(gradient="stl"),
    "importance": lambda mm: mm.ELBO(4),
    "dreg": lambda mm: mm.ELBO(4, gradient="dreg"),
    "MMVAE": lambda mm: mm.MMVAE(),
    "MoPoE": lambda mm: mm.MoPoE(2),
    "JMVAE": lambda mm: mm.JMVAE(),
    "masked": lambda mm: mm.Masked(),
}


@pytest.mark.parametrize("name", GLOBAL)
def test_programs_without_latents_in_the_plate_of_the_data_have_the_hosts_bound(d, name):
    """All particles and terms are one; the masked objective scores every part once."""
    program = Regression(d)
    found, right = (d.losses(o, program, BATCH, num=400) for o in (GLOBAL[name](d.mm), d.trace_elbo()))
    error = np.hypot(found.std(), right.std()) / np.sqrt(len(found))
    assert abs(found.mean() - right.mean()) < 5.0 * error
