"""Classification of the nodes of one graph by training on samples of it."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from gnnkit.data.nodes import NodeDataset
from gnnkit.errors import ConfigError
from gnnkit.experiment.config import ExperimentConfig, SamplerConfig
from gnnkit.experiment.loss import masked_loss, row_losses
from gnnkit.experiment.node_task import NodeTask, training_subgraph
from gnnkit.experiment.processes import Processes
from gnnkit.experiment.samplers import build_sampler, step_of
from gnnkit.experiment.tasks import Forward, Prediction
from gnnkit.nn.aggregator_norm import AggregatorNorm
from gnnkit.nn.config import ModelConfig
from gnnkit.nn.model import GraphModel
from gnnkit.sample import Loader, ShaDow


class SampledNodeTask(NodeTask):
    r"""Steps on parts of the graph, or of the subgraph of its training nodes, that a sampler gives.

    The loss of a step is, with

    - **GraphSAINT**: an estimate without bias of the mean over all training nodes, :math:`\sum_v \lambda_v^{-1}
      \ell_v / |T|` (the mean of it over the batches of a step); in the messages, degrees are those of the whole graph
      and each edge weighs its :math:`\alpha` (:class:`gnnkit.nn.AggregatorNorm`). With ``coverage = 0`` there are no
      norms, and it is the mean over the training nodes of the step;
    - **shaDow and neighbour sampling**: the mean over the targets of the step, which are training nodes; an epoch has
      each of them once;
    - **parts of a partition**: the mean over the training nodes of the step, as in Cluster-GCN. A step without any has
      loss 0 and no gradient.

    Evaluation runs once on the whole graph for all splits; but with shaDow, where the model is one of subgraphs, on the
    subgraph of each node of a split, ``train.eval_batch_size`` at a time, in which whatever is drawn is the same in
    each epoch.

    Processes share the batches of a step, and those that are evaluated.
    """

    divides_rows = True
    sampler_config: SamplerConfig

    def __init__(
        self,
        config: ExperimentConfig,
        dataset: NodeDataset,
        device: torch.device,
        processes: Processes | None = None,
    ) -> None:
        """Prepares the task.

        Raises:
            ConfigError: If the loss does not fit, a batch size is set that has no meaning, an option of the sampler
                does not exist, is out of range or does not fit the model, or a step has fewer batches than there are
                processes.
            DataError: If the graph cannot be sampled from.
        """
        assert config.sampler is not None
        self.sampler_config = config.sampler
        is_shadow = config.sampler.kind == "shadow"
        self.unused_sizes = ("batch_size",) if is_shadow else ("batch_size", "eval_batch_size")
        super().__init__(config, dataset, device, processes)
        if self.sampler_config.batches_per_step < self.processes.count:
            raise ConfigError(
                f"[sampler]: {self.processes.count} processes share the batches of a step, of which there are "
                f"{self.sampler_config.batches_per_step}; set batches_per_step to {self.processes.count} or more"
            )
        self.seed = config.train.seed
        self.data: Any = training_subgraph(dataset.data) if self.inductive else dataset.data
        self.sampler = _with_scores(build_sampler(config.sampler, self.data, self.data.train_mask, seed=self.seed))
        self.estimates_loss = config.sampler.is_saint and getattr(self.sampler, "coverage", 0) > 0
        self.norms_aggregator = self._checked_aggregator_norm(config)
        self.num_labels = self._known_labels()
        self._eval_batch_size = config.train.eval_batch_size
        self._evaluated: dict[str, Loader] = {}

    @property
    def steps_per_epoch(self) -> int:
        """Batches of the sampler by those of a step, rounded up."""
        return -(-self.sampler.num_batches // self.sampler_config.batches_per_step)

    def numbers_of(self, step: int) -> range:
        """Which batches of an epoch this process's share of a step is of; at the end of an epoch perhaps none."""
        first = step * self.sampler_config.batches_per_step
        last = min(first + self.sampler_config.batches_per_step, self.sampler.num_batches)
        return self.processes.share(range(first, last))

    def steps(self, epoch: int, start: int) -> Iterable[Any]:
        """The union of the batches of each step, which are made ahead of time; see :func:`step_of`."""
        parts = [self.numbers_of(step) for step in range(start, self.steps_per_epoch)]
        batches = self.sampler.batches(epoch, [number for part in parts for number in part])
        for part in parts:
            step = step_of(self.data, list(islice(batches, len(part))))
            if self.norms_aggregator:
                step.aggregator_norm = AggregatorNorm.of(step)
            step.num_batches = len(part)
            yield step

    def loss(self, forward: Forward, step: Any) -> tuple[Tensor, int]:
        """See the class; the number is that of the labels of which this is, or with each batch estimates, the mean."""
        step = step.to(str(self.device))
        outputs, labels = (rows.index_select(0, step.loss_nodes) for rows in (forward(step), step.y))
        if not self.estimates_loss:
            return masked_loss(self.loss_name, outputs, labels)
        losses = row_losses(self.loss_name, outputs, labels)
        # The norm divides by the number of training nodes, of which each may have several labels, or miss some.
        scale = int(self.data.train_mask.sum()) / max(self.num_labels * step.num_batches, 1)
        total = (losses * step.node_norm.index_select(0, step.loss_nodes)).sum()
        return total * scale, self.num_labels * step.num_batches

    def predict(self, forward: Forward, splits: Sequence[str]) -> Iterator[Prediction]:
        """Predictions for the nodes of each split, ascending."""
        if self.sampler_config.kind != "shadow":
            yield from super().predict(forward, splits)
            return
        for split in splits:
            sampler = self._sampler_for(split)
            for batch in sampler.batches(0, self.processes.share(range(sampler.num_batches))):
                step = step_of(self.dataset.data, [batch]).to(str(self.device))
                yield Prediction(split, forward(step)[step.loss_nodes], step.y[step.loss_nodes])

    def _sampler_for(self, split: str) -> Loader:
        if split not in self._evaluated:
            data = self.dataset.data
            changes: dict[str, Any] = {"shuffle": False}
            if self._eval_batch_size is not None:
                changes["batch_size"] = self._eval_batch_size
            sampler = build_sampler(self.sampler_config, data, data[f"{split}_mask"], seed=self.seed, **changes)
            self._evaluated[split] = _with_scores(sampler)
        return self._evaluated[split]

    def _checked_aggregator_norm(self, config: ExperimentConfig) -> bool:
        """Whether messages are weighted."""
        given = self.sampler_config.aggregator_norm
        if not self.sampler_config.is_saint or given is False:
            return False
        remedy = "set aggregator_norm = false in [sampler] to train on subgraphs as they are"
        if not self.estimates_loss:
            raise ConfigError(f"[sampler]: there are no weights of edges with coverage = 0; raise it, or {remedy}")
        if not isinstance(config.model, ModelConfig):
            raise ConfigError(f"[sampler]: models of sequences take no weights of edges; {remedy}")
        if not GraphModel.takes_aggregator_norm(config.model):
            what = "a global layer" if config.model.global_layer != "none" else f'the convolution "{config.model.conv}"'
            raise ConfigError(f"[sampler]: {what} takes no weights of edges; {remedy}")
        return True

    def _known_labels(self) -> int:
        labels = self.data.y[self.data.train_mask]
        return int((~labels.isnan()).sum()) if labels.is_floating_point() else labels.numel()

    def _what_is_used(self, dataset: NodeDataset) -> str:
        return "[sampler] says what a step is of, and evaluation is on the whole graph except with shaDow"


def _with_scores(sampler: Loader) -> Loader:
    """The sampler, with the scores of shaDow's targets computed once and for all epochs."""
    if isinstance(sampler, ShaDow) and sampler.ppr is not None:
        sampler.precompute()
    return sampler
