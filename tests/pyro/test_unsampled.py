"""Where the places of latents are asked for, no chain and no solver is run."""

import pytest

import mmppl.pyro as mm
from mmppl import models
from mmppl.data import load
from mmppl.inference import fit, infer

LINEAR = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=16, num_test=6)
SMALL = {"hidden": 4, "latent_dim": 2}


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("ebm", mm.EnergyTilted, {"energy_hidden": 4}),
        ("mld", mm.JointScore, {"width": 4, "depth": 1}),
        ("mt_diffusion", mm.JointScore, {"width": 4, "depth": 1}),
    ],
)
def test_places_and_priors_are_found_without_a_draw(name, kind, options, monkeypatch):
    program = models.make(name, LINEAR.modalities, ppl=mm, **SMALL, **options)
    wanted = mm.host.places(program.model, LINEAR.test), list(mm.host.find_prior(program.model, LINEAR.test))

    def sample(self, sample_shape=()):
        raise AssertionError("drawn")

    monkeypatch.setattr(kind, "sample", sample)
    found = mm.host.places(program.model, LINEAR.test), list(mm.host.find_prior(program.model, LINEAR.test))
    assert found == wanted
    assert set(found[0].rows) == {"z"}
    assert found[1] == (["z"] if name == "ebm" else [])


@pytest.mark.filterwarnings("ignore::mmppl.errors.PosteriorWarning")
def test_chains_with_a_start_draw_nothing_of_the_prior(monkeypatch):
    program = models.make("ebm", LINEAR.modalities, ppl=mm, **SMALL, energy_hidden=4, chains=8, buffer=0, steps=1)
    fitted = fit(program, LINEAR.train, epochs=2, progress=False)

    def sample(self, sample_shape=()):
        raise AssertionError("drawn")

    monkeypatch.setattr(mm.EnergyTilted, "sample", sample)
    found = infer(fitted, LINEAR.test, method="mala", num_samples=2, num_warmup=2, num_chains=2)
    assert found.draws["z"].shape == (2, 2, 6, 2)
