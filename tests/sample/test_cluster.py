"""Clusters: every node once in each epoch, and all edges within a batch."""

import networkx as nx
import pytest
import torch
from torch_geometric.data import Data

from gnnkit.errors import BackendError, ConfigError
from gnnkit.sample import ClusterPartition
from tests.sample.part_checks import check_part, check_threads
from tests.sample.saint_graphs import both_ways, random_data


@pytest.mark.parametrize(("num_parts", "batch_size"), [(1, 1), (5, 1), (5, 2), (7, 3), (100, 9)])
def test_batches_divide_the_nodes_and_hold_all_edges_between_them(num_parts: int, batch_size: int):
    data = random_data()
    sampler = ClusterPartition(data, num_parts, batch_size=batch_size)
    assert len(sampler) == -(-min(num_parts, 40) // batch_size)
    met = []
    for batch in sampler:
        check_part(data, batch)
        assert torch.equal(batch.part, sampler.part[batch.n_id])
        assert torch.equal(batch.n_id, batch.n_id.sort().values)
        inside = torch.isin(data.edge_index, batch.n_id).all(0).nonzero()[:, 0]
        assert torch.equal(batch.e_id.sort().values, inside)
        # Whole parts.
        assert torch.equal(torch.isin(sampler.part, batch.part).nonzero()[:, 0], batch.n_id)
        met += batch.n_id.tolist()
    assert sorted(met) == list(range(40))
    sizes = torch.bincount(sampler.part)
    assert int(sizes.max()) - int(sizes.min()) <= 1


def test_epochs_join_other_parts_and_cliques_stay_together():
    cliques = nx.disjoint_union_all([nx.complete_graph(6)] * 4)
    data = Data(edge_index=both_ways(list(cliques.edges)), num_nodes=24)
    sampler = ClusterPartition(data, 4, batch_size=2)
    assert [sampler.part[6 * c : 6 * c + 6].unique().numel() for c in range(4)] == [1, 1, 1, 1]
    joined = {tuple(sampler.make(epoch, 0).part.unique().tolist()) for epoch in range(12)}
    assert len(joined) > 1
    fixed = ClusterPartition(data, 4, batch_size=2, shuffle=False)
    assert [batch.part.unique().tolist() for batch in fixed] == [[0, 1], [2, 3]]


def test_the_same_batches_for_any_number_of_threads():
    sampler = ClusterPartition(random_data(3000, 20_000), 30, batch_size=4)
    check_threads(sampler)


def test_a_graph_without_nodes_has_no_batches():
    assert list(ClusterPartition(Data(edge_index=torch.zeros(2, 0, dtype=torch.int64), num_nodes=0), 3)) == []


def test_metis_divides_where_it_is_installed(monkeypatch: pytest.MonkeyPatch):
    data = random_data()
    try:
        import pymetis  # noqa: F401
    except ImportError:
        with pytest.raises(BackendError, match=r"needs pymetis: pip install 'gnnkit\[metis\]'"):
            ClusterPartition(data, 4, method="metis")
        return
    sampler = ClusterPartition(data, 4, method="metis")
    assert sorted(torch.cat([batch.n_id for batch in sampler]).tolist()) == list(range(40))


def test_bad_input_is_named():
    data = random_data()
    for options, words in (
        ({"num_parts": 0}, "num_parts must be"),
        ({"num_parts": 2**21}, "at most 2\\^20"),
        ({"num_parts": 2, "batch_size": 0}, "batch_size must be"),
        ({"num_parts": 2, "method": "cut"}, "method must be one of ldg, metis"),
        ({"num_parts": 2, "shuffle": 1}, "shuffle must be"),
    ):
        with pytest.raises(ConfigError, match=words):
            ClusterPartition(data, **options)  # type: ignore[arg-type]
