"""Objectives as Pyro ELBO classes: ``SVI(model, guide, optim, mm.MoPoE(particles=8))``."""

import copy
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer import elbo as host_elbo
from pyro.infer.enum import get_importance_trace
from pyro.poutine.messenger import Messenger

from mmppl._backend.torch import BACKEND
from mmppl.batch import Batch
from mmppl.errors import ObjectiveError
from mmppl.inference import objectives as rows
from mmppl.inference.objectives.terms import Draws
from mmppl.nets.bound import detached, evaluated_once
from mmppl.pyro.primitives import as_batch

__all__ = ["ELBO", "JMVAE", "MMJSD", "MMVAE", "MMVAEPlus", "MVAE", "MVTCAE", "MoPoE", "Masked", "Refined"]

OURS = ("_particles", "_terms")


class Evaluation:
    """Runs a program under Pyro's handlers for an objective; see the protocol of the same name."""

    backend = BACKEND

    def __init__(self, model: Any, guide: Any, batch: Batch, extra: tuple = ()):
        self.model, self.guide, self.batch, self.extra = model, guide, batch, extra
        floats = [v for v in batch.values.values() if v.is_floating_point()]
        self.like = floats[0].new_zeros(()) if floats else torch.zeros(())
        self.scale: Any = 1.0
        self.several = False
        self.global_ratio: Any = 0.0

    def draw(self, masks: torch.Tensor, num: int, density: bool = True) -> Draws:
        self.shape = (num, masks.shape[0], len(self.batch))
        with _plates(self.shape):
            sites = self._trace(self.guide, self._seen(masks))
        latents = {name: site["value"] for name, site in sites.items() if _is_latent(site)}
        scored = latents if density else [name for name in latents if not _plates_of(sites[name])]
        log_q = self._each(sites, scored, self.shape, sign=-1.0)
        discrete = tuple(name for name in latents if sites[name]["fn"].support.is_discrete)
        return Draws({name: self._widen(z) for name, z in latents.items()}, log_q if density else {}, discrete)

    def density(self, draws: Draws, masks: torch.Tensor, *, cross: bool, detach: bool) -> dict[str, torch.Tensor]:
        latents = draws.latents
        if cross:
            latents = {name: z.unsqueeze(2) for name, z in latents.items()}
        shape = self.shape if not cross else (*self.shape[:2], masks.shape[0], self.shape[2])
        if detach:
            with detached(_detach), _DetachedParams():
                sites = self._trace(self.guide, self._seen(masks), latents)
        else:
            sites = self._trace(self.guide, self._seen(masks), latents)
        return self._each(sites, latents, shape, sign=0.0)

    def score(
        self, draws: Draws, names: tuple[str, ...], prior: bool = True
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        latents = {name: self._narrow(z) for name, z in draws.latents.items()}
        with _plates(self.shape):
            sites = self._trace(self.model, self.batch.scoring(*names), latents)
        lost = [n for n, site in sites.items() if _is_latent(site) and n not in latents]
        if lost:
            raise ObjectiveError(f"The guide does not draw the latents {lost} of the model.")
        extra = [n for n in latents if n not in sites]
        if extra:
            raise ObjectiveError(f"The guide draws {extra}, which are no latents of the model. Name them alike.")
        for site in sites.values():
            for frame in site["cond_indep_stack"]:
                if frame.name not in OURS:
                    self.scale = _outer_scale([frame])
        observed = [n for n in sites if n not in latents]
        return self._each(sites, observed, self.shape), self._each(sites, latents if prior else (), self.shape)

    def frozen(self) -> "Evaluation":
        # Gradients are taken of latents alone there.
        return copy.copy(self)

    def _seen(self, masks: torch.Tensor) -> Batch:
        """The batch as the terms see it; a single subset hides values, several share them (see :class:`Batch`)."""
        present = {name: masks[..., i] & self.batch.present[name] for i, name in enumerate(self.batch.modalities)}
        if masks.shape[0] == 1:
            present = {name: mask[0] for name, mask in present.items()}
            if not self.several:
                return self.batch.with_present(present)
        return Batch.trusted(self.batch.values, present, None, len(self.batch))

    def _trace(self, fn: Any, batch: Batch, latents: dict | None = None) -> dict:
        if latents is not None:
            given = poutine.Trace()
            for name, value in latents.items():
                given.add_node(name, name=name, type="sample", value=value, is_observed=False, infer={})
            fn = poutine.replay(fn, trace=given)
        trace = poutine.trace(fn).get_trace(batch, *self.extra)
        return {
            name: site for name, site in trace.nodes.items() if site["type"] == "sample" and not site_is_subsample(site)
        }

    def _each(self, sites: dict, names: Any, shape: tuple, sign: float = 1.0) -> dict[str, torch.Tensor]:
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
                self.global_ratio = self.global_ratio + sign * log_prob.sum()
                continue
            if log_prob.ndim > len(shape):
                raise ObjectiveError(f"Site '{name}' lies in {len(plates)} plates; expected one, the data's.")
            scale, mask = site["scale"] / _outer_scale(plates), site["mask"]
            if isinstance(mask, torch.Tensor):
                out[name] = torch.where(mask, scale_and_mask(log_prob, scale), 0.0).expand(shape)
            else:
                out[name] = scale_and_mask(log_prob, scale, mask).expand(shape)
        return out

    def _widen(self, z: torch.Tensor) -> torch.Tensor:
        """Latents with their axes of particles and terms, also where no plates were needed."""
        return z[None, None] if self.shape[:2] == (1, 1) else z

    def _narrow(self, z: torch.Tensor) -> torch.Tensor:
        return z[0, 0] if self.shape[:2] == (1, 1) else z


def site_is_subsample(site: dict) -> bool:
    """Whether a sample site only picks the rows of a plate."""
    return type(site["fn"]).__name__ == "_Subsample"


def _plates_of(site: dict) -> list:
    """The plates of the program that a site lies in."""
    return [frame for frame in site["cond_indep_stack"] if frame.name not in OURS]


def _is_latent(site: dict) -> bool:
    return not site["is_observed"]


def _outer_scale(plates: list) -> float:
    """The scale that plates put on a site: it belongs outside the log-mean-exp."""
    out = 1.0
    for frame in plates:
        out = out * (frame.full_size or frame.size) / frame.size
    return out


def _detach(x: Any) -> Any:
    return tuple(_detach(leaf) for leaf in x) if isinstance(x, tuple) else x.detach()


class _DetachedParams(Messenger):
    def _pyro_post_param(self, msg: dict) -> None:
        msg["value"] = msg["value"].detach()


class _Axis(pyro.plate):
    """A plate of ours, around the whole program: parameters are outside it, wherever they are declared."""

    def _process_message(self, msg: Any) -> None:
        if msg["type"] != "param":
            super()._process_message(msg)

    def _postprocess_message(self, msg: Any) -> None:
        if msg["type"] != "param":
            super()._postprocess_message(msg)


class _plates:
    """Host plates for particles and terms, where there is more than one of them."""

    def __init__(self, shape: tuple):
        num, terms, _ = shape
        wanted = (num, terms) != (1, 1)
        self.plates = [_Axis(OURS[0], num, dim=-3), _Axis(OURS[1], terms, dim=-2)] if wanted else []

    def __enter__(self) -> None:
        for plate in self.plates:
            plate.__enter__()

    def __exit__(self, *args: Any) -> None:
        for plate in reversed(self.plates):
            plate.__exit__(*args)


class HostObjective(host_elbo.ELBO):
    """Joins an objective to Pyro's ELBO interface. ``record`` holds the terms of the last step."""

    record: dict | None = None

    def _get_trace(self, model: Any, guide: Any, args: tuple, kwargs: dict) -> tuple:
        return get_importance_trace("flat", self.max_plate_nesting, model, guide, args, kwargs)

    def differentiable_loss(self, model: Any, guide: Any, batch: Batch, *extra: Any, step: Any = None) -> torch.Tensor:
        """The loss as a tensor that can be differentiated."""
        batch = as_batch(batch)
        run = Evaluation(model, guide, batch, extra)
        with evaluated_once():
            loss, self.record = self.evaluate(run, batch, None, step)
        return loss - run.global_ratio

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return loss.item()


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
