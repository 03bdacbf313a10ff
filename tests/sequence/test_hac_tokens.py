"""Tokens of clusters on the path to each node."""

from itertools import pairwise
from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph
from gnnkit.errors import ConfigError, DataError
from gnnkit.sequence import HACTokens, Hierarchy, hierarchical_affinity_clustering
from gnnkit.sequence.tokenizers.hac import path_tokens
from tests.sequence.batches import batch_of, batches, few_examples


@given(batch=batches(12), linkage=st.sampled_from(["mean", "max"]), max_levels=st.none() | st.integers(0, 3))
@few_examples
def test_every_node_has_its_clusters_from_the_root_down(
    batch: tuple[Graph, Tensor], linkage: str, max_levels: int | None
):
    graph, ptr = batch
    tree = hierarchical_affinity_clustering(graph, ptr, linkage=linkage)
    tokens = HACTokens(linkage=linkage, max_levels=max_levels)(graph, ptr)
    assert tokens.level == "node"
    assert tokens.num_nodes == tokens.num_sequences == graph.num_nodes
    assert tokens.kind is not None
    for node in range(graph.num_nodes):
        sets, kinds = [], []
        for token in range(int(tokens.offsets[node]), int(tokens.offsets[node + 1])):
            sets.append(set(tokens.members[tokens.token_ptr[token] : tokens.token_ptr[token + 1]].tolist()))
            kinds.append(int(tokens.kind[token]))
        most = int(tree.level.max()) if max_levels is None else max_levels
        expected = []
        for level in range(most, -1, -1):
            cluster = tree.clusters(level)
            if int(tree.level[cluster[node]]) == level:
                expected.append((set((cluster == cluster[node]).nonzero()[:, 0].tolist()), level))
        assert list(zip(sets, kinds, strict=True)) == expected
        assert sets[-1] == {node}
        assert all(larger > smaller for larger, smaller in pairwise(sets))


def test_features_decide_where_there_are_any():
    graph, ptr = batch_of(nx.path_graph(4))
    x = torch.tensor([[1.0, 0], [0, 1], [0, 1], [1, 0]])
    tokens = HACTokens(max_levels=1)(graph, ptr, x)
    # Nodes 1 and 2 are alike; 0 and 3 join them, for want of other neighbours.
    assert tokens.members.tolist() == [0, 1, 2, 3, 0, 0, 1, 2, 3, 1, 0, 1, 2, 3, 2, 0, 1, 2, 3, 3]
    plain = HACTokens(similarity="jaccard", max_levels=1)(graph, ptr, x)
    assert plain.members.tolist() == [0, 1, 0, 0, 1, 1, 2, 3, 2, 2, 3, 3]


def test_lone_nodes_are_their_own_only_token():
    graph, ptr = batch_of(nx.path_graph(2), nx.empty_graph(1))
    tokens = HACTokens()(graph, ptr)
    assert tokens.offsets.tolist() == [0, 2, 4, 5]
    assert tokens.kind is not None
    assert tokens.kind.tolist() == [1, 0, 1, 0, 0]
    assert tokens.token_of_member.tolist() == [0, 0, 1, 2, 2, 3, 4]


def test_too_many_members_are_refused_before_they_are_made():
    size = 40_000
    parent = torch.full((size + 1,), size)
    parent[-1] = -1
    level = torch.zeros(size + 1, dtype=torch.int64)
    level[-1] = 1
    tree = Hierarchy(parent, level, torch.tensor([0, size]))
    with pytest.raises(
        DataError, match=r"would have 1600040000 members in all, more than 1073741824; take fewer levels"
    ):
        path_tokens(tree)
    assert path_tokens(tree, 0).members.numel() == size


def test_settings_are_checked_and_printed():
    cases: list[tuple[dict[str, Any], str]] = [
        ({"similarity": "dot"}, "similarity must be one of"),
        ({"linkage": "min"}, "linkage must be one of"),
        ({"max_levels": -1}, "max_levels must be an integer of at least 0"),
        ({"max_levels": 1.0}, "max_levels must be an integer of at least 0"),
        ({"similarity": torch.ones(2)}, "similarity must be one of"),
    ]
    for options, message in cases:
        with pytest.raises(ConfigError, match=message):
            HACTokens(**options)
    with pytest.raises(ConfigError, match="needs node features"):
        HACTokens(similarity="cosine")(*batch_of(nx.path_graph(2)))
    assert repr(HACTokens(max_levels=3)) == "HACTokens(similarity=None, linkage='mean', max_levels=3)"
    assert not HACTokens().is_random


def test_no_nodes():
    tokens = HACTokens()(Graph.from_edge_index(torch.empty((2, 0), dtype=torch.int64), 0), torch.tensor([0]))
    assert (tokens.num_tokens, tokens.num_sequences) == (0, 0)
