"""The record of a fit: a line for each epoch, and columns of numbers."""

import html
from typing import Any

import numpy as np

from mmppl import display

__all__ = ["History"]

ABOUT = ("epoch", "stage", "steps", "seconds")
HELD_OUT = "validation."


class History(list[dict[str, Any]]):
    """A list of records, one for each epoch, which is a table as well.

    A record has ``epoch``, ``stage``, ``steps`` and ``seconds``, the means of the objective's terms over the epoch's
    steps (``loss`` in nats a datum, ``kl``, ``log_lik.<modality>``), and the same of held-out data behind
    ``validation.``, where there are any; of those ``conditional.<modality>`` is a bound of its log density given the
    others of its row, see :class:`~mmppl.inference.objectives.leave_one_out.LeaveOneOut`. ``mt_diffusion`` adds
    estimates of its bound's terms, ``L0`` to ``L3``, on the first 256 rows, by the averaged weights.

    Example:
        >>> history = History([{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 2.0, "validation.loss": 2.5}])
        >>> history.table()["validation.loss"].tolist()
        [nan, 2.5]
        >>> history[-1]["loss"], len(history)
        (2.0, 2)
    """

    def __repr__(self) -> str:
        if not self:
            return "History of no epochs"
        return f"History of {len(self)} {'epoch' if len(self) == 1 else 'epochs'}: {self.losses()}"

    def _repr_html_(self) -> str:
        shown = []
        stages = self._stages()
        for stage in stages:
            table, rows = stages[stage].table(), []
            for term in self.terms():
                series = {
                    label: table[name].tolist()
                    for name, label in ((term, "training"), (HELD_OUT + term, "held out"))
                    if name in table and table[name].dtype != object and np.isfinite(table[name]).any()
                }
                if series:
                    last = {label: f"{float(f'{_last(values):.4g}'):g}" for label, values in series.items()}
                    rows.append((term, last, ("html", display.curve(series))))
            title = f"<div><small>stage {html.escape(stage)}</small></div>" if len(stages) > 1 else ""
            # A column for what was held out only where something was.
            labels = [x for x in ("training", "held out") if any(x in last for _, last, _ in rows)]
            header = ("term (nats)", *("last" if x == "training" else x for x in labels), "over the epochs")
            cells = [(term, *(last.get(x, "–") for x in labels), picture) for term, last, picture in rows]
            shown.append(title + display.table(header, cells))
        return display.page(f"History of {len(self)} epochs", *shown)

    def _stages(self) -> dict[str, "History"]:
        """The records of each stage, whose objectives differ."""
        names = dict.fromkeys(record.get("stage", "") for record in self)
        return {name: History([record for record in self if record.get("stage", "") == name]) for name in names or [""]}

    def losses(self) -> str:
        """The loss of the first and of the last epoch, and what was held out."""
        first, last = self[0].get("loss", np.nan), self[-1].get("loss", np.nan)
        values = [record[f"{HELD_OUT}loss"] for record in self if f"{HELD_OUT}loss" in record]
        held = _last(values) if values else None
        return f"loss {display.number(first)} to {display.number(last)} nats" + (
            "" if held is None else f", held out {display.number(held)}"
        )

    def table(self) -> dict[str, np.ndarray]:
        """Columns by name, as ``pandas.DataFrame(history.table())`` takes them; NaN where a record has no value."""
        names = dict.fromkeys(name for record in self for name in record)
        out = {}
        for name in names:
            column = [record.get(name, np.nan) for record in self]
            out[name] = np.array(column, object if any(isinstance(x, str) for x in column) else None)
        return out

    def terms(self) -> list[str]:
        """Names of the objective's terms, the loss first; those of held-out data have the same names."""
        names = dict.fromkeys(n.removeprefix(HELD_OUT) for n in self.table() if n not in ABOUT)
        return sorted(names, key=lambda name: name != "loss")

    def plot(self, *terms: str) -> Any:
        """Draws terms over the epochs, one below the other, with held-out values beside those of training.

        Stages stand side by side, each on a scale of its own: their objectives differ.

        Arguments:
            terms: Their names; the loss by default.

        Returns:
            The figure of matplotlib, which a notebook shows.
        """
        from matplotlib.ticker import MaxNLocator

        chosen, stages = terms or ("loss",), self._stages()
        figure = display.figure(max(6.4, 3.6 * len(stages)), 2.6 * len(chosen))
        for line, term in zip(figure.subplots(len(chosen), len(stages), squeeze=False), chosen, strict=True):
            for place, (stage, own) in zip(line, stages.items(), strict=True):
                table = own.table()
                for name, label in ((term, "training"), (HELD_OUT + term, "held out")):
                    if name in table and np.isfinite(table[name].astype(float)).any():
                        place.plot(table["epoch"], table[name], marker=".", label=label)
                        place.legend(frameon=False)
                place.xaxis.set_major_locator(MaxNLocator(integer=True))
                place.set(xlabel="epoch", title=stage if len(stages) > 1 else None)
            line[0].set_ylabel(f"{term} (nats)")
        return figure


def _last(values: list[float]) -> float:
    """The last value that is a number: rows that are held out by default are none in the end."""
    return next((x for x in reversed(values) if x == x), float("nan"))
