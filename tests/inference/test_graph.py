"""The graph of a program: sites, their sizes and what each depends on, worked out by hand."""

from dataclasses import replace

import pytest

from mmppl import Modality, models
from mmppl.inference.training.example import example
from mmppl.inference.training.program import Program

VIEWS = {"x": Modality((3,)), "y": Modality(())}


@pytest.fixture
def model(ppl):
    dist = ppl.host.dist

    def model(batch):
        mu = ppl.host.sample("mu", dist.Normal(ppl.host.zeros(2), 1.0).to_event(1))
        with ppl.plate(batch):
            z = ppl.host.sample("z", dist.Normal(mu, 1.0).to_event(1))
            w = ppl.host.sample("w", dist.Normal(0.0, 1.0))
            ppl.observe("x", dist.Normal((z[..., :1] + ppl.host.zeros(3)), 1.0).to_event(1), batch)
            ppl.observe("y", dist.Normal(z[..., 1] + 0.0 * w, 1.0), batch)

    return model


def test_sites_have_sizes_and_parents(ppl, model):
    found = ppl.host.graph(model, example(VIEWS, 4))
    assert [(n.name, n.observed, n.shape, n.parents) for n in found] == [
        ("mu", False, ("2",), ()),
        ("z", False, ("N", "2"), ("mu",)),
        ("w", False, ("N",), ()),
        ("x", True, ("N", "3"), ("z",)),
        ("y", True, ("N",), ("z", "w")),
    ]
    assert {n.family for n in found} == {"Normal"}


def test_a_program_shows_its_sites(ppl, model):
    program = Program(model, lambda batch: None, ppl.ELBO(), ppl, VIEWS)
    assert "<td>N x 2</td><td>mu</td>" in program._repr_html_()
    broken = replace(program, model=lambda batch: batch.covariates["site"])
    shown = broken._repr_html_()
    assert "depends on" not in shown
    assert "<td>x</td>" in shown


def test_no_chain_of_a_learned_prior_is_run(ppl):
    program = models.ebm(VIEWS, ppl=ppl, latent_dim=3, hidden=4)
    assert [(n.name, n.family, n.parents) for n in ppl.host.graph(program.model, example(VIEWS))] == [
        ("z", "EnergyTilted", ()),
        *((name, "Normal", ("z",)) for name in VIEWS),
    ]
