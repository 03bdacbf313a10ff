"""Prediction of the missing links of one graph."""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gnnkit.data.links import LinkDataset
from gnnkit.errors import DataError
from gnnkit.experiment.config import ExperimentConfig, LinkConfig
from gnnkit.experiment.loss import LossName, loss_for_task, masked_loss
from gnnkit.experiment.tasks import Forward, Prediction, batch_size, epoch_order, seeded
from gnnkit.graph import Graph


class LinkStep(NamedTuple):
    """One step: training links by number, and pairs that are no training links."""

    links: Tensor
    negatives: Tensor


class LinkTask:
    """Shuffled mini-batches of training links, each with pairs drawn at random that are no training links.

    A step encodes the whole graph, without the links of the step if the configuration hides them. Validation and test
    encode the graph of the training links, once, and score the true links and the given negatives of the split.
    """

    def __init__(self, config: ExperimentConfig, dataset: LinkDataset, device: torch.device) -> None:
        """Prepares the task. Raises ConfigError where the loss does not fit or there is no batch size."""
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
        self.links: Tensor = data.train_edges
        # Both directions of each link, in order of destination, so that no graph of a step needs sorting.
        self.codes = pair_codes(data.edge_index.flip(0), self.num_nodes).unique()
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
            negatives = random_non_links(self.codes, self.num_nodes, count, seeded(self.seed, epoch, number))
            yield LinkStep(parts[number], negatives)

    def loss(self, forward: Forward, step: LinkStep) -> tuple[Tensor, int]:
        """Mean loss over links and negatives of a step."""
        links = self.links[:, step.links]
        graph = self._without(links) if self.config.hide_targets else self.whole
        outputs = forward(self._batch(graph, torch.cat([links, step.negatives], dim=1)))
        return masked_loss(self.loss_name, outputs, labels_of(links, step.negatives).to(outputs.device))

    def predict(self, forward: Forward, splits: Sequence[str]) -> Iterator[Prediction]:
        """Scores of the links of each split, then of its negatives; the graph is encoded once for all splits."""
        data = self.dataset.data
        groups = [(data[f"{split}_edges"], data[f"{split}_negative_edges"]) for split in splits]
        outputs = forward(self._batch(self.whole, torch.cat([pairs for group in groups for pairs in group], dim=1)))
        sizes = [links.size(1) + negatives.size(1) for links, negatives in groups]
        for split, group, scores in zip(splits, groups, outputs.split(sizes), strict=True):
            yield Prediction(split, scores, labels_of(*group).to(scores.device))

    def _batch(self, graph: Graph, pairs: Tensor) -> Any:
        batch = copy.copy(self.data)
        batch.graph = graph
        batch.pairs = pairs.to(self.device)
        return batch

    def _without(self, links: Tensor) -> Graph:
        hidden = pair_codes(torch.cat([links, links.flip(0)], dim=1), self.num_nodes)
        keep = torch.ones(self.codes.numel(), dtype=torch.bool)
        keep[torch.searchsorted(self.codes, hidden)] = False
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


def random_non_links(codes: Tensor, num_nodes: int, count: int, generator: torch.Generator) -> Tensor:
    """Ordered pairs of different nodes that are no links, each drawn uniformly and independently, ``[2, count]``.

    Args:
        codes: :func:`pair_codes` of both directions of all links, ascending.
        num_nodes: Number of nodes ``N``.
        count: How many.
        generator: Where the random numbers come from.

    Raises:
        DataError: If every pair is a link.

    Complexity: ``O(count log E)`` expected, times ``1 / (1 - density)``.
    """
    proper = int((codes // max(num_nodes, 1) != codes % max(num_nodes, 1)).sum())
    free = num_nodes * (num_nodes - 1) - proper
    if free <= 0 and count > 0:
        raise DataError(f"no negative pairs can be drawn: all pairs of the {num_nodes} nodes are links")
    found = [torch.empty(0, dtype=torch.int64)]
    missing = count
    while missing > 0:
        # A little more than needed on average, so that a second round is rare.
        tries = math.ceil(1.1 * missing * num_nodes * num_nodes / free) + 16
        drawn = torch.randint(num_nodes * num_nodes, (tries,), generator=generator)
        place = torch.searchsorted(codes, drawn).clamp(max=max(codes.numel() - 1, 0))
        linked = codes[place] == drawn if codes.numel() else torch.zeros_like(drawn, dtype=torch.bool)
        loops = drawn // num_nodes == drawn % num_nodes
        found.append(drawn[~(linked | loops)][:missing])
        missing -= found[-1].numel()
    chosen = torch.cat(found)
    return torch.stack([chosen // max(num_nodes, 1), chosen % max(num_nodes, 1)])
