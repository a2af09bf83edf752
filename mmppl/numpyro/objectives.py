"""Objectives as NumPyro ELBO classes: ``SVI(model, guide, optim, mm.MoPoE(particles=8))``."""

import copy
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from numpyro import handlers
from numpyro.infer import elbo as host_elbo

from mmppl._backend.jax import BACKEND
from mmppl.batch import Batch
from mmppl.errors import ObjectiveError
from mmppl.inference import objectives as rows
from mmppl.inference.objectives.terms import Draws
from mmppl.nets.bound import detached, evaluated_once
from mmppl.numpyro.primitives import as_batch
from mmppl.numpyro.state import Moves, given, unvisited

__all__ = ["ELBO", "JMVAE", "MMJSD", "MMVAE", "MMVAEPlus", "MVAE", "MVTCAE", "MoPoE", "Masked", "Refined"]

OURS = ("_particles", "_terms")


class Evaluation:
    """Runs a program under NumPyro's handlers for an objective; see the protocol of the same name."""

    backend = BACKEND

    def __init__(self, model: Any, guide: Any, params: dict, key: jax.Array, batch: Batch, extra: tuple = ()):
        self.model, self.guide, self.params, self.batch, self.extra = model, guide, params, batch, extra
        self.keys = jax.random.split(key, 3)
        leaves = [x for x in jax.tree.leaves(params) if jnp.issubdtype(x.dtype, jnp.floating)]
        self.like = jnp.zeros((), leaves[0].dtype if leaves else jnp.float32)
        self.scale: Any = 1.0
        self.several = False
        self.moves = Moves()
        self.global_ratio: Any = 0.0

    def draw(self, masks: jax.Array, num: int, density: bool = True) -> Draws:
        self.shape = (num, masks.shape[0], len(self.batch))
        with _plates(self.shape):
            sites = self._trace(self.guide, self.params, self._seen(masks), self.keys[0])
        self.moves.draws(sites)
        latents = {name: site["value"] for name, site in sites.items() if _is_latent(site)}
        scored = latents if density else [name for name in latents if not _plates_of(sites[name])]
        log_q = self._each(sites, scored, self.shape, sign=-1.0)
        discrete = tuple(name for name in latents if sites[name]["fn"].support.is_discrete)
        return Draws({name: self._widen(z) for name, z in latents.items()}, log_q if density else {}, discrete)

    def density(self, draws: Draws, masks: jax.Array, *, cross: bool, detach: bool) -> dict[str, jax.Array]:
        latents = draws.latents
        if cross:
            latents = {name: jnp.expand_dims(z, 2) for name, z in latents.items()}
        params = jax.lax.stop_gradient(self.params) if detach else self.params
        # A network that answers from memory does so with the live parameters, hence the second guard.
        with detached(jax.lax.stop_gradient) if detach else nullcontext():
            sites = self._trace(self.guide, params, self._seen(masks), self.keys[0], latents)
        shape = self.shape if not cross else (*self.shape[:2], masks.shape[0], self.shape[2])
        return self._each(sites, latents, shape, sign=0.0)

    def score(
        self, draws: Draws, names: tuple[str, ...], prior: bool = True
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        latents = {name: self._narrow(z) for name, z in draws.latents.items()}
        with _plates(self.shape):
            params = {**self.params, **self.moves.start(prior)}
            sites = self._trace(self.model, params, self.batch.scoring(*names), self.keys[1], latents)
        self.moves.scores(sites, prior)
        lost = [n for n, site in sites.items() if _is_latent(site) and n not in latents]
        if lost:
            raise ObjectiveError(f"The guide does not draw the latents {lost} of the model.")
        extra = [n for n in latents if n not in sites]
        if extra:
            raise ObjectiveError(f"The guide draws {extra}, which are no latents of the model. Name them alike.")
        for site in sites.values():
            if site["type"] == "plate" and site["name"] not in OURS:
                self.scale = site["args"][0] / site["args"][1]
        observed = [n for n, site in sites.items() if site["type"] == "sample" and n not in latents]
        return self._each(sites, observed, self.shape), self._each(sites, latents if prior else (), self.shape)

    def frozen(self) -> "Evaluation":
        out = copy.copy(self)
        out.moves = self.moves.apart()
        out.params = jax.lax.stop_gradient(self.params)
        return out

    def _seen(self, masks: jax.Array) -> Batch:
        """The batch as the terms see it; a single subset hides values, several share them (see :class:`Batch`)."""
        present = {name: masks[..., i] & self.batch.present[name] for i, name in enumerate(self.batch.modalities)}
        if masks.shape[0] == 1:
            present = {name: mask[0] for name, mask in present.items()}
            if not self.several:
                return self.batch.with_present(present)
        return Batch.trusted(self.batch.values, present, None, len(self.batch))

    def _trace(self, fn, params, batch, key, latents=None):
        data = dict(params) if latents is None else {**params, **latents}
        return handlers.trace(given(handlers.seed(fn, key), data=data)).get_trace(batch, *self.extra)

    def _each(self, sites: dict, names: Any, shape: tuple, sign: float = 1.0) -> dict[str, jax.Array]:
        """Log densities of the sites in the data plate; others go to ``global_ratio``, ``sign`` times."""
        out = {}
        for name in names:
            site = sites[name]
            log_prob = site["fn"].log_prob(site["value"])
            plates = _plates_of(site)
            if not plates:
                if self.shape[:2] != (1, 1):
                    raise ObjectiveError(
                        f"Latent '{name}' is outside the plate of the data; this objective draws several particles or "
                        "terms. Use mm.ELBO(), or put the site into the plate."
                    )
                self.global_ratio = self.global_ratio + sign * jnp.sum(log_prob)
                continue
            if log_prob.ndim > len(shape):
                raise ObjectiveError(f"Site '{name}' lies in {len(plates)} plates; expected one, the data's.")
            scale = 1.0 if site["scale"] is None else site["scale"] * _unscale(sites, plates)
            out[name] = jnp.broadcast_to(scale * log_prob, shape)
        return out

    def _widen(self, z: jax.Array) -> jax.Array:
        """Latents with their axes of particles and terms, also where no plates were needed."""
        return z[None, None] if self.shape[:2] == (1, 1) else z

    def _narrow(self, z: jax.Array) -> jax.Array:
        return z[0, 0] if self.shape[:2] == (1, 1) else z


def _plates_of(site: dict) -> list:
    """The plates of the program that a site lies in."""
    return [frame for frame in site["cond_indep_stack"] if frame.name not in OURS]


def _is_latent(site: dict) -> bool:
    return site["type"] == "sample" and not site["is_observed"]


def _unscale(sites: dict, plates: list) -> float:
    """One over the scale that the plates put on a site: it belongs outside the log-mean-exp."""
    out = 1.0
    for frame in plates:
        size, subsample = sites[frame.name]["args"][:2]
        out = out * subsample / size
    return out


class _plates:
    """Host plates for particles and terms, where there is more than one of them."""

    def __init__(self, shape: tuple):
        num, terms, _ = shape
        wanted = (num, terms) != (1, 1)
        self.plates = [numpyro.plate(OURS[0], num, dim=-3), numpyro.plate(OURS[1], terms, dim=-2)] if wanted else []

    def __enter__(self) -> None:
        for plate in self.plates:
            plate.__enter__()

    def __exit__(self, *args: Any) -> None:
        for plate in reversed(self.plates):
            plate.__exit__(*args)


class HostObjective(host_elbo.ELBO):
    """Joins an objective to NumPyro's ELBO interface."""

    can_infer_discrete = True  # by the score function; other estimators say so themselves

    def loss_and_record(self, rng_key, param_map, model, guide, batch, *extra, step=None):
        """The loss, and with it the record of its terms and the new values of mutable sites."""
        loss, record, moves = self._run(rng_key, param_map, model, guide, batch, *extra, step=step)
        return loss, (record, moves.moved)

    def _run(self, rng_key, param_map, model, guide, batch, *extra, step=None):
        first, second = jax.random.split(rng_key)
        batch = as_batch(batch)
        run = Evaluation(model, guide, param_map, first, batch, extra)
        with evaluated_once():
            loss, record = self.evaluate(run, batch, second, step)
        return loss - run.global_ratio, record, run.moves

    def loss_with_mutable_state(self, rng_key, param_map, model, guide, batch, *extra, step=None):
        loss, _, moves = self._run(rng_key, param_map, model, guide, batch, *extra, step=step)
        still = unvisited(param_map, moves.visited, model, guide, (as_batch(batch), *extra))
        return {"loss": loss, "mutable_state": {**still, **moves.moved} or None}


class ELBO(rows.ELBO, HostObjective):
    __doc__ = rows.ELBO.__doc__


class MVAE(rows.MVAE, HostObjective):
    __doc__ = rows.MVAE.__doc__


class MMVAE(rows.MMVAE, HostObjective):
    __doc__ = rows.MMVAE.__doc__


class MoPoE(rows.MoPoE, HostObjective):
    __doc__ = rows.MoPoE.__doc__


class JMVAE(rows.JMVAE, HostObjective):
    __doc__ = rows.JMVAE.__doc__


class MMJSD(rows.MMJSD, HostObjective):
    __doc__ = rows.MMJSD.__doc__


class MMVAEPlus(rows.MMVAEPlus, HostObjective):
    __doc__ = rows.MMVAEPlus.__doc__


class MVTCAE(rows.MVTCAE, HostObjective):
    __doc__ = rows.MVTCAE.__doc__


class Masked(rows.Masked, HostObjective):
    __doc__ = rows.Masked.__doc__


class Refined(rows.Refined, HostObjective):
    __doc__ = rows.Refined.__doc__
