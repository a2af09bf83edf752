r"""Covariates, known of every row and not modelled: a site, an age, a treatment, the size of a library.

A program that conditions on covariates c has :math:`p(x \mid z, c)` and :math:`q(z \mid x, c)`, and one answers for
covariates that a row never had. A covariate is a number, a class, or a size factor s of counts, of which the rate is

.. math:: \log \mathbb{E}[x_i \mid z, c, s] = \log s + f_i(z, c)
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch
from mmppl.errors import DataError, ModalityError, OptionError
from mmppl.presence import is_no_value

__all__ = ["Covariate", "as_known", "check_covariates", "infer_covariates", "to_codes"]

KINDS = ("number", "category", "size_factor")


@dataclass(frozen=True)
class Covariate:
    r"""One thing that is known of every row.

    Arguments:
        kind: ``"number"``, which networks see standardised by the training data; ``"category"``, which they see as a
            one-hot code; ``"size_factor"`` s > 0, which multiplies the rates of counts and nothing else, and whose
            logarithm encoders see standardised.
        names: Names of the classes of a category, in the order of their codes; numbers are named as they are written.
        modality: The modality whose counts a size factor is of; None for all counts.

    Raises:
        OptionError: If the kind is unknown, a category has no names or equal ones, or another kind has any.

    Example:
        >>> Covariate("category", names=("north", "south")).size, Covariate().size
        (2, 1)
    """

    kind: str = "number"
    names: tuple[str, ...] | None = None
    modality: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise OptionError(
                f"Expected the kind of a covariate among {KINDS} (covariates, --covariates); got {self.kind!r}."
            )
        if self.names is not None:
            listed = isinstance(self.names, Iterable) and not isinstance(self.names, str | Mapping | Set)
            object.__setattr__(self, "names", tuple(map(str, self.names)) if listed else None)
        names = self.names or ()
        if (self.kind == "category") != bool(names) or len(set(names)) < len(names):
            raise OptionError(
                "Expected names= of the classes of a category, each another, and none of other kinds; got "
                f"kind={self.kind!r}, names={self.names!r}."
            )
        if self.modality is not None and self.kind != "size_factor":
            raise OptionError(f"Expected modality= of a size factor alone; got {self.modality!r} of a {self.kind}.")

    @property
    def size(self) -> int:
        """Numbers that a network sees it as."""
        return len(self.names) if self.names is not None else 1

    def as_dict(self) -> dict[str, Any]:
        """Its fields, as JSON can hold them."""
        return asdict(self) | {"names": None if self.names is None else list(self.names)}


def to_codes(name: str, value: Any, covariate: Covariate) -> np.ndarray:
    """Values as programs take them: floats ``(N,)``, of a category one-hot codes ``(N, K)``.

    Arguments:
        name: Name of the covariate, for messages.
        value: Numbers ``(N,)``; of a category names of classes, or codes, which stay as they are.
        covariate: What it is.

    Raises:
        DataError: If values are no numbers, a class is unknown, or a size factor is not above 0.

    Example:
        >>> to_codes("site", np.array(["south", "north"]), Covariate("category", names=("north", "south"))).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    value = value if isinstance(value, np.ndarray) else get_backend(value).to_numpy(value)
    if covariate.names is None:
        if value.ndim != 1 or value.dtype.kind not in "biuf":
            raise DataError(
                f"Covariate '{name}': expected numbers (N,); got shape {value.shape}, dtype {value.dtype}. Names of "
                "classes are of kind 'category'."
            )
        wrong = np.flatnonzero(value <= 0) if covariate.kind == "size_factor" else np.arange(0)
        if wrong.size:
            raise DataError(
                f"Covariate '{name}': expected size factors above 0; got {value[wrong[0]]} in row {wrong[0]}."
            )
        return value.astype(np.float64 if value.dtype == np.float64 else np.float32)
    if value.ndim == 2 and value.shape[1] == covariate.size:
        return value
    if value.ndim != 1:
        raise DataError(f"Covariate '{name}': expected classes (N,) or codes (N, {covariate.size}); got {value.shape}.")
    told, places = np.unique(_texts(name, value), return_inverse=True)
    unknown = [str(text) for text in told if text not in covariate.names]
    if unknown:
        rows = np.flatnonzero(told[places] == unknown[0])
        raise DataError(
            f"Covariate '{name}': expected a class among {', '.join(covariate.names)}; got {unknown[0]!r}, in row "
            f"{rows[0]}. What was not in the training data has no effect that could be known; give another class."
        )
    number = np.array([covariate.names.index(text) for text in told], int)
    return np.eye(covariate.size, dtype=np.float32)[number[places.reshape(-1)]]


