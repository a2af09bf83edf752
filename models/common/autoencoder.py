"""The first stage of programs with a score: every modality alone."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

from mmppl.errors import OptionError

__all__ = ["AUTOENCODERS", "Autoencoder"]

AUTOENCODERS = ("ae", "rae", "vae")


@dataclass(frozen=True)
class Autoencoder:
    r"""The first stage: every modality alone, by its own evidence lower bound.

    * ``"ae"``: deterministic, :math:`z = e(x)`, no prior;
    * ``"rae"``: regularised, :math:`q = \mathcal{N}(e(x), \eta^2)` and :math:`-\lambda \lVert z \rVert^2`;
    * ``"vae"``: variational, :math:`q = \mathcal{N}(e(x), s(x)^2)` against :math:`\mathcal{N}(0, 1)`, times beta.

    Arguments:
        kind: One of the above.
        noise: :math:`\eta`.
        penalty: :math:`\lambda`.
        beta: Factor of the variational kind's divergence.

    Raises:
        OptionError: If the kind is unknown or a number is out of range.
    """

    kind: str = "rae"
    noise: float = 0.1
    penalty: float = 0.01
    beta: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in AUTOENCODERS:
            raise OptionError(f"Expected an autoencoder among {AUTOENCODERS}; got {self.kind!r}.")
        if self.kind == "rae" and (self.noise <= 0.0 or self.penalty <= 0.0):
            raise OptionError(f"Expected latent noise > 0 and a penalty > 0; got {self.noise} and {self.penalty}.")

    @property
    def family(self) -> str | None:
        """The family of the encoders' distribution; None for codes."""
        return "normal" if self.kind == "vae" else None

    def posterior(self, dist: ModuleType, code: Any, present: Any) -> Any:
        """Q(z | x) of one modality, where it is present."""
        if self.kind == "ae":
            return dist.Delta(code, event_dim=1).mask(present)
        loc, scale = code if self.kind == "vae" else (code, self.noise)
        return dist.Normal(loc, scale).to_event(1).mask(present)

    def prior(self, dist: ModuleType, zeros: Any, present: Any) -> Any:
        """P(z) of one modality in this stage."""
        scale = (2.0 * self.penalty) ** -0.5 if self.kind == "rae" else 1.0
        return dist.Normal(zeros, scale).to_event(1).mask(present & (self.kind != "ae"))
