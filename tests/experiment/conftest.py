"""A small data set and model with the interface that the trainer asks for."""

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gnnkit.experiment import run
from gnnkit.experiment.config import ExperimentConfig, config_from_dict


@dataclass
class SmallBatch:
    x: Tensor
    y: Tensor

    def to(self, device: torch.device) -> "SmallBatch":
        return SmallBatch(self.x.to(device), self.y.to(device))


class SmallDataset:
    """Rows of noise whose labels are signs of their first entries; some labels are missing."""

    name = "small"
    task = "multilabel"
    metric = "ap"
    num_outputs = 3
    official = True
    notes = ()

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(7)
        x = torch.randn(90, 8, generator=generator)
        labels = (x[:, :3] + 0.5 * torch.randn(90, 3, generator=generator) > 0).float()
        labels[torch.rand(90, 3, generator=generator) < 0.1] = torch.nan
        self.node: dict[str, Tensor] = {"x": x}
        self.edge: dict[str, Tensor] = {}
        self.graph = {"y": labels}
        self.split = {"train": torch.arange(50), "val": torch.arange(50, 70), "test": torch.arange(70, 90)}
        self.checksums = {"small.csv": "ab" * 32}

    def batch(self, ids: Tensor) -> SmallBatch:
        return SmallBatch(self.node["x"][ids], self.graph["y"][ids])


class SmallModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))

    def forward(self, batch: Any) -> Tensor:
        return self.layers(batch.x)


TABLE: dict[str, Any] = {
    "table": "small",
    "method": "MLP",
    "protocol": "made up",
    "data": {"name": "small"},
    "model": {"hidden_dim": 16},
    "optim": {"lr": 0.01, "clip_norm": 1.0},
    "schedule": {"kind": "cosine", "warmup_epochs": 1},
    "train": {"epochs": 4, "batch_size": 8, "seed": 3},
}


@pytest.fixture
def table() -> dict[str, Any]:
    return copy.deepcopy(TABLE)


@pytest.fixture
def config(table) -> ExperimentConfig:
    return config_from_dict(table)


@pytest.fixture
def dataset(monkeypatch) -> SmallDataset:
    """The small data set and model take the place of the real ones in ``train``."""
    dataset = SmallDataset()
    monkeypatch.setattr(run, "build_dataset", lambda config, **_: dataset)
    monkeypatch.setattr(run, "build_model", lambda config, dataset: SmallModel())
    return dataset
