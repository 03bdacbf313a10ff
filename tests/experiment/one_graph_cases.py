"""Small made-up data sets of one graph, and what to do with a run of them."""

import copy
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from gnnkit.data import DatasetInfo
from gnnkit.data.links import LinkDataset
from gnnkit.data.nodes import NodeDataset
from gnnkit.experiment.config import ExperimentConfig, config_from_dict
from gnnkit.experiment.run import train
from gnnkit.experiment.watcher import Interrupted, Watcher

NODES: dict[str, Any] = {
    "table": "nodes",
    "method": "GCN",
    "protocol": "made up",
    "data": {"name": "made-up"},
    "model": {"conv": "gcn", "num_layers": 2, "hidden_dim": 8, "dropout": 0.2, "pool": "none"},
    "optim": {"lr": 0.02},
    "train": {"epochs": 6, "seed": 3, "num_threads": 1},
}
LINKS: dict[str, Any] = {
    **NODES,
    "table": "links",
    "model": {**NODES["model"], "conv": "sage", "node_encoder": "embedding"},
    "links": {"decoder": "ncn"},
    "train": {"epochs": 3, "batch_size": 40, "eval_batch_size": 25, "seed": 3, "num_threads": 1},
}  # fmt: skip


def config_of(base: dict[str, Any], **sections: Any) -> ExperimentConfig:
    """The configuration with some keys of its sections replaced; a section that is None is left out."""
    table = copy.deepcopy(base)
    for section, values in sections.items():
        table[section] = {**table.get(section, {}), **values}
    return config_from_dict(table)


def blocks(num_nodes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Links, both ways, of two groups of nodes, with many links within and few between; and the group of each node."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(num_nodes) % 2
    chance = torch.where(y.unsqueeze(0) == y.unsqueeze(1), 0.25, 0.02)
    upper = (torch.rand(num_nodes, num_nodes, generator=generator) < chance).triu(1)
    return (upper | upper.t()).nonzero().t().contiguous(), y


def node_dataset(task: str = "multiclass") -> NodeDataset:
    """Groups of a block model; features are noise with a trace of the group."""
    edge_index, y = blocks(80, 1)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(80, 4, generator=generator) + 0.5 * y.unsqueeze(1)
    part = torch.arange(80) % 5
    masks = {"train_mask": part < 2, "val_mask": part == 2, "test_mask": part > 2}
    metric, num_outputs = ("accuracy", 2) if task == "multiclass" else ("rocauc", 1)
    labels = y if task == "multiclass" else y.float().unsqueeze(1)
    info = DatasetInfo("made-up", task, metric, num_outputs, checksums={"a.npz": "ab" * 32}, notes=("Made up.",))
    return NodeDataset(info, Data(x=x, edge_index=edge_index, y=labels, **masks))


def link_dataset(num_nodes: int = 60) -> LinkDataset:
    """Links of a block model; negatives are between the groups."""
    edge_index, y = blocks(num_nodes, 5)
    generator = torch.Generator().manual_seed(6)
    links = edge_index[:, edge_index[0] < edge_index[1]]
    links = links[:, torch.randperm(links.size(1), generator=generator)]
    held = 30
    train_edges = links[:, 2 * held :]
    between = ((y.unsqueeze(0) != y.unsqueeze(1)).triu(1)).nonzero().t()
    between = between[:, torch.randperm(between.size(1), generator=generator)[:80]]
    data = Data(
        num_nodes=num_nodes,
        edge_index=torch.cat([train_edges, train_edges.flip(0)], dim=1),
        train_edges=train_edges,
        val_edges=links[:, :held],
        val_negative_edges=between[:, :40],
        test_edges=links[:, held : 2 * held],
        test_negative_edges=between[:, 40:],
    )
    info = DatasetInfo("made-up", "binary", "hits@20", 1, checksums={"a.pt": "ab" * 32})
    return LinkDataset(info, data).with_node_numbers()


def interrupted_run(config: ExperimentConfig, folder: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Runs until a signal comes with a step, as it would from outside."""
    original = Watcher.on_step

    def on_step(self: Watcher, trainer: Any, values: dict[str, Any]) -> None:
        if trainer.state.global_step == step:
            os.kill(os.getpid(), signal.SIGINT)
        original(self, trainer, values)

    with monkeypatch.context() as patch:
        patch.setattr(Watcher, "on_step", on_step)
        with pytest.raises(Interrupted):
            train(config, folder, progress=False)
