"""The family of a normal posterior, by the size of its latent."""

__all__ = ["MOST", "own_family"]

MOST = 32  # latents whose correlations are learned by default


def own_family(family: str | None, latent_dim: int) -> str:
    """The family that is asked for; None for normals, with correlations where latents are few.

    Example:
        >>> own_family(None, 16), own_family(None, 64), own_family("laplace", 16)
        ('multivariate_normal', 'normal', 'laplace')
    """
    if family is not None:
        return family
    return "multivariate_normal" if latent_dim <= MOST else "normal"
