"""One number to choose between fits by."""

from mmppl.checks import above, checked, within
from mmppl.errors import OptionError

__all__ = ["selection_score"]


@checked(joint=within(0, 1), given=within(0, 1), frechet=above(0), frechet_given=above(0))
def selection_score(*, joint: float, given: float, frechet: float, frechet_given: float) -> float:
    r"""Quality and coherence of samples, and of what is generated from other modalities, in one number.

    .. math:: \frac{100}{F_{\text{given}}} + \frac{100}{F} + c_{\text{given}} + c

    It compares fits of one data set by one protocol: Frechet distances F have the units of their features.

    Arguments:
        joint: Coherence c of samples, in [0, 1].
        given: Accuracy of what is generated given others, in [0, 1].
        frechet: Frechet distance F of samples, the mean over modalities.
        frechet_given: The same of what is generated given others.

    Raises:
        OptionError: If a distance is not positive, or a coherence not in [0, 1].

    References:
        The choice of checkpoints in the code of Wesego and Rooshenas, "Score-Based Multimodal Autoencoder" (2024).

    Example:
        >>> selection_score(joint=0.5, given=0.75, frechet=50.0, frechet_given=100.0)
        4.25
    """
    if not (frechet > 0 and frechet_given > 0 and 0 <= joint <= 1 and 0 <= given <= 1):
        raise OptionError(
            "Expected positive Frechet distances and coherences in [0, 1]; got "
            f"{frechet}, {frechet_given}, {joint} and {given}."
        )
    return 100.0 / frechet_given + 100.0 / frechet + given + joint
