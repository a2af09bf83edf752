"""docs/objectives.md: what each objective takes is what it takes."""

import re
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import mmppl.pyro as mm
from mmppl import Batch
from mmppl.errors import MMPPLError
from mmppl.pyro import objectives

PAGE = (Path(__file__).parents[2] / "docs" / "objectives.md").read_text().partition("## Beside the latents")[0]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")]
TOLD = {name: dict(zip(("least", "private", "outside", "discrete"), row[1:], strict=True))
        for row in ROWS for name in re.findall(r"`(\w+)`", row[0])}  # fmt: skip
DATA = Batch({"a": np.ones((3, 1), np.float32), "b": np.zeros((3, 1), np.float32)})


def make(name, **options):
    return mm.Refined(mm.ELBO(average=True, **options), steps=1) if name == "Refined" else getattr(mm, name)(**options)


def loss(objective, kind):
    """The loss of a program with a latent z, and one that is private, outside the plate, or discrete."""

    def latents(batch, z, observe):
        if kind == "outside":
            pyro.sample("common", dist.Normal(0.0, 1.0))
        with mm.plate(batch):
            pyro.sample("z", z)
            if kind == "private":
                own = dist.Normal(torch.zeros(len(batch), 1), 1.0).to_event(1)
                pyro.sample("a.w", own.mask(batch.present["a"]))
            if kind == "discrete":
                pyro.sample("c", dist.Bernoulli(torch.full((len(batch),), 0.5)))
            for name in batch.modalities if observe else ():
                mm.observe(name, dist.Normal(torch.zeros(len(batch), 1), 1.0).to_event(1), batch)

    def model(batch):
        latents(batch, dist.Normal(torch.zeros(len(batch), 1), 1.0).to_event(1), True)

    def guide(batch):
        experts = {name: (0.5 * batch[name], torch.ones_like(batch[name])) for name in batch.modalities}
        latents(batch, mm.Product(experts, batch.present), False)

    pyro.set_rng_seed(0)
    return objective.loss(model, guide, DATA)


def test_every_objective_is_on_the_page():
    assert set(TOLD) == set(objectives.__all__)


@pytest.mark.parametrize("name", TOLD)
def test_an_objective_takes_what_the_page_says(name):
    told = TOLD[name]
    if name != "Refined":
        assert int(told["least"]) == getattr(mm, name).least
    for kind in ("private", "outside"):
        if told[kind].startswith("no"):
            with pytest.raises(MMPPLError):
                loss(make(name), kind)
        elif not told[kind].startswith("as"):
            assert np.isfinite(loss(make(name), kind))
    with pytest.raises(MMPPLError, match="discrete"):
        loss(make(name), "discrete")
    if told["discrete"] == 'with `gradient="score"`':
        assert np.isfinite(loss(make(name, gradient="score"), "discrete"))
    else:
        assert told["discrete"] == "no"
