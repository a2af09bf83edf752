"""The family of a normal posterior, by what the modalities are and the size of its latent."""

from collections.abc import Mapping

from mmppl.batch import Modality

__all__ = ["MOST", "are_vectors", "own_family"]

MOST = 32  # latents whose correlations are learned by default


def are_vectors(modalities: Mapping[str, Modality]) -> bool:
    """Tells whether all modalities are vectors in units of their own, whose networks are small.

    Example:
        >>> are_vectors({"a": Modality((3,))}), are_vectors({"a": Modality((1, 8, 8), kind="image")})
        (True, False)
    """
    return all(m.kind == "vector" and m.scoring.is_location for m in modalities.values())


def own_family(family: str | None, latent_dim: int, modalities: Mapping[str, Modality]) -> str:
    """The family that is asked for; None for normals, with correlations where few latents stand for vectors.

    Example:
        >>> vectors = {"a": Modality((3,)), "b": Modality((2,))}
        >>> own_family(None, 16, vectors), own_family(None, 64, vectors), own_family("laplace", 16, vectors)
        ('multivariate_normal', 'normal', 'laplace')
        >>> own_family(None, 16, {"a": Modality((1, 8, 8), kind="image")})
        'normal'
    """
    if family is not None:
        return family
    return "multivariate_normal" if latent_dim <= MOST and are_vectors(modalities) else "normal"
