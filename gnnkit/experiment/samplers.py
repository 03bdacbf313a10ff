"""The samplers that a configuration may name, how they are made from it, and how their batches become steps."""

import importlib
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gnnkit._construct import construct, unknown_key

if TYPE_CHECKING:
    from gnnkit.experiment.config import SamplerConfig
    from gnnkit.sample import Loader

# The one table from names to classes: a new sampler is one line.
SAMPLERS: dict[str, str] = {
    "cluster": "ClusterPartition",
    "neighbor": "Neighbor",
    "saint_edge": "SaintEdge",
    "saint_frontier": "SaintFrontier",
    "saint_node": "SaintNode",
    "saint_walk": "SaintWalk",
    "shadow": "ShaDow",
}
SAINT = tuple(kind for kind in SAMPLERS if kind.startswith("saint_"))
"""Those of GraphSAINT."""
OWN_OPTIONS = ("batches_per_step", "aggregator_norm")
"""Keys of the table that are not of the sampler itself."""

# Under which name a sampler is told the training nodes, and what else the experiment decides.
_TRAINING_NODES = {**dict.fromkeys(SAINT, "train_mask"), "shadow": "targets", "neighbor": "seeds"}
_DECIDED = {*_TRAINING_NODES.values(), "data", "seed", "inductive", "features"}
# What batches have besides attributes of the data: one number for each node, or for each edge.
_NORMS = ("node_norm", "edge_norm", "in_degree")


def build_sampler(config: "SamplerConfig", data: Any, nodes: Tensor, *, seed: int, **changes: Any) -> "Loader":
    """Makes the sampler that a configuration names.

    Args:
        config: Its kind and options. Targets and parts come in an order that is drawn anew in each epoch, unless these
            say otherwise.
        data: What is sampled from.
        nodes: Where the loss is, bool ``[N]``.
        seed: Its seed.
        changes: Options in place of those of the configuration.

    Raises:
        ConfigError: If the sampler has no such option, lacks one it needs, or refuses the value.
        DataError: If it cannot sample from the data.
    """
    cls = getattr(importlib.import_module("gnnkit.sample"), SAMPLERS[config.kind])
    parameters = inspect.signature(cls).parameters
    settable = parameters.keys() - _DECIDED
    for key in config.options:
        if key not in settable:
            own = OWN_OPTIONS if config.is_saint else OWN_OPTIONS[:1]
            raise unknown_key(key, {*settable, *own}, f"sampler {config.kind}")
    options = {"shuffle": True} if "shuffle" in parameters else {}
    options |= {**config.options, "seed": seed, **changes}
    if config.kind in _TRAINING_NODES:
        options[_TRAINING_NODES[config.kind]] = nodes
    return construct(cls, data, options=options, section=f"sampler {config.kind}")


def step_of(data: Any, batches: Sequence[Any]) -> Any:
    """The disjoint union of some batches.

    Args:
        data: What the sampler samples from.
        batches: A single one is taken as it is; of none, the union is a graph without nodes.

    Returns:
        ``Data`` with what the batches have of ``data``; their norms; ``loss_nodes``, those with a loss, int64, which
        are the targets, or else the nodes of ``train_mask``; and, of several subgraphs, ``ptr``, where each begins.
    """
    from gnnkit.sample import take

    if not batches:
        return _nothing(data)
    sizes = torch.tensor([0, *(batch.num_nodes for batch in batches)]).cumsum(0)
    starts = list(zip(batches, sizes.tolist(), strict=False))
    step = batches[0]
    if len(batches) > 1:
        n_id, e_id = (torch.cat([batch[name] for batch in batches]) for name in ("n_id", "e_id"))
        step = take(data, n_id, e_id, torch.cat([batch.edge_index + start for batch, start in starts], dim=1))
        for name in _NORMS:
            if name in batches[0]:
                step[name] = torch.cat([batch[name] for batch in batches])
        alone = torch.zeros(1, dtype=torch.int64, device=step.n_id.device)
        begins = [(batch.ptr[:-1] if "ptr" in batch else alone) + start for batch, start in starts]
        step.ptr = torch.cat([*begins, sizes[-1:].to(alone)])
    step.loss_nodes = torch.cat([loss_nodes(batch) + start for batch, start in starts])
    return step


def _nothing(data: Any) -> Any:
    from gnnkit.sample import take

    none = torch.empty(0, dtype=torch.int64)
    step = take(data, none, none, none.new_empty(2, 0))
    for name in _NORMS:
        step[name] = torch.empty(0)
    step.loss_nodes = none
    return step


def loss_nodes(batch: Any) -> Tensor:
    """Of a batch the targets it was made around, or else its training nodes, int64."""
    if "root_n_id" in batch:
        return batch.root_n_id
    if "num_sampled_nodes" in batch:
        return torch.arange(batch.batch_size, device=batch.n_id.device)
    return batch.train_mask.nonzero().flatten()
