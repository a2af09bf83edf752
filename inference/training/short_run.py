"""Check that short-run chains of an energy-tilted prior reach it."""

from mmppl.batch import Batch
from mmppl.data.rows import Rows
from mmppl.errors import TrainingWarning
from mmppl.inference.training.fitted import Fitted
from mmppl.warn import warn

__all__ = ["warn_of_biased_chains"]


def warn_of_biased_chains(fitted: Fitted, data: Batch | Rows) -> None:
    """Warns where the chains by which an energy-tilted prior has learned end before they reach it.

    Chains kept in a buffer are not looked at: they go on from gradient to gradient. The check is by importance weights
    of the base, see :class:`~mmppl.priors.ChainBias`, and says nothing where these are too uneven.

    Arguments:
        fitted: A trained program.
        data: Rows to find its priors with.
    """
    if fitted.program.ode_density:  # a score, whose model would take long to run, has no energy
        return
    host = fitted.program.ppl.host
    for site, prior in host.find_prior(fitted.model, data[:2]).items():
        if not hasattr(prior, "chain_bias") or prior.chains.buffer:
            continue
        bias = host.chain_bias(prior, 0)
        if bias.found:
            warn(
                f"Expected chains of {prior.chains.steps} steps to reach the prior of '{site}'; got a mean energy off "
                f"by {bias.value:.2f} +- {bias.error:.2f} nats, {abs(bias.value) / bias.spread:.1f} of its deviations, "
                "and what the prior has learned is biased with it. Take more steps (LangevinChains(steps=...)), "
                "adjusted ones (adjusted=True), or chains that go on (buffer=...).",
                TrainingWarning,
            )
