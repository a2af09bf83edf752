"""The size of the data counts where all latents are global, whichever terms score a modality."""

from types import SimpleNamespace

import numpy as np
import pytest

from mmppl import Batch

NUM = 6


@pytest.mark.parametrize("name", ["ELBO", "MVAE", "MoPoE"])
def test_the_plate_scales_what_is_observed(host, name):
    dist, ppl, mm = host.dist, host.ppl, host.mm

    def losses(times):
        def model(batch):
            mu = ppl.sample("mu", dist.Normal(host.array(np.zeros(())), 1.0))
            with mm.plate(batch, times * NUM):
                for m in batch.modalities:
                    mm.observe(m, dist.Normal(mu, 1.0).expand((NUM, 1)).to_event(1), batch)

        def guide(batch):
            ppl.sample("mu", dist.Normal(host.array(np.full((), 0.5)), 0.3))

        return host.losses(getattr(mm, name)(), SimpleNamespace(model=model, guide=guide), batch, 20).mean()

    rng = np.random.default_rng(0)
    batch = Batch({m: rng.normal(2.0, size=(NUM, 1)) for m in "ab"})
    one, two, four = losses(1), losses(2), losses(4)  # on a line, by what the rows add
    assert two > one + 1.0
    np.testing.assert_allclose(four - one, 3.0 * (two - one), rtol=1e-4)
