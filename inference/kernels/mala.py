"""The Metropolis-adjusted Langevin kernel."""

from mmppl.inference.kernels.langevin import AdjustedLangevin

__all__ = ["MALA"]


class MALA(AdjustedLangevin):
    r"""Metropolis-adjusted Langevin steps, accepted or rejected per datum of the plate.

    .. math::
        z' = z + \tfrac{s^2}{2} \nabla \log p(z, x) + s\,\epsilon, \qquad
        a = \min\Big(1, \frac{p(z', x)\, q(z \mid z')}{p(z, x)\, q(z' \mid z)}\Big)

    Where every latent site of the model, and every observed one, lies in one plate at dimension -1, each datum of
    that plate is a chain of its own: it has its own log density (N,), is accepted alone, and learns its own step size
    (N,). Else, with a latent outside that plate, the whole state is one chain with one step size.

    The log density is the sum over sites, latent and observed, with their masks and scales, plus the log Jacobian of
    the maps that take constrained latents to the real line. The scale that a plate puts on its rows for standing for
    a larger data set is taken out where each datum is a chain, since the posterior of a datum does not depend on it;
    where the state is one chain it stays in, as in the host's NUTS.

    References:
        | Exponential convergence of Langevin distributions and their discrete approximations
        | (Roberts & Tweedie, 1996), https://doi.org/10.2307/3318418
        | Optimal scaling of discrete approximations to Langevin diffusions (Roberts & Rosenthal, 1998): the target
        | 0.574, https://doi.org/10.1111/1467-9868.00123

    Arguments:
        model: A host program, whose posterior is the target.
        step_size: First step size s, in units of the unconstrained latent.
        adapt_step_size: Whether each chain learns its step size in warm-up, by dual averaging.
        adapt_mass_matrix: Whether each chain learns the scale of its coordinates in warm-up, and steps in units of it.
        dense_mass: Whether it learns their covariance too, ``(D, D)`` a chain: worth it where they go together.
        target_accept_prob: The acceptance probability that adaptation aims at.
        clip: Bound on each coordinate of the score; exact for any bound.
        init_strategy: The host's, for example its ``init_to_sample``; by default its ``init_to_uniform``.

    Raises:
        OptionError: If an option is out of range, or a latent is discrete.

    Example:
        >>> import pyro, torch
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> def model():
        ...     return pyro.sample("z", pyro.distributions.Normal(torch.zeros(3), 1.0).to_event(1))
        >>> mcmc = pyro.infer.MCMC(mm.MALA(model), num_samples=4, warmup_steps=4, disable_progbar=True)
        >>> mcmc.run()
        >>> mcmc.get_samples()["z"].shape
        torch.Size([4, 3])
    """
