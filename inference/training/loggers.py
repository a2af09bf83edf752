"""Callbacks that write the history of a fit to TensorBoard, Weights & Biases and MLflow."""

import os
from collections.abc import Mapping
from typing import Any

from mmppl.data.optional import need
from mmppl.inference.training.callbacks import Callback, FitEvent

__all__ = ["MLflow", "TensorBoard", "WeightsAndBiases"]


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in record.items() if not isinstance(value, str)}


class TensorBoard(Callback):
    """Writes every number of the history as a scalar, by epoch.

    Arguments:
        folder: The folder, as for ``tensorboard --logdir``.

    Raises:
        PackageError: If tensorboardX, of the extra ``mmppl[tensorboard]``, is not installed.
    """

    def __init__(self, folder: str | os.PathLike):
        self.writer = need("tensorboardX", "tensorboard").SummaryWriter(os.fspath(folder))

    def on_epoch(self, event: FitEvent) -> None:
        for name, value in _numbers(event.record).items():
            self.writer.add_scalar(name, value, event.epoch)

    def on_end(self, event: FitEvent) -> None:
        self.writer.close()


class WeightsAndBiases(Callback):
    """Logs every number of the history to a run of Weights & Biases; a fit that is resumed goes on with its run.

    A run that is open already is logged to as it is, and stays open.

    Arguments:
        options: Those of ``wandb.init``, such as ``project=``.

    Raises:
        PackageError: If wandb, of the extra ``mmppl[wandb]``, is not installed.
    """

    def __init__(self, **options: Any):
        self.wandb, self.options = need("wandb", "wandb"), options
        self.run: Any = None
        self.began = False

    def on_stage(self, event: FitEvent) -> None:
        if self.run is None:
            self.began = self.wandb.run is None
            self.run = self.wandb.init(**self.options) if self.began else self.wandb.run

    def on_epoch(self, event: FitEvent) -> None:
        self.on_stage(event)
        self.run.log(_numbers(event.record), step=event.epoch)

    def on_end(self, event: FitEvent) -> None:
        if self.run is not None and self.began:
            self.run.finish()
        self.run = None

    def state_dict(self) -> dict[str, Any]:
        return {"id": None if self.run is None else self.run.id}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["id"] is not None:
            self.options = {**self.options, "id": state["id"], "resume": "allow"}


class MLflow(Callback):
    """Logs every number of the history to a run of MLflow; a fit that is resumed goes on with its run.

    A run that is open already is logged to as it is, and stays open.

    Arguments:
        options: Those of ``mlflow.start_run``, such as ``run_name=``.

    Raises:
        PackageError: If mlflow, of the extra ``mmppl[mlflow]``, is not installed.
    """

    def __init__(self, **options: Any):
        self.mlflow, self.options = need("mlflow", "mlflow"), options
        self.id: str | None = None
        self.began = False

    def on_stage(self, event: FitEvent) -> None:
        if self.id is None:
            run = self.mlflow.active_run()
            self.began = run is None
            self.id = (self.mlflow.start_run(**self.options) if self.began else run).info.run_id

    def on_epoch(self, event: FitEvent) -> None:
        self.on_stage(event)
        self.mlflow.log_metrics(_numbers(event.record), step=event.epoch)

    def on_end(self, event: FitEvent) -> None:
        if self.id is not None and self.began:
            self.mlflow.end_run()
        self.id = None

    def state_dict(self) -> dict[str, Any]:
        return {"id": self.id}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["id"] is not None:
            self.options = {"run_id": state["id"]}
