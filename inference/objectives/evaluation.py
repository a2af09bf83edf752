"""Evaluation of a program's densities for an objective, by runs under a host's handlers.

The plate of the data is one plate. What lies in it has a value for each datum, particle and term; what lies outside
(global latents, other plates, factors) is drawn, scaled, masked and summed as the host does.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from mmppl.batch import Batch
from mmppl.errors import ObjectiveError
from mmppl.inference.objectives.runs import Layout, Program, Runs
from mmppl.inference.objectives.terms import Draws
from mmppl.sites import PLATE, Site, alone, data_plate, in_plate, per_datum, plate_scale, total

Array = Any

__all__ = ["Evaluation"]


class Evaluation:
    """Draws from a guide, and the log densities of them under the guide and the model.

    Arguments:
        runs: Runs the program.
        model: The model.
        guide: The guide.
        batch: The batch, N rows, with arrays of the host.
    """

    def __init__(self, runs: Runs, model: Program, guide: Program, batch: Batch):
        self.runs, self.model, self.guide, self.batch = runs, model, guide, batch
        self.backend, self.like = runs.backend, runs.like
        self.several = False
        self.scale: Any = 1.0  # of the plate of the data, total over batch size; known once the guide or model has run
        self.beside = False  # whether anything lies outside that plate
        self._layout: Layout | None = None

    def draw(self, masks: Array, num: int, names: tuple[str, ...], *, average: bool, several: bool = False) -> Draws:
        """Draws ``num`` particles from the guide for each of the encoding masks ``(T, N, M)``.

        Arguments:
            masks: E.
            num: K.
            names: The modalities that will be scored.
            average: Whether particles are averaged. Where they are not, latents outside the plate are drawn once, and
                the weights of each datum's particles are conditional on them.
            several: Whether the guide is asked about several subsets, which then share the batch's arrays.
        """
        self.names, self.several = names, several
        self.shape = (num, masks.shape[0], len(self.batch))
        self.linear = masks.shape[0] == 1 and (num == 1 or average)
        self.plain = self.shape[:2] == (1, 1)
        if self.several:
            self.layout  # noqa: B018 - looked at before the step's own runs, whose networks it must not touch
        if self.plain:
            out = self._split(self._guided(masks[0, ...], rng=self.runs.keys(0, ()), role="draw"))
            return out._replace(latents=_widen(out.latents), log_q=_widen(out.log_q), outside=_widen(out.outside))
        if self.layout.simple:
            sites = self.runs.run(
                self.guide, self._seen(masks), axes=self.shape[:2], rng=self.runs.keys(0, ()), role="draw"
            )
            self._note_scale(sites)
            if alone(sites.values(), self.layout.plate):
                return self._split(sites, lead=True)
            self._layout = Layout(self.layout.plate, False)
        return self._drawn_one_by_one(masks)

    def density(self, draws: Draws, masks: Array, *, cross: bool = False, plain: bool = False) -> dict[str, Array]:
        """The guide's log densities of draws under masks, by site: ``(K, T, N)``, or ``(K, T, U, N)`` across pairs.

        With ``plain`` without scales and masks: the densities of what was drawn from.
        """
        xp = self.backend.xp
        shape: tuple[int, ...] = self.shape
        if cross and self.layout.simple:
            # The plates of the program broadcast over the axes that the latents bring along.
            shape = (*shape[:2], masks.shape[0], shape[2])
            values = {name: xp.expand_dims(z, axis=2) for name, z in draws.latents.items()}
            return self._local(self.runs.run(self.guide, self._seen(masks), values, rng=self.runs.keys(0, ())), shape)
        if not cross and not self.plain and self.layout.simple:
            sites = self.runs.run(self.guide, self._seen(masks), draws.latents, rng=self.runs.keys(0, ()))
            return self._local(sites, shape, plain)

        own, common = self._values(draws)
        if not own:
            return {}  # nothing lies in the plate of the data

        def one(values: dict, mask: Array) -> dict:
            return self._rows(self._guided(mask, {**common, **values}, rng=self.runs.keys(0, ())), plain)

        if cross:
            return self._each(lambda values: self.runs.map(lambda mask: one(values, mask), masks), own)
        every = xp.broadcast_to(masks[None, ...], (shape[0], *masks.shape))
        return self._each(one, own, every)

    def score(self, draws: Draws, names: tuple[str, ...], prior: bool = True) -> tuple[dict, dict, Array]:
        """Log likelihood of what the model observes, and log prior of the latents, by site, all ``(K, T, N)``.

        Of the modalities only ``names`` are observed; without ``prior`` the second is empty. Third comes the log
        density of what lies outside the plate of the data, a scalar.
        """
        batch, how = (
            self.batch.scoring(*names),
            {"rng": self.runs.keys(1, ()), "role": "prior" if prior else "likelihood"},
        )
        if not self.plain and self.layout.simple:
            latents = {n: z for n, z in draws.latents.items() if n not in draws.auxiliary}
            sites = self.runs.run(self.model, batch, latents, axes=self.shape[:2], **how)
            self._check(sites, draws)
            if alone(sites.values(), self.layout.plate):
                return self._sorted(self._local(sites, self.shape), sites, prior, 0.0)
            self._layout = Layout(self.layout.plate, False)

        xp = self.backend.xp
        own, common = self._values(draws)

        def one(values: dict) -> tuple[dict, dict, Array]:
            sites = self.runs.run(self.model, batch, {**common, **values}, **how)
            self._check(sites, draws)
            wanted = sites if prior else {n: site for n, site in sites.items() if site.observed}
            outside = [site for site in wanted.values() if in_plate(site, self.plate(sites)) is None]
            self.beside = self.beside or bool(outside)
            sums = sum((total(site) for site in outside), start=xp.zeros_like(self.like))
            return self._sorted(self._rows(wanted), wanted, prior, sums)

        if self.plain:
            log_lik, log_prior, outside = one({n: z[0, 0, ...] for n, z in own.items()})
            return _widen(log_lik), _widen(log_prior), outside
        if self.linear:
            log_lik, log_prior, outside = self._each(one, own)
            return log_lik, log_prior, xp.mean(outside)

        if not own:
            # Without latents in the plate of the data all particles and terms are one.
            log_lik, log_prior, outside = one({})
            wide = [{n: xp.broadcast_to(x, self.shape) for n, x in part.items()} for part in (log_lik, log_prior)]
            return wide[0], wide[1], outside

        def apart(values: dict) -> tuple[tuple, Array]:
            *parts, outside = one(values)
            return tuple(parts), outside

        found = self._same(apart, own)
        if found is None:
            raise ObjectiveError(
                f"Expected sites outside the plate of the data, '{self.layout.plate}', that do not depend on latents "
                "inside it: with several particles or terms each datum is weighted by itself. Take one particle and "
                "one term, or average=True, or put these sites into the plate."
            )
        return (*found[0], found[1])

    def score_terms(self, draws: Draws, name: str, which: tuple[int, ...]) -> Array | None:
        """Log likelihood of one modality under the draws of some terms, by number: ``(K, len(which), N)``.

        None where the model does not score it.
        """
        part = copy.copy(self)
        part.shape = (self.shape[0], len(which), self.shape[2])
        part.plain = part.shape[:2] == (1, 1)

        def some(values: dict) -> dict:
            return {n: self.backend.xp.concat([z[:, t : t + 1, ...] for t in which], axis=1) for n, z in values.items()}

        outside = some(draws.outside) if self.linear else draws.outside
        return part.score(draws._replace(latents=some(draws.latents), outside=outside), (name,), prior=False)[0].get(
            name
        )

    def outside(self, draws: Draws, log_p: Array) -> Array | None:
        """Log p - log q of what lies outside the plate of the data; None where nothing does."""
        return log_p - draws.log_q_outside if self.beside else None

    def frozen(self) -> "Evaluation":
        """The same, with the program's parameters held fixed."""
        out = copy.copy(self)
        out.runs = self.runs.frozen()
        return out

    @property
    def layout(self) -> Layout:
        """Layout of the sites of the program."""
        if self._layout is None:
            self._layout = self.runs.layout(self.model, self.guide, self.batch, self.names)
        return self._layout

    def plate(self, sites: Mapping[str, Site]) -> str | None:
        """The plate of the data; the program is not run once more where ``mm.plate`` has made it."""
        marked = any(frame.name == PLATE for site in sites.values() for frame in site.frames)
        return data_plate(sites, (), len(self.batch)) if marked else self.layout.plate

    # Runs ---------------------------------------------------------------------------------------------------------
    def _seen(self, masks: Array) -> Batch:
        """The batch as the terms see it; a single subset hides values, several share them (see :class:`Batch`)."""
        batch = self.batch
        present = {name: masks[..., i] & batch.present[name] for i, name in enumerate(batch.modalities)}
        if masks.ndim == 3 and masks.shape[0] == 1:
            present = {name: mask[0, ...] for name, mask in present.items()}
        if not self.several and next(iter(present.values())).ndim == 1:
            return batch.with_present(present)
        return Batch.trusted(batch.values, present, batch.label, len(batch))

    def _guided(
        self, mask: Array, values: Mapping | None = None, *, rng: Any, role: str = "density"
    ) -> dict[str, Site]:
        """The sites of the guide for one mask ``(N, M)``."""
        sites = self.runs.run(self.guide, self._seen(mask), values, rng=rng, role=role)
        self._note_scale(sites)
        return sites

    def _drawn_one_by_one(self, masks: Array) -> Draws:
        """One run of the guide for each particle and term."""
        xp, known, log_q = self.backend.xp, {}, None
        if not self.linear:
            # What lies outside the plate is drawn once, from what the whole batch says.
            every = xp.stack([self.batch.present[name] for name in self.batch.modalities], axis=-1)
            first = self._split(self._guided(every, rng=self.runs.keys(0, ()), role="draw"))
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
            out = self._split(self._guided(mask, known, rng=key, role="draw"))
            kinds.append(out)
            return out.latents, out.log_q, {} if known else out.outside, out.log_q_outside

        every = xp.broadcast_to(masks[None, ...], (self.shape[0], *masks.shape))
        latents, densities, outside, sums = self._each(one, every, self.runs.keys(0, self.shape[:2]))
        return kinds[0]._replace(
            latents=latents,
            log_q=densities,
            outside=known or outside,
            log_q_outside=xp.mean(sums) if log_q is None else log_q,
        )

    def _each(self, f: Callable, *trees: Any) -> Any:
        """``f`` of every particle and term."""
        num, terms = self.shape[:2]
        found = self.runs.map(f, *(_tree(lambda x: x.reshape((num * terms, *x.shape[2:])), tree) for tree in trees))
        return _tree(lambda x: x.reshape((num, terms, *x.shape[1:])), found)

    def _same(self, f: Callable, *trees: Any) -> Any:
        """The same, of pairs whose second part is the same for all; None where it is not."""
        num, terms = self.shape[:2]
        flat = (_tree(lambda x: x.reshape((num * terms, *x.shape[2:])), tree) for tree in trees)
        found = self.runs.same(f, *flat)
        if found is None:
            return None
        return _tree(lambda x: x.reshape((num, terms, *x.shape[1:])), found[0]), found[1]

    def _values(self, draws: Draws) -> tuple[dict[str, Array], dict[str, Array]]:
        """Values of latents that differ between particles and terms, and of those that are the same for all."""
        if self.linear:
            return {**draws.latents, **draws.outside}, {}
        return draws.latents, draws.outside

    # Sites --------------------------------------------------------------------------------------------------------
    def _note_scale(self, sites: Mapping[str, Site]) -> None:
        plate = self.plate(sites)
        for site in sites.values():
            frame = in_plate(site, plate)
            if frame is not None:
                self.scale = plate_scale(frame)

    def _split(self, sites: Mapping[str, Site], lead: bool = False) -> Draws:
        """Draws of a run of the guide, with their log densities; ``lead`` where particles and terms have axes."""
        plate = self.plate(sites)
        latents = {n: site for n, site in sites.items() if not site.observed}
        local = {n: site for n, site in latents.items() if in_plate(site, plate) is not None}
        outside = {n: site for n, site in latents.items() if n not in local}
        lost = [n for n, site in latents.items() if not site.discrete and not site.reparametrised()]
        rows = {n: 0 if lead else site.batch_ndim + in_plate(site, plate).dim for n, site in local.items()}  # type: ignore
        beside = [site for site in sites.values() if in_plate(site, plate) is None]
        self.beside = self.beside or bool(beside)
        return Draws(
            {n: site.value for n, site in local.items()},
            self._local(sites, self.shape) if lead else self._rows(sites),
            tuple(n for n, site in latents.items() if site.discrete),
            tuple(n for n, site in latents.items() if site.auxiliary),
            rows,
            {n: site.value for n, site in outside.items()},
            sum((total(site) for site in beside), start=self.backend.xp.zeros_like(self.like)),
            tuple(lost),
            any(site.plain(self.scale) is not None for site in local.values()),
        )

    def _rows(self, sites: Mapping[str, Site], plain: bool = False) -> dict[str, Array]:
        """Log densities ``(N,)`` of the sites in the plate of the data."""
        plate = self.plate(sites)
        frames = {name: in_plate(site, plate) for name, site in sites.items()}
        return {
            name: per_datum(sites[name], frame, self.scale, plain)
            for name, frame in frames.items()
            if frame is not None
        }

    def _local(self, sites: Mapping[str, Site], shape: tuple, plain: bool = False) -> dict[str, Array]:
        """Log densities of sites that all lie in the plate of the data alone, with leading axes."""
        xp = self.backend.xp
        found = {name: site.plain(self.scale) if plain else None for name, site in sites.items()}
        found = {n: sites[n].log_density(self.scale) if own is None else own for n, own in found.items()}
        return {name: xp.broadcast_to(own, shape) for name, own in found.items()}

    def _sorted(self, log_density: dict, sites: Mapping[str, Site], prior: bool, outside: Array) -> tuple:
        observed = {n: x for n, x in log_density.items() if sites[n].observed}
        return observed, {n: x for n, x in log_density.items() if prior and n not in observed}, outside

    def _check(self, sites: Mapping[str, Site], draws: Draws) -> None:
        """Raises unless guide and model have the same latents, in the same places."""
        plate = self.plate(sites)
        halves = [n for n in self.batch.modalities if n not in sites and f"{n}_observed" in sites]
        if halves:
            raise ObjectiveError(
                f"Modalities {halves} are observed with obs_mask, so their terms cannot be told by name. Say what is "
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
        if moved and not self.linear:
            raise ObjectiveError(
                f"Latents {moved} lie in the plate of the data in only one of model and guide; several particles or "
                "terms weigh each datum by itself. Put them into mm.plate(batch) in both."
            )
        scales = {plate_scale(f) for site in sites.values() if (f := in_plate(site, plate)) is not None}
        if draws.latents and scales and scales != {self.scale}:
            raise ObjectiveError(
                f"The plate of the data stands for {self.scale * len(self.batch):.0f} rows in the guide and "
                f"{scales.pop() * len(self.batch):.0f} in the model. Give mm.plate(batch, size) the same size in both."
            )
        self._note_scale(sites)


def _widen(parts: dict[str, Array]) -> dict[str, Array]:
    """Arrays of one particle and term, with axes for them."""
    return {name: x[None, None, ...] for name, x in parts.items()}


def _tree(f: Callable[[Array], Array], tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _tree(f, part) for name, part in tree.items()}
    return tuple(_tree(f, part) for part in tree) if isinstance(tree, tuple) else f(tree)
