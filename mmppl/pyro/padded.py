"""Tokens with padding, as a Pyro distribution."""

import torch
from pyro.distributions import Categorical, TorchDistribution

__all__ = ["PaddedCategorical"]


class PaddedCategorical(Categorical):
    r"""Categorical tokens of which those that are padding are not scored.

    .. math:: p(x) = \begin{cases} 1 & x = \text{padding} \\
        \operatorname{softmax}(o_{\ne \text{padding}})_x & \text{otherwise} \end{cases}

    So where a text has ended is given and not modelled, and a draw is never padding.

    Arguments:
        logits: o, ``(*, V)``.
        padding: The token id that is padding.

    Example:
        >>> fn = PaddedCategorical(torch.zeros(2, 4), padding=0)
        >>> fn.log_prob(torch.tensor([0, 2])).tolist()
        [0.0, -1.0986123085021973]
    """

    expand = TorchDistribution.expand

    def __init__(self, logits: torch.Tensor, padding: int, *, validate_args: bool | None = None):
        self.padding = padding
        others = torch.arange(logits.shape[-1], device=logits.device) != padding
        # The hosts refuse a logit of -inf.
        least = torch.finfo(logits.dtype).min
        super().__init__(logits=torch.where(others, logits, least), validate_args=validate_args)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        padded = value == self.padding
        # Padding is scored as another token before its score is dropped, so that the gradient stays finite.
        other = 0 if self.padding else 1
        return torch.where(padded, 0.0, super().log_prob(torch.where(padded, other, value)))
