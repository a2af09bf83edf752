"""A normalising flow of FlowJAX as a NumPyro distribution."""

from typing import Any

import equinox as eqx
import jax
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import validate_sample

from mmppl.checks import checked
from mmppl.display import Shown
from mmppl.errors import HostError, OptionError
from mmppl.nets.bound import BoundNet
from mmppl.priors.normalizing_flow import check_flow

__all__ = ["NormalizingFlow", "spline_flow"]


class NormalizingFlow(Shown, Distribution):
    r"""The density of a bijection of Gaussian noise.

    .. math:: p(z) = \mathcal{N}(g(z); 0, I)\ |\det \nabla g(z)|

    Any distribution of FlowJAX will do; :func:`spline_flow` makes a good one.

    References:
        | Normalizing Flows for Probabilistic Modeling and Inference (Papamakarios et al., 2021)
        | https://arxiv.org/abs/1912.02762

    Arguments:
        flow: A FlowJAX distribution of shape ``(D,)`` without a condition, or what ``mm.net`` returns for it.

    Raises:
        OptionError: If it is none, is conditional, or is not a vector.

    Example:
        >>> import jax.numpy as jnp
        >>> prior = NormalizingFlow(spline_flow(2))
        >>> prior.log_prob(jnp.zeros((5, 2))).shape
        (5,)
    """

    arg_constraints: dict = {}
    support = constraints.real_vector
    reparametrized_params: list = []
    pytree_data_fields = ("arrays",)
    pytree_aux_fields = ("rest",)

    def __init__(self, flow: Any, *, validate_args: bool | None = None):
        flow = flow.module if isinstance(flow, BoundNet) else flow
        shape = getattr(flow, "shape", None)
        if shape is None or not hasattr(flow, "bijection") or len(shape) != 1 or flow.cond_shape is not None:
            raise OptionError(
                f"Expected a FlowJAX flow of shape (D,) without a condition; got {type(flow).__name__} of shape "
                f"{shape}. Use mm.spline_flow(D)."
            )
        self.arrays, self.rest = eqx.partition(flow, eqx.is_array)
        super().__init__((), shape, validate_args=validate_args)

    @property
    def flow(self) -> Any:
        """The FlowJAX distribution."""
        return eqx.combine(self.arrays, self.rest)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        return self.flow.sample(key, sample_shape)

    @validate_sample
    def log_prob(self, value: jax.Array) -> jax.Array:
        return self.flow.log_prob(value)


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
        HostError: If FlowJAX is not installed.

    Example:
        >>> spline_flow(3).sample(jax.random.key(0), (4,)).shape
        (4, 3)
    """
    check_flow(dim, layers, hidden, bins)
    try:
        from flowjax.bijections import RationalQuadraticSpline
        from flowjax.distributions import StandardNormal
        from flowjax.flows import coupling_flow
    except ImportError as error:
        raise HostError("A flow on NumPyro needs FlowJAX; run: pip install 'mmppl[numpyro]'") from error

    def make(key: jax.Array) -> Any:
        return coupling_flow(
            key,
            base_dist=StandardNormal((dim,)),
            transformer=RationalQuadraticSpline(knots=bins, interval=5.0),
            flow_layers=layers,
            nn_width=hidden,
            nn_activation=jax.nn.silu,
        )

    # FlowJAX draws the order of coordinates from the same key as the weights.
    order = eqx.filter(make(jax.random.key(0)), eqx.is_inexact_array, inverse=True)
    return eqx.combine(eqx.filter(make(jax.random.key(seed)), eqx.is_inexact_array), order)
