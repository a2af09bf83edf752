"""The prior of a latent that a system has one of, by name or by a function."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.errors import OptionError
from mmppl.inference.host import PPL
from mmppl.models.common.coders import Coders

__all__ = ["PRIORS", "gaussian_mixture", "latent_prior"]

PRIORS = ("normal", "laplace", "gaussian_mixture", "vamp", "flow")


def gaussian_mixture(ppl: PPL, name: str, loc: np.ndarray, scale: np.ndarray) -> Any:
    r"""A mixture of K Gaussians whose parts are parameters, to call inside the model.

    Arguments:
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        name: Beginning of the names of the parameters, ``<name>.loc``, ``<name>.scale`` and ``<name>.logits``.
        loc: Initial values of :math:`\mu`, ``(K, D)``.
        scale: Initial values of :math:`\sigma`, ``(K, D)``.
    """
    constraints = ppl.host.dist.constraints
    start = {"loc": (loc, constraints.real), "scale": (scale, constraints.positive)}
    start["logits"] = np.zeros(len(loc)), constraints.real
    return ppl.GaussianMixture(*(_param(ppl, f"{name}.{part}", *one) for part, one in start.items()))


def latent_prior(
    coders: Coders,
    prior: str | Callable[[], Any],
    latent_dim: int,
    *,
    posterior: Callable[[Batch], Any],
    components: int,
    seed: int,
) -> Callable[[], Any]:
    r"""The prior as a function to call inside the model, where it may declare parameters.

    * ``"normal"``, ``"laplace"``: standard, nothing is learned;
    * ``"gaussian_mixture"``: K Gaussians, parameters ``prior.loc``, ``prior.scale`` and ``prior.logits``;
    * ``"vamp"``: the posteriors of K pseudo-inputs, parameters ``prior.pseudo.<modality>``. Tokens and categories
      have no gradient and are absent from pseudo-inputs;
    * ``"flow"``: a neural spline flow, network ``prior.flow``;
    * a function without arguments that returns any distribution of the host with event shape ``(D,)``, for instance
      ``lambda: mm.EnergyTilted(base, mm.net("energy", net))``.

    Arguments:
        coders: The encoders and decoders.
        prior: One of the above.
        latent_dim: Dimension D of z.
        posterior: The guide's posterior of a batch.
        components: Number K of Gaussians or pseudo-inputs.
        seed: Random seed, of the initial values.

    Raises:
        OptionError: If the name is unknown, K is less than 1, or no pseudo-input can be learned, as of programs that
            condition on covariates.
    """
    if not callable(prior) and prior not in PRIORS:
        raise OptionError(f"Expected a prior among {PRIORS}, or a function that returns one; got {prior!r}.")
    if components < 1:
        raise OptionError(f"Expected components >= 1; got {components}.")
    if prior == "vamp" and coders.given.known:
        raise OptionError("Expected another prior than 'vamp' with covariates, which its pseudo-inputs have none of.")
    ppl, modalities = coders.ppl, coders.modalities
    host, dist, rng = ppl.host, ppl.host.dist, np.random.default_rng([seed, 1])

    def standard(family: Any) -> Callable[[], Any]:
        return lambda: family(host.zeros(latent_dim), 1.0).to_event(1)

    if callable(prior):
        return prior
    if prior == "gaussian_mixture":
        # Together the components start near the standard normal.
        loc, scale = 0.7 * rng.standard_normal((components, latent_dim)), np.full((components, latent_dim), 0.7)
        return lambda: gaussian_mixture(ppl, "prior", loc, scale)
    if prior == "flow":
        flow = ppl.spline_flow(latent_dim, seed=int(rng.integers(2**31)))
        return lambda: ppl.NormalizingFlow(ppl.net("prior.flow", flow))
    if prior == "vamp":
        pseudo = {name: _start(rng, m, components) for name, m in modalities.items() if not m.ids}
        if not pseudo:
            raise OptionError("Expected a modality that is neither a text nor a category for pseudo-inputs; got none.")

        def inputs() -> Batch:
            values, present = {}, {}
            for name, m in modalities.items():
                limits = getattr(dist.constraints, _limits(m))
                known = name in pseudo
                empty = np.zeros((components, *m.shape), np.int64)
                values[name] = (
                    _param(ppl, f"prior.pseudo.{name}", pseudo[name], limits) if known else _like(host, empty)
                )
                present[name] = _like(host, np.full(components, known))
            return Batch.trusted(values, present, None, components)

        return lambda: ppl.VampPrior(posterior(inputs()))
    return standard(dist.Normal if prior == "normal" else dist.Laplace)


def _param(ppl: PPL, name: str, start: np.ndarray, constraint: Any) -> Any:
    like = ppl.host.zeros(1)
    return ppl.host.param(name, get_backend(like).asarray(start, like), constraint=constraint)


def _limits(modality: Modality) -> str:
    """The host's name for where values of a modality lie."""
    values = "unit" if modality.kind == "image" else modality.scoring.values
    return {"counts": "positive", "unit": "unit_interval", "open unit": "unit_interval"}.get(values, "real")


def _start(rng: np.random.Generator, modality: Modality, number: int) -> np.ndarray:
    """Initial pseudo-inputs ``(K, *shape)``: grey in the unit interval, else standard noise or its exponential."""
    shape, limits = (number, *modality.shape), _limits(modality)
    if limits == "unit_interval":
        return rng.uniform(0.3, 0.7, shape)
    noise = rng.standard_normal(shape)
    return np.exp(noise) if limits == "positive" else noise


def _like(host: Any, x: np.ndarray) -> Any:
    return get_backend(host.zeros(1)).asarray(x)
