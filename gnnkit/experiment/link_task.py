"""Prediction of the missing links of one graph."""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gnnkit.data.links import LinkDataset
from gnnkit.errors import ConfigError
from gnnkit.experiment.config import ExperimentConfig, LinkConfig
from gnnkit.experiment.loss import LossName, loss_for_task, masked_loss
from gnnkit.experiment.processes import Processes
from gnnkit.experiment.tasks import Forward, Prediction, batch_size, epoch_order, seed_of
from gnnkit.graph import Graph
from gnnkit.sample import negative_edges


class LinkStep(NamedTuple):
    """One step: training links by number, and pairs that are no training links."""

    links: Tensor
    negatives: Tensor


class LinkTask:
    """Shuffled mini-batches of training links, each with different pairs drawn at random that are no training links.

    A step encodes the whole graph, without the links of the step if the configuration hides them. Validation and test
    encode the graph of the training links, once, and score the true links and the given negatives of the split.
    Processes share the pairs that are scored; each encodes the whole graph.
    """

    divides_rows = False

    def __init__(
        self,
        config: ExperimentConfig,
        dataset: LinkDataset,
        device: torch.device,
        processes: Processes | None = None,
    ) -> None:
        """Prepares the task.

        Raises:
            ConfigError: If the loss does not fit, there is no batch size, or the graph has fewer pairs that are no
                links than a step needs.
        """
        self.processes = processes or Processes()
        self.loss_name: LossName = loss_for_task(config.train.loss, dataset.task)
        self.config = config.links or LinkConfig()
        self.dataset = dataset
        self.device = device
        self.seed = config.train.seed
        self.batch_size = batch_size(config, "links")
        data = dataset.data
        assert data.num_nodes is not None
        assert data.edge_index is not None
        self.num_nodes = data.num_nodes
        self.edge_index: Tensor = data.edge_index
        self.links: Tensor = data.train_edges
        # Both directions of each link, in order of destination, so that no graph of a step needs sorting.
        self.codes = pair_codes(self.edge_index.flip(0), self.num_nodes).unique()
        self._check_negatives()
        self.whole = self._graph(self.codes)
        self.data: Any = data.clone().to(str(device))

    @property
    def steps_per_epoch(self) -> int:
        """Number of mini-batches of links."""
        return math.ceil(self.links.size(1) / self.batch_size)

    @property
    def sizes(self) -> dict[str, dict[str, int]]:
        """Pairs of each part."""
        return {"links": self.dataset.statistics()["pairs"]}

    def steps(self, epoch: int, start: int) -> Iterable[LinkStep]:
        """Links and negatives of each step; the latter are decided by seed, epoch and number of the step."""
        parts = epoch_order(torch.arange(self.links.size(1)), self.seed, epoch).split(self.batch_size)
        for number in range(start, len(parts)):
            count = self.config.negatives * len(parts[number])
            seed = seed_of(self.seed, epoch, number)
            negatives = negative_edges(self.edge_index, self.num_nodes, count, seed=seed)
            yield LinkStep(parts[number], negatives)

    def loss(self, forward: Forward, step: LinkStep) -> tuple[Tensor, int]:
        """Mean loss over this process's links and negatives of a step."""
        links = self.links[:, step.links]
        graph = self._without(links) if self.config.hide_targets else self.whole
        pairs, labels = torch.cat([links, step.negatives], dim=1), labels_of(links, step.negatives)
        ours = self.processes.share(torch.arange(len(labels)))
        outputs = forward(self._batch(graph, pairs[:, ours]))
        return masked_loss(self.loss_name, outputs, labels[ours].to(outputs.device))

    def predict(self, forward: Forward, splits: Sequence[str]) -> Iterator[Prediction]:
        """Scores of the links of each split, then of its negatives; the graph is encoded once for all splits."""
        data = self.dataset.data
        groups = [(data[f"{split}_edges"], data[f"{split}_negative_edges"]) for split in splits]
        pairs = [self._part(torch.cat(group, dim=1), 1) for group in groups]
        outputs = forward(self._batch(self.whole, torch.cat(pairs, dim=1)))
        sizes = [part.size(1) for part in pairs]
        for split, group, scores in zip(splits, groups, outputs.split(sizes), strict=True):
            yield Prediction(split, scores, self._part(labels_of(*group), 0).to(scores.device))

    def _part(self, whole: Tensor, dim: int) -> Tensor:
        """This process's part of what is cut into one piece for each."""
        return whole.tensor_split(self.processes.count, dim)[self.processes.rank]

    def _check_negatives(self) -> None:
        loops = int((self.codes // max(self.num_nodes, 1) == self.codes % max(self.num_nodes, 1)).sum())
        free = self.num_nodes * (self.num_nodes - 1) - (self.codes.numel() - loops)
        needed = self.config.negatives * min(self.batch_size, self.links.size(1))
        if needed > free:
            raise ConfigError(
                f"a step needs {needed} pairs that are no links, but {self.dataset.name} has {free}; lower "
                "links.negatives or train.batch_size"
            )

    def _batch(self, graph: Graph, pairs: Tensor) -> Any:
        batch = copy.copy(self.data)
        batch.graph = graph
        batch.pairs = pairs.to(self.device)
        return batch

    def _without(self, links: Tensor) -> Graph:
        hidden = pair_codes(torch.cat([links, links.flip(0)], dim=1), self.num_nodes)
        keep = torch.ones(self.codes.numel(), dtype=torch.bool)
        begin, end = (torch.searchsorted(self.codes, hidden, right=right) for right in (False, True))
        # A self-loop among the links is none of the edges, and a transform may have taken others out.
        keep[begin[begin < end]] = False
        return self._graph(self.codes[keep])

    def _graph(self, codes: Tensor) -> Graph:
        destination, source = codes // max(self.num_nodes, 1), codes % max(self.num_nodes, 1)
        return Graph.from_edge_index(torch.stack([source, destination]), num_nodes=self.num_nodes).to(self.device)


def labels_of(links: Tensor, negatives: Tensor) -> Tensor:
    """1 for each link, then 0 for each negative, ``[P + Q, 1]``."""
    return torch.cat([torch.ones(links.size(1), 1), torch.zeros(negatives.size(1), 1)])


def pair_codes(pairs: Tensor, num_nodes: int) -> Tensor:
    """One number for each ordered pair, ``[P]``."""
    return pairs[0] * num_nodes + pairs[1]
