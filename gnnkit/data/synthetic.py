"""Long-range sets that ship as code: RingTransfer and TreeNeighborsMatch.

Both are made from a seed in a few tensor operations and are the same on every machine.
"""

import math
from dataclasses import replace
from itertools import permutations

import torch
from torch import Tensor

from gnnkit.data.columns import DatasetInfo
from gnnkit.data.packed import GraphDataset
from gnnkit.errors import ConfigError

_MAX_PERMUTATIONS = 1000
_MAX_GRAPHS = 32000


def ring_transfer(
    *,
    ring_size: int = 10,
    num_classes: int = 5,
    num_train: int = 2000,
    num_val: int = 250,
    num_test: int = 250,
    seed: int = 0,
    info: DatasetInfo | None = None,
) -> GraphDataset:
    r"""RingTransfer: carry a class across a ring.

    A ring of :math:`n` nodes. Node 0, the root, must predict the class that node :math:`\lfloor n / 2 \rfloor`, the
    node farthest away, carries one-hot. The root's features are zero, those of all other nodes are one in every
    channel. A model needs at least :math:`\lfloor n / 2 \rfloor` layers, or edges that shorten the way.

    For one ring size there are only ``num_classes`` different graphs, so the splits are disjoint in graph numbers but
    not in content: the set asks whether information arrives, not whether it generalises. Guessing gives
    ``1 / num_classes``.

    Bodnar et al., "Weisfeiler and Lehman Go Cellular: CW Networks", NeurIPS 2021, https://arxiv.org/abs/2106.12575;
    as used by Di Giovanni et al., "On Over-Squashing in Message Passing Neural Networks", ICML 2023,
    https://arxiv.org/abs/2302.02941.

    Args:
        ring_size: Nodes ``n`` in a ring, at least 3.
        num_classes: Number of classes ``C``, at least 2.
        num_train: Graphs to train on; classes are equally frequent up to one graph.
        num_val: Graphs to validate on.
        num_test: Graphs to test on.
        seed: Seed of the order of the labels.
        info: What the card says; by default made here.

    Returns:
        ``x`` float32 ``[n, C]``; ``root_mask`` bool ``[n]``, true for node 0; both directions of every ring edge;
        ``y`` int64 ``[G]``.

    Raises:
        ConfigError: If an option is out of range.

    Determinism: a function of the options.
    Complexity: ``O(G n C)``.
    """
    _at_least("ring_size", ring_size, 3)
    _at_least("num_classes", num_classes, 2)
    sizes = {"train": num_train, "val": num_val, "test": num_test}
    for key, size in sizes.items():
        _at_least(f"num_{key}", size, 0)
    generator = torch.Generator().manual_seed(seed)
    labels = []
    for size in sizes.values():
        labels.append((torch.arange(size) % num_classes)[torch.randperm(size, generator=generator)])
    y = torch.cat(labels)
    graphs = y.numel()
    x = torch.ones(graphs, ring_size, num_classes)
    x[:, 0] = 0
    x[:, ring_size // 2] = torch.nn.functional.one_hot(y, num_classes).to(x.dtype)
    here = torch.arange(ring_size)
    there = (here + 1) % ring_size
    edge_index = torch.stack([torch.stack([here, there], 1), torch.stack([there, here], 1)]).reshape(2, -1)
    root_mask = here == 0
    info = replace(
        info or DatasetInfo("ring-transfer", "multiclass", "accuracy", num_classes),
        num_outputs=num_classes,
        options={
            "ring_size": ring_size,
            "num_classes": num_classes,
            "num_train": num_train,
            "num_val": num_val,
            "num_test": num_test,
            "seed": seed,
        },
    )
    return _regular(info, x, root_mask, edge_index, y, _consecutive(sizes))


def tree_neighbors_match(
    *,
    depth: int = 4,
    directed: bool = True,
    self_loops: bool = True,
    train_fraction: float = 0.8,
    val_fraction: float = 0.1,
    max_graphs: int = _MAX_GRAPHS,
    seed: int = 0,
    info: DatasetInfo | None = None,
) -> GraphDataset:
    r"""TreeNeighborsMatch: find in the leaves of a tree the one whose key the root asks for.

    A complete binary tree of depth :math:`d` has :math:`L = 2^d` leaves. Leaf :math:`i` carries the key :math:`i + 1`
    (in the paper's picture: how many neighbours it has) and a value, its label; the values are a permutation of
    :math:`1, \dots, L`. The root carries one key, and must predict the value of the leaf with that key. The root
    therefore has to learn of every leaf: :math:`L` of them through :math:`d` layers.

    As in the paper's code: ``x`` has the two integer columns (key, value), with 0 for "none"; edges run from child to
    parent, with self-loops; each permutation is used with each of the :math:`L` keys; and there are
    :math:`\min(1000, L!, \lfloor 32000 / L \rfloor)` different permutations, all of them or drawn at random. Nodes are
    numbered level by level: root 0, children of :math:`v` at :math:`2v + 1` and :math:`2v + 2`, leaf :math:`i` at
    :math:`L - 1 + i`. Unlike there, part of what is held out validates (the paper has train and test only, 80/20, and
    reports training accuracy), and classes count from 0: ``y = value - 1``.

    Alon and Yahav, "On the Bottleneck of Graph Neural Networks and its Practical Implications", ICLR 2021,
    https://arxiv.org/abs/2006.05205.

    Args:
        depth: Depth ``d`` of the tree, 2 to 8 (the root is at depth 0).
        directed: Edges from child to parent only; otherwise both ways.
        self_loops: Also an edge from every node to itself.
        train_fraction: Part of the graphs of each class to train on.
        val_fraction: Part of the graphs of each class to validate on; the rest tests.
        max_graphs: Upper bound of the number of graphs, at least ``4 L``.
        seed: Seed of the permutations and of the split.
        info: What the card says; by default made here.

    Returns:
        ``x`` int64 ``[2 L - 1, 2]``; ``root_mask`` bool, true for node 0; ``y`` int64 ``[G]`` in ``[0, L)``. The split
        is stratified: every class is equally frequent in each part.

    Raises:
        ConfigError: If an option is out of range.

    Determinism: a function of the options.
    Complexity: ``O(G L)``.
    """
    _at_least("depth", depth, 2)
    if depth > 8:
        raise ConfigError(f"depth must be at most 8 (256 leaves), got {depth}")
    leaves = 2**depth
    _at_least("max_graphs", max_graphs, 4 * leaves)
    if not (0 < train_fraction <= 1 and 0 <= val_fraction <= 1 and train_fraction + val_fraction <= 1):
        raise ConfigError(
            f"train_fraction and val_fraction must be in [0, 1] and at most 1 together, train_fraction above 0; "
            f"got {train_fraction} and {val_fraction}"
        )
    generator = torch.Generator().manual_seed(seed)
    count = min(_MAX_PERMUTATIONS, math.factorial(leaves), min(max_graphs, _MAX_GRAPHS) // leaves)
    values = _distinct_permutations(leaves, count, generator) + 1
    keys = torch.arange(leaves)
    y = values.reshape(-1) - 1
    graphs, num_nodes = y.numel(), 2 * leaves - 1
    x = torch.zeros(graphs, num_nodes, 2, dtype=torch.int64)
    x[:, 0, 0] = (keys + 1).repeat(count)
    x[:, leaves - 1 :, 0] = keys + 1
    x[:, leaves - 1 :, 1] = values.repeat_interleave(leaves, 0)
    child = torch.arange(1, num_nodes)
    edge_index = torch.stack([child, (child - 1) // 2])
    if not directed:
        edge_index = torch.cat([edge_index, edge_index.flip(0)], 1)
    if self_loops:
        edge_index = torch.cat([edge_index, torch.arange(num_nodes).expand(2, -1)], 1)
    split = _stratified(y, leaves, train_fraction, val_fraction, generator)
    info = replace(
        info or DatasetInfo("tree-neighbors-match", "multiclass", "accuracy", leaves),
        num_outputs=leaves,
        node_categories=(leaves + 1, leaves + 1),
        options={
            "depth": depth,
            "directed": directed,
            "self_loops": self_loops,
            "train_fraction": train_fraction,
            "val_fraction": val_fraction,
            "max_graphs": max_graphs,
            "seed": seed,
        },
    )
    return _regular(info, x, torch.arange(num_nodes) == 0, edge_index, y, split)


def _regular(
    info: DatasetInfo, x: Tensor, root_mask: Tensor, edge_index: Tensor, y: Tensor, split: dict[str, Tensor]
) -> GraphDataset:
    graphs, num_nodes, channels = x.shape
    return GraphDataset(
        info,
        node_ptr=torch.arange(graphs + 1) * num_nodes,
        edge_ptr=torch.arange(graphs + 1) * edge_index.size(1),
        edge_index=edge_index.repeat(1, graphs),
        node={"x": x.reshape(-1, channels), "root_mask": root_mask.repeat(graphs)},
        edge={},
        graph={"y": y},
        split=split,
    )


def _consecutive(sizes: dict[str, int]) -> dict[str, Tensor]:
    parts = torch.arange(sum(sizes.values())).split(list(sizes.values()))
    return dict(zip(sizes, parts, strict=True))


def _distinct_permutations(length: int, count: int, generator: torch.Generator) -> Tensor:
    if length <= 8:
        every = torch.tensor(list(permutations(range(length))))
        return every[torch.randperm(len(every), generator=generator)[:count]]
    chosen = torch.empty(0, length, dtype=torch.int64)
    while len(chosen) < count:
        drawn = torch.rand(count - len(chosen), length, generator=generator, dtype=torch.float64).argsort(1)
        chosen = torch.cat([chosen, drawn]).unique(dim=0)
    # unique() sorts; the order must not tell anything about the labels.
    return chosen[torch.randperm(count, generator=generator)]


def _stratified(
    y: Tensor, num_classes: int, train_fraction: float, val_fraction: float, generator: torch.Generator
) -> dict[str, Tensor]:
    order = torch.randperm(y.numel(), generator=generator)
    by_class = order[y[order].argsort(stable=True)].reshape(num_classes, -1)
    per_class = by_class.size(1)
    train = max(1, round(train_fraction * per_class))
    val = min(round(val_fraction * per_class), per_class - train)
    parts = by_class.split([train, val, per_class - train - val], dim=1)
    return {key: part.reshape(-1).sort().values for key, part in zip(("train", "val", "test"), parts, strict=True)}


def _at_least(name: str, value: int, minimum: int) -> None:
    if value < minimum:
        raise ConfigError(f"{name} must be at least {minimum}, got {value}")
