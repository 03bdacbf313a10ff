from collections import deque
from itertools import pairwise

import pytest
import torch
from torch_geometric.data import Data

from gnnkit.data import card, load, ring_transfer, tree_neighbors_match
from gnnkit.errors import ConfigError


def distances(data: Data, start: int) -> list[int]:
    """Hops from a node to every node, along the edges, by breadth-first search; -1 where there is no way."""
    neighbours: dict[int, list[int]] = {node: [] for node in range(int(data.num_nodes or 0))}
    for source, target in data.edge_index.t().tolist():
        neighbours[source].append(target)
    found = {start: 0}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for other in neighbours[node]:
            if other not in found:
                found[other] = found[node] + 1
                queue.append(other)
    return [found.get(node, -1) for node in neighbours]


@pytest.mark.parametrize("ring_size", [3, 4, 5, 10, 17])
def test_rings_by_definition(ring_size: int) -> None:
    dataset = ring_transfer(ring_size=ring_size, num_train=11, num_val=6, num_test=4)
    assert len(dataset) == 21
    for data in dataset:
        assert data.x.shape == (ring_size, 5)
        assert data.x.dtype == torch.float32
        assert data.y.dtype == torch.int64
        edges = {tuple(edge) for edge in data.edge_index.t().tolist()}
        assert len(edges) == data.num_edges == 2 * ring_size
        assert edges == {(j, i) for i, j in edges}
        assert all(sum(i == node for i, _ in edges) == 2 for node in range(ring_size))
        hops = distances(data, 0)
        assert min(hops) == 0
        root = data.root_mask.nonzero().flatten().tolist()
        assert root == [0]
        carrier = ring_size // 2
        assert hops[carrier] == max(hops) == ring_size // 2
        assert data.x[carrier].tolist() == [float(c == int(data.y)) for c in range(5)]
        assert data.x[0].tolist() == [0.0] * 5
        others = [node for node in range(ring_size) if node not in (0, carrier)]
        assert (data.x[others] == 1).all()


def test_ring_labels_are_balanced_in_every_split_and_shuffled() -> None:
    dataset = ring_transfer(num_train=50, num_val=10, num_test=7, num_classes=5)
    y = dataset.graph["y"]
    assert torch.bincount(y[dataset.split["train"]]).tolist() == [10] * 5
    assert torch.bincount(y[dataset.split["val"]]).tolist() == [2] * 5
    assert sorted(torch.bincount(y[dataset.split["test"]]).tolist()) == [1, 1, 1, 2, 2]
    assert y[:50].tolist() != sorted(y[:50].tolist())


def tree_answer(data: Data) -> int:
    """The value of the leaf with the root's key, found by walking from every leaf up the edges of the tree."""
    parent = {i: j for i, j in data.edge_index.t().tolist() if i > j}
    (root,) = data.root_mask.nonzero().flatten().tolist()
    inner = set(parent.values())
    answers = []
    for leaf in set(range(int(data.num_nodes or 0))) - inner:
        node = leaf
        while node != root:
            node = parent[node]
        if data.x[leaf, 0] == data.x[root, 0]:
            answers.append(int(data.x[leaf, 1]))
    (answer,) = answers
    return answer


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_trees_by_definition(depth: int) -> None:
    dataset = tree_neighbors_match(depth=depth, max_graphs=6 * 2**depth)
    leaves = 2**depth
    assert dataset.num_outputs == leaves
    assert dataset.node_categories == (leaves + 1, leaves + 1)
    for data in dataset:
        assert data.num_nodes == 2 * leaves - 1
        assert int(data.y) == tree_answer(data) - 1
        assert data.root_mask.nonzero().flatten().tolist() == [0]
        up = [(i, j) for i, j in data.edge_index.t().tolist() if i != j]
        assert len(up) == 2 * leaves - 2
        assert all(i > j for i, j in up)
        children = torch.bincount(torch.tensor([j for _, j in up]), minlength=2 * leaves - 1)
        assert sorted(children.tolist()) == [0] * leaves + [2] * (leaves - 1)
        is_leaf = children == 0
        down = distances(Data(edge_index=torch.tensor([(j, i) for i, j in up]).t(), num_nodes=data.num_nodes), 0)
        assert {hop for hop, leaf in zip(down, is_leaf.tolist(), strict=True) if leaf} == {depth}
        assert sorted(data.x[is_leaf, 0].tolist()) == sorted(data.x[is_leaf, 1].tolist()) == list(range(1, leaves + 1))
        inner = ~is_leaf & ~data.root_mask
        assert (data.x[inner] == 0).all()
        assert data.x[0, 1] == 0
        assert int((data.edge_index[0] == data.edge_index[1]).sum()) == 2 * leaves - 1


