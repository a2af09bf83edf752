"""Programs that keep something for each datum: places of the rows are those in the data, whoever runs the program."""

import numpy as np
import pytest
from scipy import stats

from mmppl import Batch, Modality
from mmppl._backend import get_backend
from mmppl.inference import Fitted, Program, fit, generate, infer, log_likelihood

ROWS = 96
OFFSET = np.linspace(-3.0, 3.0, ROWS)[np.random.default_rng(3).permutation(ROWS)]
X = (OFFSET + 1.4 * np.random.default_rng(0).normal(size=ROWS))[:, None]
# The second is nowhere present: it is what is drawn.
WHOLE = Batch({"x": X, "y": np.zeros((ROWS, 1))}, {"y": np.zeros(ROWS, bool)})
SOME = np.array([90, 3, 41, 3, 77])


@pytest.fixture
def program(ppl, double):
    """A program of closed form: z of N(0, 1), x and y of N(z + offset, 1), z given x of N((x - offset) / 2, 1 / 2)."""
    host = ppl.host
    offset = get_backend(host.zeros(1)).asarray(OFFSET, like=host.zeros(1))

    def model(batch):
        idle = host.param("idle", host.zeros(1))  # something to train, that changes nothing
        with ppl.plate(batch) as rows:
            z = host.sample("z", host.dist.Normal(host.zeros(1), 1.0).to_event(1))
            for name in batch.modalities:
                ppl.observe(name, host.dist.Normal(z + offset[rows][..., None] + 0.0 * idle, 1.0).to_event(1), batch)

    def guide(batch):
        with ppl.plate(batch) as rows:
            loc = (batch["x"] - offset[rows][..., None]) / 2
            host.sample("z", host.dist.Normal(loc, 0.5**0.5).to_event(1))

    return Program(model, guide, ppl.ELBO(), ppl, {"x": Modality((1,)), "y": Modality((1,))})


@pytest.mark.parametrize("data", [WHOLE, WHOLE[SOME], WHOLE[SOME][[4, 0]]], ids=["whole", "rows", "rows of rows"])
def test_the_evidence_in_blocks_is_that_of_the_whole(program, data):
    exact = stats.norm.logpdf(data["x"][:, 0], OFFSET[np.arange(ROWS) if data.places is None else data.places], 2**0.5)
    found = log_likelihood(Fitted(program, {"idle": np.zeros(1)}), data, num=20, chunk=200)  # 10 rows a block
    np.testing.assert_allclose(found.value, exact, atol=1e-9)


def test_the_bound_of_minibatches_is_that_of_the_whole(program):
    """The guide is the posterior, so the loss of a step is minus the evidence of its rows, whichever they are."""
    fitted = fit(program, WHOLE, epochs=1, batch_size=32, seed=1, progress=False)
    exact = stats.norm.logpdf(X[:, 0], OFFSET, 2**0.5).mean()
    np.testing.assert_allclose(fitted.history[-1]["loss"], -exact, atol=1e-6)


def test_generated_values_and_chains_are_of_their_own_rows(program):
    fitted, data = Fitted(program, {"idle": np.zeros(1)}), WHOLE[SOME]
    drawn = generate(fitted, data, want=["y"], num=4000, seed=0)["y"][..., 0]
    mean = OFFSET[SOME] + (data["x"][:, 0] - OFFSET[SOME]) / 2
    assert np.abs(drawn.mean(0) - mean).max() < 5 * (1.5 / 4000) ** 0.5
    chains = infer(fitted, data, num_chains=4, num_samples=250, num_warmup=150, seed=0)
    z = np.asarray(chains.draws["z"])[..., 0]
    assert np.abs(z.reshape(-1, len(SOME)).mean(0) - (data["x"][:, 0] - OFFSET[SOME]) / 2).max() < 0.15
