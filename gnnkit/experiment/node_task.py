"""Classification of the nodes of one graph."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.data.nodes import NodeDataset
from gnnkit.errors import ConfigError
from gnnkit.experiment.config import ExperimentConfig, NodeConfig
from gnnkit.experiment.loss import LossName, loss_for_task, masked_loss
from gnnkit.experiment.processes import Processes
from gnnkit.experiment.tasks import Forward, Prediction
from gnnkit.graph import Graph


class NodeTask:
    """One step an epoch, on the whole graph, or on the subgraph of its training nodes; evaluation on the whole graph.

    :class:`gnnkit.experiment.sampled_node_task.SampledNodeTask` is the same with subgraphs as steps. Processes share
    the training nodes, whose loss is taken; each runs the model on the whole graph.
    """

    divides_rows = False
    unused_sizes = ("batch_size", "eval_batch_size")
    """Keys of ``[train]`` that have no meaning here."""

    def __init__(
        self,
        config: ExperimentConfig,
        dataset: NodeDataset,
        device: torch.device,
        processes: Processes | None = None,
    ) -> None:
        """Prepares the task.

        Raises:
            ConfigError: If the loss does not fit, or a batch size is set.
        """
        for name in self.unused_sizes:
            if getattr(config.train, name) is not None:
                raise ConfigError(f"train.{name} cannot be set: {self._what_is_used(dataset)}; leave it out")
        self.processes = processes or Processes()
        self.loss_name: LossName = loss_for_task(config.train.loss, dataset.task)
        self.dataset = dataset
        self.inductive = (config.nodes or NodeConfig()).inductive
        self.device = device
        self.whole = _ready(dataset.data, device)

    @cached_property
    def training(self) -> Data:
        """What is trained on."""
        return _ready(training_subgraph(self.dataset.data), self.device) if self.inductive else self.whole

    @property
    def steps_per_epoch(self) -> int:
        """One: the whole graph."""
        return 1

    @property
    def sizes(self) -> dict[str, dict[str, int]]:
        """Nodes of each split."""
        return {"nodes": {name: len(ids) for name, ids in self.dataset.split.items()}}

    def steps(self, epoch: int, start: int) -> Iterable[Data]:
        """The training graph, once."""
        return [self.training][start:]

    def loss(self, forward: Forward, step: Data) -> tuple[Tensor, int]:
        """Mean loss over this process's training nodes of a graph."""
        outputs, labels = forward(step), step.y
        assert isinstance(labels, Tensor)
        nodes = self.processes.share(step.train_mask.nonzero().flatten())
        return masked_loss(self.loss_name, outputs.index_select(0, nodes), labels.index_select(0, nodes))

    def predict(self, forward: Forward, splits: Sequence[str]) -> Iterator[Prediction]:
        """Predictions for the nodes of each split, ascending; the model runs once for all splits, in one process."""
        if not self.processes.leads:
            return
        outputs, labels = forward(self.whole), self.whole.y
        assert isinstance(labels, Tensor)
        for split in splits:
            mask = self.whole[f"{split}_mask"]
            yield Prediction(split, outputs[mask], labels[mask])

    def _what_is_used(self, dataset: NodeDataset) -> str:
        return f"a step is of the whole graph of {dataset.name}"


def training_subgraph(data: Data) -> Data:
    """The training nodes, in their order, and the edges among them."""
    return data.subgraph(data.train_mask)


def _ready(data: Data, device: torch.device) -> Data:
    """The graph on a device, its topology checked and sorted once."""
    ready: Any = data.clone().to(str(device))
    ready.graph = Graph.from_edge_index(ready.edge_index, num_nodes=ready.num_nodes)
    return ready