@pytest.mark.parametrize(("depth", "graphs"), [(2, 24 * 4), (3, 1000 * 8), (4, 1000 * 16), (6, 500 * 64)])
def test_the_papers_number_of_trees_all_different(depth: int, graphs: int) -> None:
    dataset = tree_neighbors_match(depth=depth)
    assert len(dataset) == graphs
    leaves = 2**depth
    x = dataset.node["x"].reshape(graphs, -1)
    assert len(x.unique(dim=0)) == graphs
    assert torch.bincount(dataset.graph["y"]).tolist() == [graphs // leaves] * leaves


def test_tree_splits_are_stratified_disjoint_and_complete() -> None:
    dataset = tree_neighbors_match(depth=3)
    y = dataset.graph["y"]
    counts = {key: torch.bincount(y[members]).tolist() for key, members in dataset.split.items()}
    assert counts == {"train": [800] * 8, "val": [100] * 8, "test": [100] * 8}
    everything = torch.cat(list(dataset.split.values()))
    assert everything.sort().values.tolist() == list(range(8000))


def test_undirected_trees_and_no_self_loops() -> None:
    data = tree_neighbors_match(depth=2, directed=False, self_loops=False)[0]
    edges = {tuple(edge) for edge in data.edge_index.t().tolist()}
    assert edges == {(j, i) for i, j in edges}
    assert data.num_edges == len(edges) == 12
    assert max(distances(data, 3)) == 4


@pytest.mark.parametrize("make", [ring_transfer, tree_neighbors_match])
def test_the_seed_decides(make) -> None:
    assert make().content_hash == make(seed=0).content_hash
    assert make(seed=1).content_hash != make(seed=0).content_hash
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    make()
    assert torch.equal(torch.random.get_rng_state(), before), "the global generator is not touched"


def test_the_hash_of_the_default_sets_never_changes() -> None:
    # Other values here mean other benchmarks: published records would no longer be comparable.
    hashes = [ring_transfer().content_hash, tree_neighbors_match(depth=2).content_hash]
    assert hashes == [
        "8013e16ec3050471e4b2f38066282977265ecb04ebf4a027443ce05128e70a00",
        "4d53efa7cef3ec9d394abbae4eab9b3f6b290f343988c9ce9c941e7561f9ab5e",
    ]


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (ring_transfer, {"ring_size": 2}, "ring_size must be at least 3, got 2"),
        (ring_transfer, {"num_classes": 1}, "num_classes must be at least 2"),
        (ring_transfer, {"num_val": -1}, "num_val must be at least 0"),
        (tree_neighbors_match, {"depth": 1}, "depth must be at least 2"),
        (tree_neighbors_match, {"depth": 9}, "at most 8"),
        (tree_neighbors_match, {"train_fraction": 0.9, "val_fraction": 0.2}, "at most 1 together"),
        (tree_neighbors_match, {"train_fraction": 0.0}, "train_fraction above 0"),
        (tree_neighbors_match, {"max_graphs": 3}, "max_graphs must be at least 64"),
    ],
)
def test_options_out_of_range(make, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


@pytest.mark.parametrize("name", ["ring-transfer", "tree-neighbors-match"])
def test_load_by_name_with_the_cards_statistics(name: str) -> None:
    dataset = load(name)
    assert dataset.statistics() == card(name).statistics
    assert dataset.info.options == card(name).options
    assert dataset.official
    assert dataset.notes == card(name).notes
    assert dataset.task == "multiclass"


def test_load_passes_options_on() -> None:
    dataset = load("ring-transfer", ring_size=6, num_train=10, num_val=5, num_test=5, num_classes=3)
    assert dataset[0].num_nodes == 6
    assert dataset.num_outputs == 3
    assert dataset.info.options["ring_size"] == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ringsize": 6}, r"no option 'ringsize' \(did you mean 'ring_size'\?\); its options are ring_size, "),
        ({"ring_size": "6"}, "option ring_size of ring-transfer must be of type int, got '6'"),
        ({"ring_size": True}, "must be of type int"),
        ({"ring_size": 6.0}, "must be of type int"),
    ],
)
def test_load_checks_options(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load("ring-transfer", **options)


def test_load_accepts_an_integer_for_a_fraction() -> None:
    sizes = [
        len(members)
        for members in load("tree-neighbors-match", depth=2, train_fraction=1, val_fraction=0).split.values()
    ]
    assert sizes == [96, 0, 0]


def test_neighbouring_trees_share_the_permutation() -> None:
    x = tree_neighbors_match(depth=2).node["x"].reshape(24, 4, 7, 2)
    assert all(torch.equal(first[3:], second[3:]) for group in x for first, second in pairwise(group))
    assert x[:, :, 0, 0].unique(dim=0).tolist() == [[1, 2, 3, 4]]
