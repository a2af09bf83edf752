r"""Encoders and decoders of modalities, given covariates where a system is to condition on them.

A decoder takes the latent and the covariates c side by side, :math:`p(x \mid z, c)`, and an encoder the datum, or what
it makes of an image or a text, and the covariates, :math:`q(z \mid x, c)`. Size factors s go to encoders as
:math:`\log s`, and multiply the rates of counts in place of going to decoders.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.covariates import Covariate, check_covariates
from mmppl.inference.host import PPL
from mmppl.nets import Flat, Standardized, decoder, encoder
from mmppl.nets.spec import Spec

__all__ = ["UNCONDITIONAL", "Coders", "Conditions"]

Array = Any
NUMBERS = "covariates"


@dataclass(frozen=True)
class Conditions:
    """Options of systems that condition on covariates.

    Arguments:
        covariates: What encoders and decoders are given beside the datum and the latent, by name:
            :class:`~mmppl.covariates.Covariate`, as in ``data.covariates``; the batches have the values. Numbers are
            standardised by the training data, categories one-hot, size factors multiply the rates of counts.
    """

    covariates: Mapping[str, Any] | None = None

    @cached_property
    def known(self) -> dict[str, Covariate]:
        """Kinds of the covariates, by name."""
        return check_covariates(self.covariates or {})

    @property
    def numbers(self) -> list[str]:
        """Names of the numbers, those of size factors last."""
        kinds = ("number", "size_factor")
        return [name for kind in kinds for name, what in self.known.items() if what.kind == kind]

    @property
    def encoded(self) -> int:
        """Dimension of what encoders are given."""
        return sum(what.size for what in self.known.values())

    @property
    def decoded(self) -> int:
        """Dimension of what decoders are given."""
        return sum(what.size for what in self.known.values() if what.kind != "size_factor")


UNCONDITIONAL = Conditions()


@dataclass(frozen=True)
class Coders:
    """The encoders and decoders of a system.

    Arguments:
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        modalities: What each modality is, by name.
        given: What they condition on.
        nets: Networks by name, which :meth:`build` fills.
    """

    ppl: PPL
    modalities: Mapping[str, Modality]
    given: Conditions = UNCONDITIONAL
    nets: dict[str, Any] = field(default_factory=dict)

    # Networks -----------------------------------------------------------------------------------------------------
    def encoder_specs(self, name: str, dim: int, hidden: int, family: str | None, part: str = "encoder") -> dict:
        """Specs of an encoder of a modality to a location and a scale, or to a code where there is no family."""
        return {f"{name}.{part}": encoder(self.modalities[name], dim, hidden, family, self.given.encoded)}

    def decoder_specs(self, name: str, dim: int, hidden: int) -> dict[str, Spec]:
        """Specs of the decoder of a modality from latents of a dimension."""
        return {f"{name}.decoder": decoder(self.modalities[name], dim + self.given.decoded, hidden)}

    def build(self, specs: Mapping[str, Spec], seed: int) -> dict[str, Any]:
        """Builds networks, with the one that standardises covariates, and returns them by name."""
        number = len(self.given.numbers)
        more = {NUMBERS: Standardized(Flat((number,), (number,)), (number,))} if number else {}
        self.nets.update(self.ppl.host.build_all({**specs, **more}, seed))
        return self.nets

    def net(self, name: str) -> Any:
        """A network, bound to its name."""
        return self.ppl.net(name, self.nets[name])

    # Programs -----------------------------------------------------------------------------------------------------
    def encode(self, name: str, batch: Batch, part: str = "encoder") -> Any:
        """Output of an encoder of a modality."""
        net = self.net(f"{name}.{part}")
        if not self.given.encoded:
            return net(*batch.inputs(name))
        return net(batch[name], (batch.elements.get(name), self.features(batch)))

    def encode_all(self, batch: Batch, part: str = "encoder") -> dict[str, Any]:
        """Outputs of the encoders of what the batch has, by modality."""
        return {name: self.encode(name, batch, part) for name in batch.modalities}

    def likelihood(self, name: str, z: Array, batch: Batch) -> Any:
        """The likelihood of a modality given latents ``(*, N, D)``, as a distribution of the host."""
        modality = self.modalities[name]
        if not self.given.known:
            return self.ppl.likelihood(modality, self.net(f"{name}.decoder")(z))
        if self.given.decoded:
            z = beside(z, self.features(batch, decoded=True))
        return self.ppl.likelihood(modality, self._offset(name, self.net(f"{name}.decoder")(z), batch))

    def observe(self, name: str, z: Array, batch: Batch) -> None:
        """Decodes a modality and scores it."""
        self.ppl.observe(name, self.likelihood(name, z, batch), batch)

    def features(self, batch: Batch, *, decoded: bool = False) -> Array:
        """Covariates as networks see them, ``(N, C)``: what encoders are given, or decoders."""
        known, numbers = self.given.known, self.given.numbers
        parts = []
        if numbers:
            xp = get_backend(batch.covariates[numbers[0]]).xp
            raw = [batch.covariates[name] for name in numbers]
            raw = [xp.log(x) if known[n].kind == "size_factor" else x for n, x in zip(numbers, raw, strict=True)]
            wanted = sum(not decoded or known[name].kind == "number" for name in numbers)
            parts.append(self.net(NUMBERS)(xp.stack(raw, axis=-1))[..., :wanted])
        parts += [batch.covariates[name] for name, what in known.items() if what.kind == "category"]
        return get_backend(parts[0]).xp.concat(parts, axis=-1)

    def _offset(self, name: str, output: Any, batch: Batch) -> Any:
        """Output of a decoder with logarithms of size factors added to those of the rates of counts."""
        modality = self.modalities[name]
        factors = [n for n, c in self.given.known.items() if c.kind == "size_factor" and c.modality in (None, name)]
        if not factors or modality.scoring.values != "counts":
            return output
        rate, rest = (output[0], output[1:]) if isinstance(output, tuple) else (output, None)
        xp = get_backend(rate).xp
        log_size = sum(xp.log(batch.covariates[n]) for n in factors)
        # Further outputs, such as the gate of a zero-inflated one, lie behind the rates.
        size = modality.shape[0] if modality.shape else 1
        here = xp.reshape(xp.arange(rate.shape[-len(modality.shape)] if modality.shape else 1), (-1,)) < size
        rate = shifted(rate, log_size, here, len(modality.shape))
        return rate if rest is None else (rate, *rest)


def shifted(rate: Array, log_size: Array, here: Array, event: int) -> Array:
    """Log rates ``(*, N, *event)`` plus logarithms of sizes ``(N,)``, on the places of the first axis of the event."""
    xp = get_backend(rate).xp
    log_size = xp.reshape(log_size, (*log_size.shape, *[1] * event))
    if not event:
        return rate + log_size
    where = xp.reshape(xp.astype(here, rate.dtype), (-1, *[1] * (event - 1)))
    return rate + log_size * where


def beside(x: Array, features: Array) -> Array:
    """An array ``(*, N, D)`` with features ``(N, C)`` behind its last axis."""
    xp = get_backend(x).xp
    return xp.concat([x, xp.broadcast_to(features, (*x.shape[:-1], features.shape[-1]))], axis=-1)
