"""Typed errors: each message says what was expected, what was got, and what to do."""


class MMPPLError(Exception):
    """Base class of every error raised on purpose by mmppl."""


class ModalityError(MMPPLError, ValueError):
    """A modality is unknown, missing, or has the wrong shape or dtype."""


class DataError(MMPPLError, ValueError):
    """Data cannot be read, are not finite, or do not fit together."""


class MissingWarning(UserWarning):
    """Values are taken as missing because they are NaN; the message says how many."""


class DataWarning(UserWarning):
    """Something in the data is left out; the message says what, and how to have it."""


class OptionError(MMPPLError, ValueError):
    """An unknown model, data set or option, or a value out of range."""


class ObjectiveError(MMPPLError, ValueError):
    """An objective was asked for something that is mathematically wrong."""


class RunError(MMPPLError, RuntimeError):
    """A run folder cannot be read, is half-written, or already exists."""


class TrainingError(MMPPLError, RuntimeError):
    """Training stopped, for example on a loss that is not finite."""


class TrainingWarning(UserWarning):
    """A fit does not do what its settings seem to say, or a diagnostic says not to trust it; with what to change."""


class InferenceError(MMPPLError, RuntimeError):
    """A sampler cannot go on: every proposal is refused, or a log density is not a number."""


class OutOfMemoryError(MMPPLError, MemoryError):
    """More memory is asked for than there is; the message says what asks for it."""


class ThreadError(MMPPLError, RuntimeError):
    """Several threads ran programs of one host at once, by the host's own means."""


class PosteriorWarning(UserWarning):
    """A posterior was drawn, and a diagnostic says not to trust it; the message says what to change."""


class HostError(MMPPLError, ImportError):
    """A host (Pyro or NumPyro) is not installed."""


class PackageError(MMPPLError, ImportError):
    """A package is not installed that only some readers need; the message names the extra that has it."""
