"""Automatic guides of the hosts in a fit: of latents that all rows share; those of each row are refused."""

import numpy as np
import pytest

from mmppl import Batch, Modality
from mmppl.errors import OptionError
from mmppl.inference import Fitted, Program, fit, infer

NUM = 40
ROWS = Batch({"a": (1.0 + np.random.default_rng(0).normal(size=(NUM, 1))).astype("f")})


def autoguide(host):
    if host.name == "pyro":
        from pyro.infer import autoguide
    else:
        from numpyro.infer import autoguide
    return autoguide


def model_of(host, local):
    def model(batch):
        mu = host.ppl.sample("mu", host.dist.Normal(host.array(np.float32(0.0)), 2.0))
        with host.mm.plate(batch):
            if local:
                mu = host.ppl.sample("z", host.dist.Normal(mu, 0.5))[..., None]
            host.mm.observe("a", host.dist.Normal(mu + 0.0 * batch["a"], 1.0).to_event(1), batch)

    return model


def program(host, model, guide):
    return Program(model, guide, host.mm.ELBO(), host.mm, {"a": Modality((1,))})


@pytest.mark.parametrize("parts", [False, True])
def test_parameters_of_each_row_are_refused(host, parts):
    auto, model = autoguide(host), model_of(host, True)
    guide = auto.AutoNormal(model)
    if parts:
        guide = auto.AutoGuideList(model)
        guide.append(auto.AutoNormal(hiding(host, model)))
    message = r"answers for any rows; got AutoNormal.*latents \['z'\]"
    with pytest.raises(OptionError, match=message):
        fit(program(host, model, guide), ROWS, epochs=1, progress=False)
    with pytest.raises(OptionError, match=message):  # as where the host's own SVI has fitted it
        infer(Fitted(program(host, model, guide), {}), ROWS, method="guide", num_samples=2)


def test_laplaces_guide_whose_draws_are_the_mode_is_refused(host):
    model = model_of(host, False)
    declared = program(host, model, autoguide(host).AutoLaplaceApproximation(model))
    for call in (lambda: fit(declared, ROWS, epochs=1, progress=False), lambda: infer(declared, ROWS, method="guide")):
        with pytest.raises(OptionError, match="got AutoLaplaceApproximation, whose draws are the mode until"):
            call()


def hiding(host, model):
    if host.name == "pyro":
        from pyro import poutine

        return poutine.block(model, hide=["mu"])
    from numpyro import handlers

    return handlers.block(model, hide=["mu"])


def test_what_all_rows_share_is_fitted(host):
    model = model_of(host, False)
    guide = autoguide(host).AutoNormal(model)
    settings = {"epochs": 300, "batch_size": NUM, "learning_rate": 0.02, "progress": False}
    fitted = fit(program(host, model, guide), ROWS, **settings)
    draws = infer(fitted, ROWS, method="guide", num_samples=2000, seed=0).draws["mu"]
    variance = 1.0 / (NUM + 0.25)
    mean = variance * ROWS["a"].sum()
    assert abs(draws.mean() - mean) < 0.05
    assert abs(draws.std() / np.sqrt(variance) - 1.0) < 0.25


def sharing(host, model):
    """The model as far as its latent that all rows share."""
    if host.name == "pyro":
        from pyro import poutine

        return poutine.block(model, expose=["mu"])
    from numpyro import handlers

    return handlers.block(model, hide=["z", "a"])


def test_a_list_of_an_automatic_guide_and_one_that_reads_the_batch(host):
    """Mean field, which has the posterior's mean: of mu, by an automatic part, and of z by an encoder c + d x."""
    model = model_of(host, True)
    guide = autoguide(host).AutoGuideList(sharing(host, model))
    guide.append(autoguide(host).AutoNormal(sharing(host, model)))

    def of_each_row(batch):
        c, d = (host.ppl.param(name, host.array(np.float32(0.0))) for name in "cd")
        with host.mm.plate(batch):
            return {"z": host.ppl.sample("z", host.dist.Normal(c + d * batch["a"][..., 0], 0.4))}

    guide.append(of_each_row)
    # Gradients are noisy along what mu and c have in common.
    settings = {"epochs": 1000, "batch_size": NUM, "learning_rate": 0.1, "progress": False}
    fitted = fit(program(host, model, guide), ROWS, **settings)
    draws = infer(fitted, ROWS[:7], method="guide", num_samples=1000).draws
    assert draws["z"].shape == (1, 1000, 7)
    mean = ROWS["a"].sum() / 1.25 / (NUM / 1.25 + 0.25)
    assert abs(draws["mu"].mean() - mean) < 0.1
    assert float(fitted.weights["d"]) == pytest.approx(0.2, abs=0.1)


@pytest.mark.parametrize("name", ["AutoNormal", "AutoMultivariateNormal", "AutoLowRankMultivariateNormal", "AutoDelta"])
def test_another_fit_of_the_same_guide_leaves_the_first_as_it_was(host, name):
    """A guide of Pyro's is a module, which holds its parameters itself."""
    declared = program(host, model := model_of(host, False), getattr(autoguide(host), name)(model))
    settings = {"epochs": 20, "learning_rate": 0.05, "progress": False}
    first = fit(declared, ROWS, **settings)
    before = infer(first, ROWS[:3], method="guide", num_samples=50).draws["mu"].mean()
    second = fit(declared, Batch({"a": ROWS["a"] - 4.0}), **settings)
    assert infer(first, ROWS[:3], method="guide", num_samples=50).draws["mu"].mean() == before
    assert infer(second, ROWS[:3], method="guide", num_samples=50).draws["mu"].mean() < before - 0.3
