"""What is learned from a data set: the steps of an epoch, their loss, and the predictions on a split.

The trainer knows of optimizer, schedule and state; a task knows of the data. A set of graphs, one graph with labelled
nodes and one graph with links to predict are one task each.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.experiment.build import AnyDataset, Dataset, graphs_of, kind_of
from gnnkit.experiment.config import ExperimentConfig
from gnnkit.experiment.loss import LossName, loss_for_task, masked_loss
from gnnkit.experiment.processes import Processes

if TYPE_CHECKING:
    from gnnkit.data.links import LinkDataset
    from gnnkit.data.nodes import NodeDataset

Forward = Callable[[Any], Tensor]
"""The model in the precision of the configuration."""


class Prediction(NamedTuple):
    """What the model says of a part of a split, and what is true."""

    split: str
    outputs: Tensor
    labels: Tensor


class Task(Protocol):
    """What the trainer asks of a task."""

    @property
    def loss_name(self) -> LossName:
        """The loss of a step, and of a split."""
        ...

    @property
    def divides_rows(self) -> bool:
        """Whether each of several processes holds other nodes in a step, so that statistics of a batch need all."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps."""
        ...

    @property
    def sizes(self) -> dict[str, dict[str, int]]:
        """How much there is in each part of the data, under the name of what is counted; for the record."""
        ...

    def steps(self, epoch: int, start: int) -> Iterable[Any]:
        """What each step of an epoch is of, from step ``start`` on; a function of seed and epoch alone."""
        ...

    def loss(self, forward: Forward, step: Any) -> tuple[Tensor, int]:
        """Mean loss of this process's share of a step, and over how many labels it is the mean."""
        ...

    def predict(self, forward: Forward, splits: Sequence[str]) -> Iterator[Prediction]:
        """Predictions on whole splits, in pieces, in the order of the splits; draws no random numbers.

        Of several processes, process ``r`` gives the pieces ``r``, ``r + count``, ... of each split.
        """
        ...


def epoch_order(ids: Tensor, seed: int, epoch: int) -> Tensor:
    """The training graphs in the order of one epoch, which seed and epoch alone decide: any epoch can be replayed."""
    return ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed_of(seed, epoch)))]


def seed_of(*numbers: int) -> int:
    """One seed, in ``[0, 2^63)``, that several numbers decide."""
    state = np.random.SeedSequence(list(numbers)).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))


def make_task(
    config: ExperimentConfig, dataset: AnyDataset, device: torch.device, processes: Processes | None = None
) -> Task:
    """The task of a data set.

    Raises:
        ConfigError: If the configuration does not fit the kind of data, or the number of processes.
    """
    processes = processes or Processes()
    kind = kind_of(dataset)
    for section in ("nodes", "links"):
        if getattr(config, section) is not None and section != kind:
            raise ConfigError(f"[{section}] cannot be set: {dataset.name} is about {kind}; leave it out")
    if config.sampler is not None and kind != "nodes":
        raise ConfigError(
            f"[sampler] cannot be set: {dataset.name} is about {kind}, and samplers are for one graph with labelled "
            "nodes; leave it out"
        )
    if config.sampler is not None:
        from gnnkit.experiment.sampled_node_task import SampledNodeTask

        return SampledNodeTask(config, cast("NodeDataset", dataset), device, processes)
    if kind == "nodes":
        from gnnkit.experiment.node_task import NodeTask

        return NodeTask(config, cast("NodeDataset", dataset), device, processes)
    if kind == "links":
        from gnnkit.experiment.link_task import LinkTask

        return LinkTask(config, cast("LinkDataset", dataset), device, processes)
    return GraphTask(config, cast(Dataset, dataset), device, processes)


class GraphTask:
    """Properties of whole graphs, in shuffled mini-batches whose graphs the processes share."""

    divides_rows = True

    def __init__(
        self, config: ExperimentConfig, dataset: Dataset, device: torch.device, processes: Processes | None = None
    ) -> None:
        """Prepares the task. Raises ConfigError where loss, batch size or number of processes do not fit."""
        self.processes = processes or Processes()
        self.loss_name: LossName = loss_for_task(config.train.loss, dataset.task)
        self.dataset = dataset
        self.device = device
        self.seed = config.train.seed
        self.batch_size = batch_size(config, "graphs")
        self.eval_batch_size = config.train.eval_batch_size or self.batch_size
        last = (len(dataset.split["train"]) - 1) % self.batch_size + 1
        if last < self.processes.count:
            raise ConfigError(
                f"the last step of an epoch is of {last} graph(s), which {self.processes.count} processes cannot "
                f"share; choose another train.batch_size than {self.batch_size}, or start fewer processes"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Number of mini-batches."""
        return math.ceil(len(self.dataset.split["train"]) / self.batch_size)

    @property
    def sizes(self) -> dict[str, dict[str, int]]:
        """Graphs of each split."""
        return {"graphs": {name: len(ids) for name, ids in self.dataset.split.items()}}

    def steps(self, epoch: int, start: int) -> Iterable[Tensor]:
        """The graph ids of each mini-batch."""
        return epoch_order(self.dataset.split["train"], self.seed, epoch).split(self.batch_size)[start:]

    def loss(self, forward: Forward, step: Tensor) -> tuple[Tensor, int]:
        """Mean loss of this process's graphs of a mini-batch."""
        batch = self.dataset.batch(self.processes.share(step)).to(self.device)
        return masked_loss(self.loss_name, forward(batch), batch.y)

    def predict(self, forward: Forward, splits: Sequence[str]) -> Iterator[Prediction]:
        """Predictions, batch by batch, in the order of the split; of several processes, batches in turn."""
        for split in splits:
            for ids in self.processes.share(graphs_of(self.dataset, split, self.eval_batch_size)):
                batch = self.dataset.batch(ids).to(self.device)
                yield Prediction(split, forward(batch), batch.y)


def batch_size(config: ExperimentConfig, what: str) -> int:
    """``train.batch_size``. Raises ConfigError where it is not set."""
    if config.train.batch_size is None:
        raise ConfigError(f'[train] needs a key "batch_size" (an integer): how many {what} a step is of')
    return config.train.batch_size