def as_known(batch: Batch, known: Mapping[str, Covariate]) -> Batch:
    """The batch with the covariates that a program conditions on, as it takes them, and no others.

    Raises:
        DataError: If one is missing, or :func:`to_codes` refuses it.

    Example:
        >>> rows = Batch({"x": np.ones((2, 3))}, covariates={"age": [30, 40], "note": ["a", "b"]})
        >>> as_known(rows, {"age": Covariate()}).covariates
        {'age': array([30., 40.], dtype=float32)}
    """
    if not known and not batch.covariates:
        return batch
    missing = [name for name in known if name not in batch.covariates]
    if missing:
        raise DataError(
            f"Expected covariates {list(known)}, which the program conditions on; the rows lack {missing}. Give them "
            "as Batch(..., covariates={name: values}), or to generate as covariates= (--covariates)."
        )
    codes = {name: to_codes(name, batch.covariates[name], what) for name, what in known.items()}
    return batch.with_covariates(codes)


def infer_covariates(
    arrays: Mapping[str, Any], said: Mapping[str, "str | Covariate | None"]
) -> tuple[dict[str, np.ndarray], dict[str, Covariate]]:
    """Covariates as a batch has them, and what each is: texts and booleans are categories, numbers are numbers.

    Arguments:
        arrays: Values ``(N,)`` by name, as they were read.
        said: Kinds by name, or what a covariate is where that is known; None where nothing is said.

    Raises:
        OptionError: If a kind is unknown.
        DataError: If a class is missing, a number is none, or a size factor is not above 0.

    Example:
        >>> values, known = infer_covariates({"site": np.array([2, 1, 2])}, {"site": "category"})
        >>> values["site"].tolist(), known["site"].names
        (['2', '1', '2'], ('1', '2'))
    """
    values, known = {}, {}
    for name, array in arrays.items():
        array, kind = np.asarray(array), said.get(name)
        if isinstance(kind, Covariate):
            known[name] = kind
            values[name] = _texts(name, array) if kind.names is not None and array.ndim == 1 else array
            continue
        kind = ("category" if array.dtype.kind in "bOUT" else "number") if kind is None else kind
        if kind == "category":
            array = _texts(name, array)
            known[name] = Covariate(kind, names=tuple(map(str, np.unique(array))))
        else:
            known[name] = Covariate(kind)
            to_codes(name, array, known[name])  # refuses what is no number, or no size
        values[name] = array
    return values, known


def check_covariates(covariates: Any, modalities: Iterable[str] | None = None) -> dict[str, Covariate]:
    """Checked covariates by name, of covariates or their fields.

    Arguments:
        covariates: What each is, by name.
        modalities: Names of the modalities, where they are known.

    Raises:
        OptionError: If it is no mapping to covariates.
        ModalityError: If a name is that of a modality, or a size factor is of none.
    """
    if not isinstance(covariates, Mapping):
        raise OptionError(
            f"Expected covariates, a mapping of names to Covariate(...), such as data.covariates; got {covariates!r}."
        )
    out = {}
    for name, what in covariates.items():
        fits = isinstance(what, Covariate) or isinstance(what, Mapping) and set(what) <= {"kind", "names", "modality"}
        if not fits:
            raise OptionError(
                f"Expected covariate '{name}' to be a Covariate(...), as in data.covariates; got {what!r}."
            )
        out[name] = what if isinstance(what, Covariate) else Covariate(**what)
    if modalities is None:
        return out
    names = list(modalities)
    both = [name for name in out if name in names]
    if both:
        raise ModalityError(f"Expected covariates that are no modalities; got {both}. Choose what each is.")
    lost = [what.modality for what in out.values() if what.modality is not None and what.modality not in names]
    if lost:
        raise ModalityError(f"Expected size factors of modalities among {names}; got one of '{lost[0]}'.")
    return out


def _texts(name: str, value: np.ndarray) -> np.ndarray:
    """Names of classes, as they are written; whole numbers among floats without a fraction."""
    if value.dtype.kind == "f" and np.all(value == np.rint(value)):
        value = value.astype(np.int64)
    missing = [i for i, x in enumerate(value.tolist()) if is_no_value(x)]
    if missing:
        raise DataError(
            f"Covariate '{name}': expected a class in every row; got none in row {missing[0]}. Fill it in, or make it "
            "a modality, which may be missing."
        )
    return np.array([str(x) for x in value.tolist()])
