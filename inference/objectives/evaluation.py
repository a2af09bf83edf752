"""Evaluation of a program's densities for an objective, by runs under a host's handlers.

The plate of the data is one plate. What lies in it has a value for each datum, particle and term; what lies outside
(global latents, other plates, factors) is drawn, scaled, masked and summed as the host does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.errors import ObjectiveError
from mmppl.inference.objectives.runs import Layout, Program, Runs
from mmppl.inference.objectives.terms import Draws, Scores, Terms
from mmppl.nets.bound import evaluated_once
from mmppl.sites import PLATE, Site, alone, data_plate, factors_of, in_plate, per_datum, plate_scale, total

Array = Any

__all__ = ["Evaluation"]


@dataclass(frozen=True)
class Evaluation:
    """Draws from a guide, and the log densities of them under the guide and the model.

    Arguments:
        runs: Runs the program.
        model: The model.
        guide: The guide.
        batch: The batch, N rows, with arrays of the host.
        names: The modalities that are scored.
    """

    runs: Runs
    model: Program
    guide: Program
    batch: Batch
    names: tuple[str, ...]

    @cached_property
    def backend(self) -> Backend:
        """The backend of the arrays."""
        return self.runs.backend

    @cached_property
    def like(self) -> Array:
        """An array of the parameters' floating type."""
        return self.runs.like

    @cached_property
    def layout(self) -> Layout:
        """Layout of the sites of the program."""
        return self.runs.layout(self.model, self.guide, self.batch, self.names)

    def draw(self, terms: Terms, num: int, *, average: bool) -> Draws:
        """Draws ``num`` particles from the guide for each of the terms.

        Arguments:
            terms: The terms; where they ask the guide about several subsets, these share the batch's arrays.
            num: Particles K of each datum.
            average: Whether particles are averaged. Where they are not, latents outside the plate are drawn once, and
                the weights of each datum's particles are conditional on them.
        """
        masks, several = terms.encode, terms.several()
        shape = (num, masks.shape[0], len(self.batch))
        how = {"shape": shape, "linear": shape[1] == 1 and (num == 1 or average), "several": several}
        if several:
            self.layout  # noqa: B018 - looked at before the step's own runs, whose networks it must not touch
        if shape[:2] == (1, 1):
            seen, key = self._seen(masks, several), self.runs.keys(0, ())
            out = self._split(self.runs.run(self.guide, seen, rng=key, role="draw"), how)
            return out._replace(latents=_widen(out.latents), log_q=_widen(out.log_q), outside=_widen(out.outside))
        if self.layout.simple:
            seen, key = self._seen(masks, several), self.runs.keys(0, ())
            sites = self.runs.run(self.guide, seen, axes=shape[:2], rng=key, role="draw")
            if alone(sites.values(), self.layout.plate):
                return self._split(sites, how, lead=True)
        return self._drawn_one_by_one(masks, how)

    def density(self, draws: Draws, masks: Array, *, cross: bool = False, plain: bool = False) -> dict[str, Array]:
        """The guide's log densities of draws under masks, by site: ``(K, T, N)``, or ``(K, T, U, N)`` across pairs.

        With ``plain`` without scales and masks: the densities of what was drawn from.
        """
        xp, shape, several = self.backend.xp, draws.shape, draws.several
        if cross and not draws.looped and self.layout.simple:
            # The plates of the program broadcast over the axes that the latents bring along.
            values = {name: xp.expand_dims(z, axis=2) for name, z in draws.latents.items()}
            sites = self.runs.run(self.guide, self._seen(masks, several), values, rng=self.runs.keys(0, ()))
            return self._local(sites, (*shape[:2], masks.shape[0], shape[2]), draws.scale)
        if not cross and not draws.single and not draws.looped and self.layout.simple:
            sites = self.runs.run(self.guide, self._seen(masks, several), draws.latents, rng=self.runs.keys(0, ()))
            return self._local(sites, shape, draws.scale, plain)

        own, common = draws.by_particle()
        if not own:
            return {}  # nothing lies in the plate of the data

        def one(values: dict, mask: Array) -> dict:
            seen, key = self._seen(mask, several), self.runs.keys(0, ())
            sites = self.runs.run(self.guide, seen, {**common, **values}, rng=key)
            return self._rows(sites, self.plate(sites), draws.scale, plain)

        if cross:
            return self._each(shape, lambda values: self.runs.map(lambda mask: one(values, mask), masks), own)
        every = xp.broadcast_to(masks[None, ...], (shape[0], *masks.shape))
        return self._each(shape, one, own, every)

    def score(self, draws: Draws, names: tuple[str, ...], prior: bool = True) -> Scores:
        """Log likelihood of what the model observes, of the modalities only ``names``, and log prior of the latents.

        Without ``prior`` the latter is empty.
        """
        batch = self.batch.scoring(*names)
        how = {"rng": self.runs.keys(1, ()), "role": "prior" if prior else "likelihood"}
        if not draws.single and not draws.looped and self.layout.simple:
            latents = {n: z for n, z in draws.latents.items() if n not in draws.auxiliary}
            sites = self.runs.run(self.model, batch, latents, axes=draws.shape[:2], **how)
            _, scale = self._check(sites, draws)
            if alone(sites.values(), self.layout.plate):
                parts = _sorted(self._local(sites, draws.shape, scale), sites, prior)
                return Scores(*parts, 0.0, draws.beside, scale)
        return self._scored_one_by_one(draws, batch, prior, how)

    def score_terms(self, draws: Draws, name: str, which: tuple[int, ...]) -> Scores:
        """Log likelihood of one modality under the draws of some terms, by number: ``(K, len(which), N)``."""

        def some(values: dict) -> dict:
            return {n: self.backend.xp.concat([z[:, t : t + 1, ...] for t in which], axis=1) for n, z in values.items()}

        part = draws._replace(
            latents=some(draws.latents),
            outside=some(draws.outside) if draws.linear else draws.outside,
            shape=(draws.shape[0], len(which), draws.shape[2]),
        )
        return self.score(part, (name,), prior=False)

    def frozen(self) -> "Evaluation":
        """This evaluation with the program's parameters held fixed."""
        return replace(self, runs=self.runs.frozen())

    def plate(self, sites: Mapping[str, Site]) -> str | None:
        """The plate of the data; the program is not run once more where ``mm.plate`` has made it."""
        marked = any(frame.name == PLATE for site in sites.values() for frame in site.frames)
        return data_plate(sites, (), len(self.batch)) if marked else self.layout.plate

    # Runs ---------------------------------------------------------------------------------------------------------
    def _seen(self, masks: Array, several: bool) -> Batch:
        """The batch as the terms see it; a single subset hides values, several share them (see :class:`Batch`)."""
        batch = self.batch
        present = {name: masks[..., i] & batch.present[name] for i, name in enumerate(batch.modalities)}
        if masks.ndim == 3 and masks.shape[0] == 1:
            present = {name: mask[0, ...] for name, mask in present.items()}
        if not several and next(iter(present.values())).ndim == 1:
            return batch.through(present)
        return batch.with_parts(present=present, scored=None)

    def _drawn_one_by_one(self, masks: Array, how: Mapping[str, Any]) -> Draws:
        """One run of the guide for each particle and term."""
        xp, shape, several, known, log_q = self.backend.xp, how["shape"], how["several"], {}, None
        if not how["linear"]:
            # What lies outside the plate is drawn once, from what the whole batch says; this run moves no network, and
            # the runs that do are not answered from what it has computed.
            every = xp.stack([self.batch.present[name] for name in self.batch.modalities], axis=-1)
            with evaluated_once():
                found = self.runs.run(self.guide, self._seen(every, several), rng=self.runs.keys(0, ()))
            first = self._split(found, how)
            lost = [n for n in first.outside if n in first.auxiliary]
            if lost:
                raise ObjectiveError(
                    f"The guide draws all rows together, by its auxiliary site '{lost[0]}'; several particles or terms "
                    "weigh each datum by itself. Take one particle and one term, or average=True, or a guide that "
                    "draws in the plate of the data."
                )
            known, log_q = first.outside, first.log_q_outside
        kinds: list[Draws] = []

        def one(mask: Array, key: Array) -> tuple:
            seen = self._seen(mask, several)
            out = self._split(self.runs.run(self.guide, seen, known, rng=key, role="draw"), how)
            kinds.append(out)
            return out.latents, out.log_q, {} if known else out.outside, out.log_q_outside

        every = xp.broadcast_to(masks[None, ...], (shape[0], *masks.shape))
        latents, densities, outside, sums = self._each(shape, one, every, self.runs.keys(0, shape[:2]))
        return kinds[0]._replace(
            latents=latents,
            log_q=densities,
            outside=known or outside,
            log_q_outside=xp.mean(sums) if log_q is None else log_q,
            looped=True,
        )

    def _scored_one_by_one(self, draws: Draws, batch: Batch, prior: bool, how: Mapping[str, Any]) -> Scores:
        """One run of the model for each particle and term; what lies outside the plate of the data is summed beside."""
        xp = self.backend.xp
        own, common = draws.by_particle()
        beside, scale = draws.beside, draws.scale
        astray: tuple[str, ...] = ()

        def one(values: dict) -> tuple[dict, dict, Array]:
            nonlocal beside, scale, astray
            sites = self.runs.run(self.model, batch, {**common, **values}, **how)
            plate, scale = self._check(sites, draws)
            wanted = sites if prior else {n: site for n, site in sites.items() if site.observed}
            outside = [site for site in wanted.values() if in_plate(site, plate) is None]
            beside = beside or bool(outside)
            astray = tuple(site.name for site in outside if site.name in batch.modalities)
            if astray and not draws.linear:
                raise ObjectiveError(
                    f"Expected modalities in the plate of the data; got {list(astray)} outside it. Several particles "
                    "or terms weigh each datum by itself: observe all modalities in one mm.plate(batch)."
                )
            sums = sum((total(site) for site in outside), start=xp.zeros_like(self.like))
            return *_sorted(self._rows(wanted, plate, scale), wanted, prior), sums

        if draws.single:
            log_lik, log_prior, outside = one({n: z[0, 0, ...] for n, z in own.items()})
            return Scores(_widen(log_lik), _widen(log_prior), outside, beside, scale, astray)
        if draws.linear:
            log_lik, log_prior, outside = self._each(draws.shape, one, own)
            return Scores(log_lik, log_prior, xp.mean(outside), beside, scale, astray)

        if not own:
            # Without latents in the plate of the data all particles and terms are one.
            log_lik, log_prior, outside = one({})
            log_lik = {n: xp.broadcast_to(x, draws.shape) for n, x in log_lik.items()}
            log_prior = {n: xp.broadcast_to(x, draws.shape) for n, x in log_prior.items()}
            return Scores(log_lik, log_prior, outside, beside, scale)

        def apart(values: dict) -> tuple[tuple, Array]:
            *parts, outside = one(values)
            return tuple(parts), outside

        found = self._same(draws.shape, apart, own)
        if found is None:
            raise ObjectiveError(
                f"Expected sites outside the plate of the data, '{self.layout.plate}', that do not depend on latents "
                "inside it: with several particles or terms each datum is weighted by itself. Put these sites into the "
                "plate; an objective may also take one particle and one term, or average=True."
            )
        (log_lik, log_prior), outside = found
        return Scores(log_lik, log_prior, outside, beside, scale)

    def _each(self, shape: tuple[int, ...], f: Callable, *trees: Any) -> Any:
        """``f`` of every particle and term."""
        found = self.runs.map(f, *(_flat(tree) for tree in trees))
        return _tree(lambda x: x.reshape((*shape[:2], *x.shape[1:])), found)

    def _same(self, shape: tuple[int, ...], f: Callable, *trees: Any) -> Any:
        """As :meth:`_each`, of pairs whose second part has to be the same for all; None where it is not."""
        found = self.runs.same(f, *(_flat(tree) for tree in trees))
        if found is None:
            return None
        return _tree(lambda x: x.reshape((*shape[:2], *x.shape[1:])), found[0]), found[1]

    # Sites --------------------------------------------------------------------------------------------------------
    @staticmethod
    def _scales(sites: Mapping[str, Site], plate: str | None) -> list[float]:
        """Factors of the plate of the data, total over batch size, one for each site in it."""
        return [plate_scale(frame) for site in sites.values() if (frame := in_plate(site, plate)) is not None]

    def _split(self, sites: Mapping[str, Site], how: Mapping[str, Any], lead: bool = False) -> Draws:
        """Draws of a run of the guide, with their log densities; ``lead`` where particles and terms have axes."""
        plate = self.plate(sites)
        scale = (self._scales(sites, plate) or [1.0])[-1]
        latents = {n: site for n, site in sites.items() if not site.observed}
        local = {n: site for n, site in latents.items() if in_plate(site, plate) is not None}
        outside = {n: site for n, site in latents.items() if n not in local}
        lost = [n for n, site in latents.items() if not site.discrete and not site.reparametrised()]
        rows = {n: 0 if lead else site.batch_ndim + in_plate(site, plate).dim for n, site in local.items()}  # type: ignore
        beside = [site for site in sites.values() if in_plate(site, plate) is None]
        return Draws(
            {n: site.value for n, site in local.items()},
            self._local(sites, how["shape"], scale) if lead else self._rows(sites, plate, scale),
            tuple(n for n, site in latents.items() if site.discrete),
            tuple(n for n, site in latents.items() if site.auxiliary),
            rows,
            {n: site.value for n, site in outside.items()},
            sum((total(site) for site in beside), start=self.backend.xp.zeros_like(self.like)),
            tuple(lost),
            tuple(n for n, site in local.items() if site.point),
            any(site.plain(scale) is not None for site in local.values()),
            factors_of(local, plate, scale),
            scale=scale,
            beside=bool(beside),
            **how,
        )

    @staticmethod
    def _rows(sites: Mapping[str, Site], plate: str | None, scale: float, plain: bool = False) -> dict[str, Array]:
        """Log densities ``(N,)`` of the sites in the plate of the data."""
        frames = {name: in_plate(site, plate) for name, site in sites.items()}
        return {n: per_datum(sites[n], frame, scale, plain) for n, frame in frames.items() if frame is not None}

    def _local(
        self, sites: Mapping[str, Site], shape: tuple[int, ...], scale: float, plain: bool = False
    ) -> dict[str, Array]:
        """Log densities of sites that all lie in the plate of the data alone, with leading axes."""
        xp = self.backend.xp
        drawn = {name: site.plain(scale) if plain else None for name, site in sites.items()}
        found = {n: sites[n].log_density(scale) if own is None else own() for n, own in drawn.items()}
        return {name: xp.broadcast_to(own, shape) for name, own in found.items()}

    def _check(self, sites: Mapping[str, Site], draws: Draws) -> tuple[str | None, float]:
        """Plate of the data and its scale; raises unless guide and model have the same latents in the same places."""
        plate = self.plate(sites)
        halves = [n for n in self.batch.modalities if n not in sites and f"{n}_observed" in sites]
        if halves:
            raise ObjectiveError(
                f"Modalities {halves} are observed with obs_mask, so their terms have no names. Say what is "
                "present in Batch(values, present), and observe by mm.observe(name, fn, batch)."
            )
        latents = {n: site for n, site in sites.items() if not site.observed}
        drawn = {n: None for n in (*draws.latents, *draws.outside) if n not in draws.auxiliary}
        lost = [n for n in latents if n not in drawn]
        if lost:
            raise ObjectiveError(f"The guide does not draw the latents {lost} of the model.")
        extra = [n for n in drawn if n not in latents]
        if extra:
            raise ObjectiveError(
                f"The guide draws {extra}, which are no latents of the model. Name them alike, or mark those of the "
                "guide alone by infer={'is_auxiliary': True}."
            )
        moved = [n for n in drawn if (n in draws.latents) != (in_plate(latents[n], plate) is not None)]
        if moved and not draws.linear:
            raise ObjectiveError(
                f"Latents {moved} lie in the plate of the data in only one of model and guide; several particles or "
                "terms weigh each datum by itself. Put them into mm.plate(batch) in both."
            )
        scales = self._scales(sites, plate)
        if draws.latents and scales and set(scales) != {draws.scale}:
            raise ObjectiveError(
                f"The plate of the data stands for {draws.scale * len(self.batch):.0f} rows in the guide and "
                f"{scales[-1] * len(self.batch):.0f} in the model. Give mm.plate(batch, size) the same size in both."
            )
        return plate, (scales or [draws.scale])[-1]


def _widen(parts: dict[str, Array]) -> dict[str, Array]:
    """Arrays of one particle and term, with axes for them."""
    return {name: x[None, None, ...] for name, x in parts.items()}


def _sorted(log_density: dict[str, Array], sites: Mapping[str, Site], prior: bool) -> tuple[dict, dict]:
    """Log densities of what is observed and, with ``prior``, of the latents."""
    observed = {n: x for n, x in log_density.items() if sites[n].observed}
    return observed, {n: x for n, x in log_density.items() if prior and n not in observed}


def _flat(tree: Any) -> Any:
    """Arrays with one axis for particles and terms."""
    return _tree(lambda x: x.reshape((x.shape[0] * x.shape[1], *x.shape[2:])), tree)


def _tree(f: Callable[[Array], Array], tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _tree(f, part) for name, part in tree.items()}
    return tuple(_tree(f, part) for part in tree) if isinstance(tree, tuple) else f(tree)
