"""A normalising flow of Zuko as a Pyro distribution."""

from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints

from mmppl.checks import checked
from mmppl.display import Shown
from mmppl.errors import HostError, OptionError
from mmppl.nets.bound import BoundNet
from mmppl.priors.normalizing_flow import check_flow

__all__ = ["NormalizingFlow", "spline_flow"]


class NormalizingFlow(Shown, TorchDistribution):
    r"""The density of a bijection of Gaussian noise.

    .. math:: p(z) = \mathcal{N}(g(z); 0, I)\ |\det \nabla g(z)|

    Any flow of Zuko will do; :func:`spline_flow` makes a good one.

    References:
        | Normalizing Flows for Probabilistic Modeling and Inference (Papamakarios et al., 2021)
        | https://arxiv.org/abs/1912.02762

    Arguments:
        flow: A flow of Zuko over ``(D,)`` without a context, or what ``mm.net`` returns for it.

    Raises:
        OptionError: If it is none, takes a context, or is not over a vector.

    Example:
        >>> prior = NormalizingFlow(spline_flow(2))
        >>> prior.log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    arg_constraints: dict = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, flow: Any, *, validate_args: bool | None = None):
        self.module = flow.module if isinstance(flow, BoundNet) else flow
        shape = tuple(self.module.base(None).event_shape) if hasattr(self.module, "transform") else None
        if shape is None or len(shape) != 1:
            raise OptionError(
                f"Expected a flow of Zuko over (D,); got {type(self.module).__name__} over {shape}. "
                "Use mm.spline_flow(D)."
            )
        super().__init__(torch.Size(), torch.Size(shape), validate_args=validate_args)

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> torch.Tensor:
        noise = self.module.base(None).sample(torch.Size(sample_shape))
        return self.module.transform(None).inv(noise)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        # Zuko's own distribution is passed by: it is made for a process in which nothing is validated.
        noise, log_det = self.module.transform(None).call_and_ladj(value)
        return self.module.base(None).log_prob(noise) + log_det


@checked()
def spline_flow(dim: int, *, layers: int = 4, hidden: int = 64, bins: int = 8, seed: int = 0) -> Any:
    r"""A neural spline flow of couplings, as quick to sample as to score.

    .. math:: y_a = x_a, \qquad y_b = S(x_b; \theta(x_a))

    with S a monotonic rational-quadratic spline on [-5, 5] and the identity beyond, so latents should be near the
    standard scale. Coordinates change places from one coupling to the next, in an order that no seed changes, so
    that weights of one seed fit the flow of another. The weights are the library's, and so are their names.

    References:
        | Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032

    Arguments:
        dim: D, at least 2.
        layers: Number of couplings, at least 2.
        hidden: Width of the hidden layer of each :math:`\theta`.
        bins: Bins of each spline.
        seed: Random seed of the initial weights.

    Raises:
        OptionError: If a number is out of range.
        HostError: If Zuko is not installed.

    Example:
        >>> NormalizingFlow(spline_flow(3)).sample((4,)).shape
        torch.Size([4, 3])
    """
    check_flow(dim, layers, hidden, bins)
    nsf = _zuko().flows.NSF
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nsf(dim, bins=bins, transforms=layers, passes=2, hidden_features=(hidden,), activation=torch.nn.SiLU)


def _zuko() -> Any:
    """Zuko, imported without what its import changes for everyone: torch's validation, and the name of inverses."""
    base, inverse = torch.distributions.Distribution, torch.distributions.transforms._InverseTransform
    before = {name: base.__dict__[name] for name in ("_validate_args", "arg_constraints")}, inverse.__name__
    try:
        import zuko
    except ImportError as error:
        raise HostError("A flow on Pyro needs Zuko; run: pip install 'mmppl[pyro]'") from error
    finally:
        for name, value in before[0].items():
            setattr(base, name, value)
        inverse.__name__ = before[1]
    return zuko
