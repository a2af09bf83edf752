"""A convolutional judge of SVHN's digits, whose 8,000 training digits are too few for a perceptron.

Trained once, on digits that are moved by up to two pixels, in other colours and contrasts, half of them as negatives.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mmppl.batch import Modality
from mmppl.data import Dataset
from mmppl.metrics import Classifiers, train_classifiers

__all__ = ["judges"]

WIDTHS, FEATURES, EPOCHS, BATCH, RATE = (32, 64, 128), 128, 30, 64, 2e-3
CHUNK = 500


class _Network(nn.Module):
    """Three levels of two convolutions, and a hidden layer: ``features``, and scores of ten classes."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in WIDTHS:
            for inputs, stride in ((before, 1), (width, 2)):
                layers += [nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        hidden = (nn.Flatten(), nn.Dropout(0.3), nn.Linear(16 * before, FEATURES), nn.ReLU())
        self.body, self.head = nn.Sequential(*layers, *hidden), nn.Linear(FEATURES, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(2.0 * x - 1.0))


class _Judge:
    """The network in the place of a :class:`mmppl.metrics.classifiers.Classifier`."""

    def __init__(self, modality: Modality, net: _Network) -> None:
        self.modality, self.net = modality, net.eval()

    @torch.no_grad()
    def hidden(self, rows: np.ndarray) -> np.ndarray:
        """The last hidden layer of rows ``(N, 3, 32, 32)``."""
        parts = torch.as_tensor(np.asarray(rows, np.float32)).split(CHUNK)
        return torch.cat([self.net.body(2.0 * part - 1.0) for part in parts]).numpy()

    @torch.no_grad()
    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Scores of the ten classes."""
        return self.net.head(torch.as_tensor(self.hidden(rows))).numpy()


def judges(data: Dataset, file: Path, seed: int = 0) -> Classifiers:
    """Judges of all modalities; that of ``svhn`` is read from ``file``, or trained and written there."""
    plain, net = train_classifiers(data), _Network()
    test, label = np.asarray(data.test["svhn"]), np.asarray(data.test.label)
    if file.is_file():
        net.load_state_dict(torch.load(file, weights_only=True))
    else:
        # A digit stands in several pairs.
        images, first = np.unique(np.asarray(data.train["svhn"]), axis=0, return_index=True)
        _train(net, torch.as_tensor(images), torch.as_tensor(np.asarray(data.train.label)[first]), seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(net.state_dict(), file)
    judge: Any = _Judge(data.modalities["svhn"], net)
    right = float((plain.classes[judge.scores(test).argmax(-1)] == label).mean())
    return Classifiers({**plain.by_name, "svhn": judge}, plain.classes, {**plain.accuracy, "svhn": right})


def _train(net: nn.Module, images: torch.Tensor, labels: torch.Tensor, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    steps = EPOCHS * (len(images) // BATCH)
    adam = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, total_steps=steps)
    net.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(images), generator=rng)
        for rows in order[: len(images) // BATCH * BATCH].split(BATCH):
            shown = _varied(images[rows], rng)
            loss: Any = nn.functional.cross_entropy(net(shown), labels[rows], label_smoothing=0.05)
            adam.zero_grad()
            loss.backward()
            adam.step()
            rate.step()


def _varied(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Digits moved, in other contrasts and colours, some as negatives."""
    number = len(images)
    padded = nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")
    down, right = torch.randint(0, 5, (2, number), generator=rng)
    rows, columns = down[:, None] + torch.arange(32), right[:, None] + torch.arange(32)
    each = torch.arange(number)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)
    contrast = 0.6 + 0.8 * torch.rand(number, 1, 1, 1, generator=rng)
    colour = 0.2 * (torch.rand(number, 3, 1, 1, generator=rng) - 0.5)
    moved = contrast * (moved - 0.5) + 0.5 + colour
    negative = torch.rand(number, 1, 1, 1, generator=rng) < 0.5
    return torch.where(negative, 1.0 - moved, moved)
