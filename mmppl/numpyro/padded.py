"""Tokens with padding, as a NumPyro distribution."""

import jax
import jax.numpy as jnp
from numpyro.distributions import CategoricalLogits
from numpyro.distributions.util import validate_sample

__all__ = ["PaddedCategorical"]


class PaddedCategorical(CategoricalLogits):
    r"""Categorical tokens of which those that are padding are not scored.

    .. math:: p(x) = \begin{cases} 1 & x = \text{padding} \\
        \operatorname{softmax}(o_{\ne \text{padding}})_x & \text{otherwise} \end{cases}

    So where a text has ended is given and not modelled, and a draw is never padding.

    Arguments:
        logits: o, ``(*, V)``.
        padding: The token id that is padding.

    Example:
        >>> fn = PaddedCategorical(jnp.zeros((2, 4)), padding=0)
        >>> fn.log_prob(jnp.array([0, 2])).tolist()
        [0.0, -1.0986123085021973]
    """

    pytree_aux_fields = ("padding",)

    def __init__(self, logits: jax.Array, padding: int, *, validate_args: bool | None = None):
        self.padding = padding
        others = jnp.arange(logits.shape[-1]) != padding
        # The hosts refuse a logit of -inf.
        super().__init__(jnp.where(others, logits, jnp.finfo(logits.dtype).min), validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: jax.Array) -> jax.Array:
        padded = value == self.padding
        # Padding is scored as another token before its score is dropped, so that the gradient stays finite.
        other = 0 if self.padding else 1
        return jnp.where(padded, 0.0, super().log_prob(jnp.where(padded, other, value)))
